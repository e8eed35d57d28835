"""The feature store and extraction of many clips: real encoders, files, processes and signals."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
from waiting import PATIENCE, end, runs, until

from avsed.errors import AvsedError, CheckpointError, MediaError
from avsed.features.bookkeeping import ExtractionResult
from avsed.features.extraction import FEW, extract_features
from avsed.features.logmel import LogMel, LogMelParameters, log_mel
from avsed.features.sequence import Extractor, FeatureSequence
from avsed.features.store import FeatureStore, StoredFeatures, cache_folder
from avsed.features.threads import available_cores
from avsed.media import Audio, read_audio

MANY = FEW + 6
SMALL = LogMel(LogMelParameters(rate=8000, window=512, hop=160, bands=16, highest=4000.0))


def write_clip(path: Path, *, seconds: float = 0.6, pitch: float = 440.0, silent_container: bool = False) -> Path:
    """An MP4 file with AAC sound, or with moving pictures only."""
    with av.open(str(path), "w") as container:
        if silent_container:
            pictures = container.add_stream("mpeg4", rate=10)
            pictures.width = pictures.height = 32
            for _ in range(5):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode())
            return path
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        samples = 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(16_000 * seconds)) / 16_000)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def settled(path: Path) -> Path:
    """A file as if written an hour ago."""
    then = time.time_ns() - 3_600_000_000_000
    os.utime(path, ns=(then, then))
    return path


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for number in range(MANY):
        settled(write_clip(folder / f"{number:02d}.mp4", pitch=200.0 + 50 * number, seconds=0.4 + 0.02 * number))
    return folder


@pytest.fixture
def clips(media: Path) -> list[tuple[str, Path]]:
    return [(path.name, path) for path in sorted(media.iterdir())]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


def stored_files(store: FeatureStore) -> list[Path]:
    return sorted(store.folder.glob("*/*/*.safetensors"))


def extract(
    clips: Sequence[tuple[str, Path]], extractor: Extractor, store: FeatureStore, **options: Any
) -> ExtractionResult:
    """An extraction with one extractor."""
    return extract_features(clips, {"only": extractor}, store, **options)


def files(result: ExtractionResult) -> tuple[StoredFeatures | None, ...]:
    return result.files["only"]


def loaded(result: ExtractionResult) -> list[np.ndarray]:
    return [stored.load().values for stored in files(result) if stored is not None]


def sequence(rows: int = 7, dims: int = 3, kind: type = np.float32) -> FeatureSequence:
    values = np.random.default_rng(rows).standard_normal((rows, dims)).astype(kind)
    return FeatureSequence(values, 0.1 + np.arange(rows) / 3, 0.1, 0.1 + rows / 3)


CONTENT = hashlib.sha256(b"a recording").hexdigest()


# --- the store ---


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


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, clips: list[tuple[str, Path]]) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="AVSED_CACHE"):
        extract(clips[:2], SMALL, FeatureStore(tmp_path / "store"), workers=1)


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


# --- extraction ---


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


# --- several processes ---


@dataclass(frozen=True)
class Probe:
    """Rows of (process, PyTorch loaded, threads); on recordings of a certain length it does as told instead."""

    samples: int = 0
    act: str = ""
    pause: float = 0.0
    name: str = "probe"
    version: int = 1
    modality: Literal["audio"] = "audio"
    rate: int = 8000
    dims: int = 3
    period: float = 1.0

    @property
    def parameters(self) -> dict[str, Any]:
        return {}

    @property
    def key(self) -> str:
        return "probe-1"

    def extract(self, audio: Audio) -> FeatureSequence:
        time.sleep(self.pause)
        if len(audio.samples) == self.samples:
            if self.act == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.act == "nan":
                return FeatureSequence(np.full((1, 3), np.nan, np.float32), np.zeros(1), 0.0, 1.0)
            raise ZeroDivisionError("an extractor's own mistake")
        row = [os.getpid(), "torch" in sys.modules, int(os.environ.get("OPENBLAS_NUM_THREADS", 0))]
        return FeatureSequence(np.array([row], np.float32), np.zeros(1), 0.0, audio.duration)


def length(path: Path) -> int:
    return len(read_audio(path, rate=8000).samples)


def test_several_processes_give_what_one_gives(
    store: FeatureStore, clips: list[tuple[str, Path]], tmp_path: Path
) -> None:
    given = [*clips[:9], ("absent", tmp_path / "absent.mp4"), *clips[9:]]
    seen: list[tuple[int, int, int]] = []
    result = extract(given, SMALL, store, workers=2, progress=lambda *numbers: seen.append(numbers))
    assert (result.done, result.workers, [f.name for f in result.failures]) == (MANY, 2, ["absent"])
    assert files(result)[9] is None
    assert [done for done, _, _ in seen] == list(range(MANY + 2)) and seen[-1] == (MANY + 1, MANY + 1, 1)
    alone = extract(clips, SMALL, FeatureStore(tmp_path / "alone"), workers=1)
    for one, other in zip(loaded(alone), loaded(result), strict=True):
        np.testing.assert_array_equal(one, other)
    assert extract(clips, SMALL, store, workers=2).cached == MANY


def test_workers_share_the_load_are_light_and_use_one_thread(
    store: FeatureStore, clips: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    rows = np.concatenate(loaded(extract(clips, Probe(pause=0.05), store, workers=2)))
    processes, counts = np.unique(rows[:, 0], return_counts=True)
    assert len(processes) == 2 and os.getpid() not in processes and counts.min() >= MANY // 4
    assert not rows[:, 1].any() and (rows[:, 2] == 1).all()
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_few_clips_start_no_process(store: FeatureStore, clips: list[tuple[str, Path]]) -> None:
    rows = np.concatenate(loaded(extract(clips[:FEW], Probe(), store, workers=8)))
    assert (rows[:, 0] == os.getpid()).all()


@pytest.mark.parametrize(
    ("act", "message"), [("nan", "not finite"), ("raise", "ZeroDivisionError: an extractor's own")]
)
def test_an_extractor_that_fails_on_a_clip_fails_for_that_clip(
    store: FeatureStore, clips: list[tuple[str, Path]], act: str, message: str
) -> None:
    result = extract(clips[:4], Probe(samples=length(clips[2][1]), act=act), store, workers=1)
    assert [failure.name for failure in result.failures] == [clips[2][0]]
    assert message in result.failures[0].message and len(stored_files(store)) == 3


def test_a_killed_worker_is_an_error_that_keeps_what_is_done(
    store: FeatureStore, clips: list[tuple[str, Path]]
) -> None:
    deadly = Probe(samples=length(clips[15][1]), act="die", pause=0.05)
    with pytest.raises(AvsedError, match=r"a worker process was killed after \d+ of 22 clips.*fewer than 2 workers"):
        extract(clips, deadly, store, workers=2)
    kept = len(stored_files(store))
    assert 10 <= kept < MANY
    result = extract(clips, replace(deadly, samples=0), store, workers=2)
    assert (result.cached, result.done) == (kept, MANY - kept)


SCRIPT = """
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
sys.path.insert(0, sys.argv[3])
from test_extraction import Probe
from avsed.features.extraction import extract_features
from avsed.features.store import FeatureStore

if __name__ == "__main__":
    clips = [(path.name, path) for path in sorted(Path(sys.argv[1]).iterdir())]
    extract_features(clips, {"probe": Probe(pause=0.25)}, FeatureStore(sys.argv[2]), workers=2)
"""


Running = Callable[[], tuple[subprocess.Popen[str], set[int]]]


@pytest.fixture
def running(media: Path, store: FeatureStore, tmp_path: Path) -> Iterator[Running]:
    """Starts an extraction as a process group of its own; gives it and its workers when the first clips are stored."""
    begun = []

    def start() -> tuple[subprocess.Popen[str], set[int]]:
        script = tmp_path / "script.py"
        script.write_text(SCRIPT)
        command = [sys.executable, str(script), str(media), str(store.folder), str(Path(__file__).parent)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        begun.append(process)
        until(lambda: len(stored_files(store)) >= 4, process)
        found = [store.find("probe-1", path.stem) for path in stored_files(store)]
        return process, {int(stored.load().values[0, 0]) for stored in found if stored is not None}

    yield start
    for process in begun:
        end(process)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")


@needs_proc
def test_ctrl_c_ends_all_quietly_and_keeps_what_is_done(
    running: Running, store: FeatureStore, clips: list[tuple[str, Path]]
) -> None:
    process, workers = running()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    messages = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == -signal.SIGINT or "KeyboardInterrupt" in messages
    assert messages.count("Traceback") == 1, messages  # the parent's only
    until(lambda: not any(map(runs, workers)))
    kept = len(stored_files(store))
    assert 4 <= kept < MANY
    result = extract(clips, Probe(), store, workers=1)
    assert (result.cached, result.done, result.replaced) == (kept, MANY - kept, ())


@needs_proc
def test_killing_the_parent_leaves_whole_files_and_no_processes(
    running: Running, store: FeatureStore, clips: list[tuple[str, Path]]
) -> None:
    process, workers = running()
    process.kill()
    process.wait()
    assert workers
    until(lambda: not any(map(runs, workers)))
    kept = len(stored_files(store))
    result = extract(clips, Probe(), store, workers=1)
    assert (result.cached, result.done, result.replaced) == (kept, MANY - kept, ())


def test_two_extractions_may_fill_one_store_at_a_time(store: FeatureStore, media: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("Probe(pause=0.25)", "Probe()").replace("workers=2", "workers=1"))
    command = [sys.executable, str(script), str(media), str(store.folder), str(Path(__file__).parent)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        messages = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 0, messages
    names = [path.name for path in store.folder.rglob("*") if path.is_file()]
    assert len(stored_files(store)) == MANY and not [name for name in names if name.startswith(".")]
    for path in stored_files(store):
        stored = store.find("probe-1", path.stem)
        assert stored is not None and stored.load().values.shape == (1, 3)
