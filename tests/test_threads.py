"""Limits on threads: as the environment says, and one each while several processes work."""

from __future__ import annotations

import os

import pytest

from avsed.features.threads import LIMITS, allowed_threads, one_thread_each


def test_one_thread_each_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMITS[0], "3")
    monkeypatch.delenv(LIMITS[1], raising=False)
    monkeypatch.setenv(LIMITS[2], "")
    before = dict(os.environ)
    with pytest.raises(KeyError), one_thread_each():
        assert [os.environ[name] for name in LIMITS] == ["3", "1", ""]
        raise KeyError
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("limits", "threads"), [({}, 64), ({0: "3"}, 3), ({0: "3", 2: "2"}, 2), ({1: "100"}, 64), ({0: "", 1: "0"}, 64)]
)
def test_the_environment_limits_threads(monkeypatch: pytest.MonkeyPatch, limits: dict[int, str], threads: int) -> None:
    monkeypatch.setattr("avsed.features.threads.available_cores", lambda: 64)
    for number, name in enumerate(LIMITS):
        monkeypatch.delenv(name, raising=False)
        if number in limits:
            monkeypatch.setenv(name, limits[number])
    assert allowed_threads() == threads
    with one_thread_each():
        assert allowed_threads() == 1
