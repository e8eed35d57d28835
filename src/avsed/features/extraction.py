"""Features of many clips: several processes, progress, resumption, and a list of what failed.

The parent looks up which clips the store has, hands the others to worker processes one at a time, and gathers the
outcomes. A worker hashes the file, decodes, extracts and stores; only a short record travels back. What is stored stays
stored, however the run ends, and the next run finds it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avsed.errors import AvsedError, CheckpointError, MediaError
from avsed.features.sequence import Extractor
from avsed.features.store import FeatureStore, StoredFeatures
from avsed.features.threads import available_cores, one_thread_each
from avsed.media import MediaWarning, read_audio

FEW = 16
"""So few missing clips are extracted in this process: starting workers would take longer."""

Progress = Callable[[int, int, int], None]


class Remark(NamedTuple):
    """A clip, its file, and what is to be said about it."""

    name: str
    path: Path
    message: str


@dataclass(frozen=True)
class ExtractionResult:
    """What an extraction found and did.

    files : the stored features of each clip, in the order given; None where the clip failed
    done, cached : clips extracted now; clips that the store had
    failures : clips that could not be read
    warnings : clips (now or formerly) decoded with something mended, such as a damaged packet passed over
    replaced : damaged files of the store that were computed anew
    seconds : wall time of the extraction, without looking up what is cached; workers : processes used
    """

    files: tuple[StoredFeatures | None, ...]
    done: int
    cached: int
    failures: tuple[Remark, ...]
    warnings: tuple[Remark, ...]
    replaced: tuple[Path, ...]
    seconds: float
    workers: int

    @property
    def clips_per_s(self) -> float:
        """Clips extracted per second; 0 if all were cached."""
        return self.done / self.seconds if self.done else 0.0


def extract_features(
    clips: Sequence[tuple[str, str | Path]],
    extractor: Extractor,
    store: FeatureStore,
    *,
    workers: int | None,
    progress: Progress | None = None,
) -> ExtractionResult:
    """Make sure that the store has the features of every clip that can be read.

    clips : (name, file) of each clip
    workers : processes, >= 1; None for one a core; one, or few missing clips, are extracted in this process
    progress : called as ``progress(done, total, failures)`` with numbers of clips, after each one; done includes both
        the cached and the failed

    A clip that cannot be read is listed and stops nothing. Ctrl-C waits for the clips in hand and keeps them.

    Raises ValueError if workers < 1, CheckpointError if the store cannot be written, AvsedError if a worker process is
    killed (what was stored by then is kept).
    """
    if workers is not None and workers < 1:
        raise ValueError(f"extraction needs at least one worker, got {workers}")
    run = _Run(clips, progress)
    missing = []
    for index, (_, path) in enumerate(clips):
        content = store.known_content(path)
        stored = _find(extractor, store, content, run.replaced) if content is not None else None
        if stored is None:
            missing.append(index)
        else:
            run.found[index], run.cached = stored, run.cached + 1
    run.report()
    count = min(workers or available_cores(), len(missing)) if len(missing) > FEW else 1
    began = time.perf_counter()
    if count == 1:
        for index in missing:
            run.add(index, extract_clip(Path(clips[index][1]), extractor, store))
    else:
        _in_parallel(run, missing, extractor, store, count)
    return run.result(time.perf_counter() - began, count)


class Outcome(NamedTuple):
    """What became of one clip: its stored features or what is wrong, and whether they were there before."""

    stored: StoredFeatures | None
    message: str
    cached: bool
    replaced: tuple[Path, ...]


def extract_clip(path: Path, extractor: Extractor, store: FeatureStore) -> Outcome:
    """Find or compute the features of one clip. Raises CheckpointError if the store cannot be written."""
    replaced: list[Path] = []
    try:
        content = store.content(path)
        if (stored := _find(extractor, store, content, replaced)) is not None:
            return Outcome(stored, "", True, ())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", MediaWarning)
            audio = read_audio(path, rate=extractor.rate)
        if not len(audio.samples):
            raise MediaError(path, "its audio stream holds no sound")
        features = extractor.extract(audio)
        if not np.isfinite(features.values).all():
            raise MediaError(path, f"the extractor {extractor.name} gave values that are not finite numbers")
    except MediaError as error:
        return Outcome(None, error.problem, False, tuple(replaced))
    except CheckpointError:
        raise  # the store cannot be written: that is not this clip's fault
    except Exception as error:  # one odd clip must not end a run of thousands; it is listed with what went wrong
        return Outcome(None, f"{type(error).__name__}: {error}", False, tuple(replaced))
    mended = tuple(
        str(item.message).removeprefix(f"{path}: ") for item in caught if issubclass(item.category, MediaWarning)
    )
    for item in caught:
        if not issubclass(item.category, MediaWarning):
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
    stored = store.save(extractor, content, features, source=path.name, warnings=mended)
    return Outcome(stored, "", False, tuple(replaced))


@dataclass
class _Run:
    """The state of an extraction, which outcomes are added to."""

    clips: Sequence[tuple[str, str | Path]]
    progress: Progress | None
    found: dict[int, StoredFeatures] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    replaced: list[Path] = field(default_factory=list)
    cached: int = 0

    def add(self, index: int, outcome: Outcome) -> None:
        if outcome.stored is None:
            self.failed[index] = outcome.message
        else:
            self.found[index] = outcome.stored
        self.cached += outcome.cached
        self.replaced += outcome.replaced
        self.report()

    def report(self) -> None:
        if self.progress is not None:
            self.progress(len(self.found) + len(self.failed), len(self.clips), len(self.failed))

    def result(self, seconds: float, workers: int) -> ExtractionResult:
        files = tuple(self.found.get(index) for index in range(len(self.clips)))
        mended = [self._about(index, text) for index, stored in enumerate(files) if stored for text in stored.warnings]
        return ExtractionResult(
            files=files,
            done=len(self.found) - self.cached,
            cached=self.cached,
            failures=tuple(self._about(index, self.failed[index]) for index in sorted(self.failed)),
            warnings=tuple(mended),
            replaced=tuple(dict.fromkeys(self.replaced)),
            seconds=seconds,
            workers=workers,
        )

    def _about(self, index: int, message: str) -> Remark:
        name, path = self.clips[index]
        return Remark(name, Path(path), message)


def _find(extractor: Extractor, store: FeatureStore, content: str, replaced: list[Path]) -> StoredFeatures | None:
    """What the store has; a damaged file counts as nothing and is noted, since it can simply be computed again."""
    try:
        return store.find(extractor.key, content)
    except CheckpointError:
        replaced.append(store.path(extractor.key, content))
        return None


def _in_parallel(run: _Run, missing: Sequence[int], extractor: Extractor, store: FeatureStore, workers: int) -> None:
    # Fresh processes instead of forks: the parent may run threads (PyTorch's, say), whose locks a fork leaves held.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    waiting: dict[Future[Outcome], int] = {}
    try:
        with one_thread_each():
            for index in missing:
                waiting[pool.submit(extract_clip, Path(run.clips[index][1]), extractor, store)] = index
        for future in as_completed(waiting):
            outcome = future.result()
            run.add(waiting.pop(future), outcome)
    except BrokenProcessPool as error:
        raise AvsedError(
            f"a worker process was killed after {len(run.found)} of {len(run.clips)} clips had their features in "
            f"{store.folder}; these are kept. If memory ran out, run the same again with fewer than {workers} workers; "
            "in a script of your own, keep the call under if __name__ == '__main__'"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when the parent has gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
