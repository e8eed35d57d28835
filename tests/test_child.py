"""Processes of avsed's own that do one task."""

from __future__ import annotations

from pathlib import Path

import pytest

from avsed.child import Child


def test_files_in_the_working_folder_are_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("queue", "json", "numpy", "avsed"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the working folder was executed')\n")
    monkeypatch.chdir(tmp_path)
    child = Child("avsed.study.features", {}, log=tmp_path / "log", environment={})
    status = child.wait()
    assert status == 0, child.reason(status)


def test_why_it_ended_is_the_last_that_it_said(tmp_path: Path) -> None:
    child = Child("avsed.study.features", {"spectral": {"seeed": 3}}, log=tmp_path / "log", environment={})
    status = child.wait()
    assert status == 2 and "unknown key 'seeed' (did you mean 'seed'?)" in child.reason(status)
