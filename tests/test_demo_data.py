"""The generated data set: real videos, true tables, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avsed.data.demo import LABELS, Recipe, generate
from avsed.data.demo.drawings import DRAWINGS, sprite
from avsed.data.demo.scenes import compose, film, mix
from avsed.data.demo.sounds import SOUNDS
from avsed.data.folder import open_data
from avsed.errors import AvsedError
from avsed.features.logmel import LogMelParameters, log_mel
from avsed.media import probe, read_audio, read_images

RECIPE = Recipe(seed=3, clips=(("weak", 3), ("unlabeled", 2), ("validation", 2), ("test", 2)), duration=2.0)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_set_is_what_its_tables_say(tmp_path: Path) -> None:
    generate(tmp_path / "set", RECIPE)
    data = open_data(tmp_path / "set", labels=LABELS)
    assert {name: len(split.clips) for name, split in data.splits.items()} == dict(RECIPE.clips)
    for split in data.splits.values():
        for clip in split.clips:
            info = probe(clip.path)
            assert (info.video[0].codec, info.audio[0].codec) == ("h264", "aac")
            duration = split.durations[clip.name]
            assert read_audio(clip.path, rate=RECIPE.rate).duration == pytest.approx(duration, abs=0.05)
            shown = read_images(clip.path, size=(32, 32))
            assert len(shown.times) == round(duration * RECIPE.fps)
            for event in (split.events or {}).get(clip.name, []):
                assert 0 <= event.onset < event.offset <= duration + 1e-9


def test_the_same_seed_gives_the_same_set_however_many_write_it(tmp_path: Path) -> None:
    generate(tmp_path / "one", RECIPE, workers=1)
    generate(tmp_path / "two", RECIPE, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    generate(tmp_path / "other", replace(RECIPE, seed=4))
    other = contents(tmp_path / "other")
    assert all(other[name] != data for name, data in contents(tmp_path / "one").items() if name.endswith(".mp4"))


def test_an_interrupted_set_goes_on(tmp_path: Path) -> None:
    generate(tmp_path, RECIPE)
    whole = contents(tmp_path)
    for name in ("", "metadata", "clips/weak"):
        (tmp_path / name / f".weak_00001-{'0a' * 16}.tsv").write_bytes(b"half-wri")
    (tmp_path / "clips/weak/weak_00001.mp4").unlink()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    told: list[tuple[int, int]] = []
    generate(tmp_path, RECIPE, progress=lambda done, total: told.append((done, total)))
    assert told == [(9, 9)]
    assert contents(tmp_path) == whole
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    with pytest.raises(AvsedError, match="made otherwise"):
        generate(tmp_path, replace(RECIPE, seed=9))
    (tmp_path / "recipe.json").unlink()
    with pytest.raises(AvsedError, match="neither empty nor"):
        generate(tmp_path, RECIPE)


def test_a_set_killed_at_its_first_file_goes_on(tmp_path: Path) -> None:
    left = tmp_path / f".recipe-{'0a' * 16}.json"
    left.write_text("{")
    generate(tmp_path, replace(RECIPE, clips=(("weak", 1),)))
    assert not left.exists()


def test_what_is_labelled_can_be_heard() -> None:
    for number in range(12):
        scene, random = compose(Recipe(), "test", number)
        sound = mix(scene, 16000, random)
        assert np.abs(sound).max() <= 0.9 + 1e-6
        active = np.zeros(len(sound), bool)
        for event in scene.events:
            active[round(event.onset * 16000) : round(event.offset * 16000)] = True
        if active.any() and (~active).sum() > 1600:
            assert np.square(sound[active]).mean() > 2 * np.square(sound[~active]).mean()


@pytest.mark.parametrize("label", LABELS)
def test_every_class_sounds_like_itself(label: str) -> None:
    """Its mean spectrum and the way it changes are nearer to another example's than to any other class's."""
    parameters = LogMelParameters()

    def describe(name: str, seed: int) -> np.ndarray:
        sound = SOUNDS[name](44200, 22100, np.random.default_rng(seed)).astype(np.float32)
        spectrum = log_mel(sound, parameters)
        return np.concatenate([spectrum.mean(0), spectrum.std(0), np.abs(np.diff(spectrum, axis=0)).mean(0)])

    assert np.abs(SOUNDS[label](8000, 16000, np.random.default_rng(0))).max() == pytest.approx(1.0)
    mean = {name: np.mean([describe(name, seed) for seed in range(5)], axis=0) for name in LABELS}
    own = [describe(label, seed) for seed in (100, 101, 102)]
    right = [min(LABELS, key=lambda name: float(np.linalg.norm(mean[name] - one))) == label for one in own]
    assert sum(right) >= 2


def test_every_class_has_a_drawing_and_it_is_on_screen() -> None:
    assert set(DRAWINGS) == set(LABELS) == set(SOUNDS)
    for label in LABELS:
        pixels, cover = sprite(label, 40, np.random.default_rng(0))
        assert pixels.shape == (40, 40, 3)
        assert 0.05 < cover.mean() < 0.95
    seen = 0
    for number in range(20):
        scene, random = compose(Recipe(), "weak", number)
        if any(event.onset > 0.5 for event in scene.shown):
            images = list(film(scene, 10, (96, 128), random))
            late = next(event for event in scene.shown if event.onset > 0.5)
            before, during = images[int(late.onset * 10) - 2], images[int(late.onset * 10) + 2]
            assert np.abs(before.astype(int) - during.astype(int)).max() > 20
            seen += 1
    assert seen > 2
