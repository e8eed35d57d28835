"""Extraction in several processes: they share the load, die one by one or all at once, and leave whole files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from extractions import MANY, SMALL, extract, files, loaded, stored_files, written
from waiting import PATIENCE, end, runs, until

from avsed.errors import AvsedError
from avsed.features.extraction import FEW
from avsed.features.sequence import FeatureSequence
from avsed.features.store import FeatureStore
from avsed.media import Audio, read_audio


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    return written(tmp_path_factory.mktemp("media"))


@pytest.fixture
def media(clips: list[tuple[str, Path]]) -> Path:
    return clips[0][1].parent


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
from test_extraction_processes import Probe
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
