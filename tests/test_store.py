"""The feature store: what is stored comes back, damage is named, and a recording is read once for its hash."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from extractions import SMALL, settled

from avsed.errors import CheckpointError, MediaError
from avsed.features.logmel import LogMel
from avsed.features.sequence import FeatureSequence
from avsed.features.store import FeatureStore, cache_folder

CONTENT = hashlib.sha256(b"a recording").hexdigest()


def sequence(rows: int = 7, dims: int = 3, kind: type = np.float32) -> FeatureSequence:
    values = np.random.default_rng(rows).standard_normal((rows, dims)).astype(kind)
    return FeatureSequence(values, 0.1 + np.arange(rows) / 3, 0.1, 0.1 + rows / 3)


# --- features ---


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_what_is_stored_comes_back_to_the_bit(store: FeatureStore, kind: type) -> None:
    features = sequence(kind=kind)
    assert store.find(SMALL.key, CONTENT) is None
    saved = store.save(SMALL, CONTENT, features, source="a.mp4", warnings=("a packet was passed over",))
    found = store.find(SMALL.key, CONTENT)
    assert found == saved and found is not None
    assert (found.rows, found.dims, found.warnings) == (7, 3, ("a packet was passed over",))
    assert found.path == store.folder / SMALL.key / CONTENT[:2] / f"{CONTENT}.safetensors"
    again = found.load()
    assert again.values.dtype == kind and (again.begin, again.stop) == (features.begin, features.stop)
    np.testing.assert_array_equal(again.values, features.values)
    np.testing.assert_array_equal(again.times, features.times)
    assert [path.name for path in found.path.parent.iterdir()] == [found.path.name]  # no temporary file is left


def test_other_parameters_and_other_content_are_not_found(store: FeatureStore) -> None:
    store.save(SMALL, CONTENT, sequence(), source="a.mp4")
    assert store.find(LogMel().key, CONTENT) is None
    assert store.find(SMALL.key, CONTENT[::-1]) is None


def test_damaged_and_foreign_files_are_named(store: FeatureStore) -> None:
    path = store.save(SMALL, CONTENT, sequence(), source="a.mp4").path
    whole = path.read_bytes()
    for damaged in (b"", whole[:5], whole[:100], whole[:-1], b"x" * 500, whole[:8] + b"?" + whole[9:]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"{CONTENT}.*extract them again"):
            store.find(SMALL.key, CONTENT)
    other = store.path(SMALL.key, CONTENT[::-1])
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(whole)  # features of another recording
    with pytest.raises(CheckpointError, match="not usable as stored features"):
        store.find(SMALL.key, CONTENT[::-1])


def test_a_file_that_goes_away_before_it_is_read_is_named(store: FeatureStore) -> None:
    saved = store.save(SMALL, CONTENT, sequence(), source="a.mp4")
    saved.path.unlink()
    with pytest.raises(CheckpointError, match=str(saved.path)):
        saved.load()


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AVSED_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own" and FeatureStore().folder == tmp_path / "own" / "features"
    monkeypatch.delenv("AVSED_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "avsed"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "avsed"


def test_reading_200_clips_is_quick(store: FeatureStore) -> None:
    features = FeatureSequence(np.zeros((604, 128), np.float32), np.arange(604.0), 0.0, 10.0)
    saved = [store.save(SMALL, f"{number:064x}", features, source="") for number in range(200)]
    began = time.perf_counter()
    for file in saved:
        file.load()
    assert time.perf_counter() - began < 1.0  # about 15 ms on an idle machine


# --- the hash of a recording ---


def test_a_recording_is_read_once(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"first")
    settled(path)
    stamp = path.stat()
    assert store.known_content(path) is None
    first = hashlib.sha256(b"first").hexdigest()
    assert store.content(path) == first == store.known_content(path)
    path.write_bytes(b"other")  # as long as before; with the old time nothing tells it apart, so it is not read again
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert store.content(path) == first
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert store.known_content(path) is None
    assert store.content(path) == hashlib.sha256(b"other").hexdigest()
    path.write_bytes(b"longer than before")
    assert store.content(path) == hashlib.sha256(b"longer than before").hexdigest()


def test_a_recording_just_written_is_not_trusted(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"being written")
    assert store.content(path) == hashlib.sha256(b"being written").hexdigest()
    assert store.known_content(path) is None


@pytest.mark.parametrize("entry", ["", "{", "[]", '"text"', '{"path": "elsewhere"}'])
def test_a_damaged_index_costs_only_time(store: FeatureStore, tmp_path: Path, entry: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"bytes")
    content = store.content(settled(path))
    (index,) = store.folder.glob("media/*/*.json")
    assert json.loads(index.read_text())["sha256"] == content
    index.write_text(entry)
    assert store.known_content(path) is None
    assert store.content(path) == content == store.known_content(path)


def test_a_recording_that_cannot_be_read_is_named(store: FeatureStore, tmp_path: Path) -> None:
    for path in (tmp_path / "absent.mp4", tmp_path):
        with pytest.raises(MediaError, match=f"{path}: cannot be read"):
            store.content(path)
