"""Extraction of many clips: what is missing is computed, what cannot be read is listed, real encoders and files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from extractions import SMALL, extract, files, loaded, stored_files, write_clip, written

from avsed.errors import CheckpointError
from avsed.features.logmel import LogMel, log_mel
from avsed.features.store import FeatureStore
from avsed.features.threads import available_cores
from avsed.media import read_audio


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    return written(tmp_path_factory.mktemp("media"))


def test_features_are_those_of_the_recording(store: FeatureStore, clips: list[tuple[str, Path]]) -> None:
    result = extract(clips[:3], SMALL, store, workers=1)
    assert (result.done, result.cached, result.failures, result.workers) == (3, 0, (), 1)
    assert result.clips_per_s == pytest.approx(3 / result.seconds)
    for (_, path), stored in zip(clips, files(result), strict=False):
        audio = read_audio(path, rate=8000)
        assert stored is not None and (stored.begin, stored.stop) == (audio.start, pytest.approx(audio.stop))
        np.testing.assert_array_equal(stored.load().values, log_mel(audio.samples, SMALL.settings))


def test_what_cannot_be_read_is_listed_and_stops_nothing(
    store: FeatureStore, clips: list[tuple[str, Path]], tmp_path: Path
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("this is no recording")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clips[5][1].read_bytes()[:900])
    odd = [
        ("silent", write_clip(tmp_path / "silent.mp4", silent_container=True)),
        ("text", text),
        ("absent", tmp_path / "absent.mp4"),
        ("cut", cut),
        ("empty", tmp_path / "empty.mp4"),
    ]
    odd[-1][1].touch()
    given = [clips[0], *odd[:3], clips[1], *odd[3:], clips[2]]
    seen: list[tuple[int, int, int]] = []
    result = extract(given, SMALL, store, workers=1, progress=lambda *numbers: seen.append(numbers))
    assert [(name, path) for name, path, _ in result.failures] == odd[1:]
    assert result.absent == {"audio": ((*odd[0], "has no audio stream"),)}
    assert [stored is not None for stored in files(result)] == [True, *3 * [False], True, *2 * [False], True]
    messages = {name: message for name, _, message in result.failures}
    assert "cannot be read" in messages["absent"]
    assert all(messages.values()) and (result.done, result.cached) == (3, 0)
    assert seen == [(0, 8, 0), (1, 8, 0), (2, 8, 0), (3, 8, 1), (4, 8, 2), (5, 8, 2), (6, 8, 3), (7, 8, 4), (8, 8, 4)]


def test_only_what_is_missing_is_computed(store: FeatureStore, clips: list[tuple[str, Path]]) -> None:
    extract(clips[:4], SMALL, store, workers=1)
    times = {path: path.stat().st_mtime_ns for path in stored_files(store)}
    result = extract(clips[:7], SMALL, store, workers=1)
    assert (result.done, result.cached) == (3, 4)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    again = extract(clips[:7], SMALL, store, workers=1)
    assert (again.done, again.cached, again.clips_per_s) == (0, 7, 0.0) and files(again) == files(result)
    other = extract(clips[:2], LogMel(SMALL.settings.model_copy(update={"hop": 161})), store, workers=1)
    assert (other.done, other.cached) == (2, 0)


def test_renamed_and_duplicate_recordings_share_their_features(
    store: FeatureStore, clips: list[tuple[str, Path]], tmp_path: Path
) -> None:
    copy = tmp_path / "copy of it.mp4"
    shutil.copyfile(clips[0][1], copy)
    result = extract([clips[0], ("copy", copy), clips[0]], SMALL, store, workers=1)
    assert len(stored_files(store)) == 1 and len(set(files(result))) == 1
    assert (result.done, result.cached) == (1, 2)


def test_a_changed_recording_is_computed_anew(
    store: FeatureStore, clips: list[tuple[str, Path]], tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    for source, done in ((clips[0], 1), (clips[0], 0), (clips[9], 1)):
        shutil.copyfile(source[1], path)
        result = extract([("a", path)], SMALL, store, workers=1)
        assert result.done == done
        np.testing.assert_array_equal(loaded(result)[0], loaded(extract([source], SMALL, store, workers=1))[0])


def test_damaged_files_of_the_store_are_computed_anew_and_told(
    store: FeatureStore, clips: list[tuple[str, Path]]
) -> None:
    whole = loaded(extract(clips[:3], SMALL, store, workers=1))
    broken = stored_files(store)[1]
    broken.write_bytes(broken.read_bytes()[:-20])
    result = extract(clips[:3], SMALL, store, workers=1)
    assert (result.done, result.cached, result.replaced) == (1, 2, (broken,))
    for before, after in zip(whole, loaded(result), strict=True):
        np.testing.assert_array_equal(before, after)
    assert extract(clips[:3], SMALL, store, workers=1).replaced == ()


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, clips: list[tuple[str, Path]]) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="AVSED_CACHE"):
        extract(clips[:2], SMALL, FeatureStore(tmp_path / "store"), workers=1)


def test_real_odd_recordings_are_read_or_listed(store: FeatureStore, shared: Path) -> None:
    given = [(path.name, path) for path in sorted((shared / "odd_media").iterdir()) if path.is_file()]
    result = extract(given, SMALL, store, workers=available_cores())
    lacking = result.absent["audio"]
    assert len(files(result)) == len(given) == result.done + result.cached + len(result.failures) + len(lacking)
    assert result.done > 20 and result.failures and lacking
    for failure in result.failures:
        assert failure.message and str(failure.path) not in failure.message
    again = extract(given, SMALL, store, workers=1)
    assert files(again) == files(result) and again.warnings == result.warnings and again.failures == result.failures


def test_no_workers_is_an_error(store: FeatureStore) -> None:
    with pytest.raises(ValueError, match="at least one worker, got 0"):
        extract([], SMALL, store, workers=0)


def test_no_clips(store: FeatureStore) -> None:
    result = extract([], SMALL, store, workers=None)
    assert (files(result), result.done, result.clips_per_s) == ((), 0, 0.0)


def test_importing_features_is_light() -> None:
    code = (
        "import sys, avsed.features.extraction\n"
        "print(sorted({'torch', 'numba', 'scipy', 'librosa', 'av'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
