"""The demo: it goes through every step, or says first what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from runs import TWO_STEPS as SMALL

import avsed.demo
from avsed.errors import AvsedError, ConfigError


def test_the_demo_goes_through_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVSED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(avsed.demo, "QUICK", SMALL[:5])
    monkeypatch.setattr(avsed.demo, "QUICK_CLIPS", (("weak", 3), ("unlabeled", 1), ("validation", 1), ("test", 2)))
    try:
        found = avsed.demo.demo(tmp_path / "demo", quick=True, threads=1)
    finally:
        torch.set_num_threads(1)
    told = found.to_dict()  # without weights: what can be run, and what is wanting
    assert told["evaluations"]["spectral"]["fingerprint"]["clips"] == 2
    assert told["unavailable_weights"] == ["aisfx", "efficientnet-lite0-imagenet"]
    assert found.reference and found.clip.is_file()
    assert (tmp_path / "demo/prediction/events.tsv").is_file()
    assert any(isinstance(part, str) and "next: avsed predict" in part for part in found.render())


def test_the_demo_asks_for_its_device_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cuda:99"):
        avsed.demo.demo(tmp_path / "demo", device="cuda:99")
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["spectral+vision"], r"spectral\+vision: unknown \(did you mean 'spectral\+visual'\?\)"),
        (["all"], "avsed weights get aisfx"),
        (["auditory"], "avsed weights get aisfx"),
    ],
)
def test_the_demo_says_what_a_setting_lacks(
    settings: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVSED_CACHE", str(tmp_path / "cache"))
    with pytest.raises(AvsedError, match=message):
        avsed.demo.demo(tmp_path / "demo", settings=settings)
    assert not (tmp_path / "demo").exists()
