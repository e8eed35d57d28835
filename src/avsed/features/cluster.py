"""Features of many clips on a Dask cluster: clips are cut into chunks, and each chunk is a task, an extraction as on one machine.

::

    this process   looks up what the store has ─▶ chunks ─▶ workers                       outcomes, files ─▶ store
    workers                                                 each its own process and store ─▶ …

Where a worker's store is this one (a shared disk), features are there when a task ends. Elsewhere the worker keeps them in a store of
its own and returns the files, which this process puts into its store. Recordings must lie on every worker where they lie here: which
ones a worker had is known by their hash. A chunk whose worker is lost is done by another; what had been stored is not done again.
"""

from __future__ import annotations

import math
import pickle
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from avsed import console
from avsed.child import ASKED, Child
from avsed.cluster import EVERY_S, Answer, Cluster, Tasks, beacon, follow, threads_of_a_slot
from avsed.config import Config
from avsed.errors import AvsedError, MediaError
from avsed.features.bookkeeping import ExtractionResult, PartialResult, Progress, Run
from avsed.features.decoding_pass import Outcome, find_stored
from avsed.features.extractors import make_extractors
from avsed.features.store import FeatureStore
from avsed.stopping import Stopped, listening

FEWEST, MOST = 10, 64
"""Clips in a chunk. A process starts in one to eight seconds, in which a core decodes more than the fewest; 64 clips fill the batches of
every network, and their features, which a worker without this disk returns at once, take at most 0.1 GB (VGG16's)."""

ROUNDS = 4
"""Chunks for each task that can run at once, where there are few clips, so that all end at about the same time."""

AHEAD = 2  # chunks that are handed over for each task that can run at once: what workers return does not pile up there


class Chunk(NamedTuple):
    """Clips that lack the same features. clips : their numbers in the extraction; names : of the extractors"""

    clips: tuple[int, ...]
    names: tuple[str, ...]


class Made(NamedTuple):
    """What a task returns.

    found : by its process; None if that was asked to stop before it had anything
    files : what it stored, by path in the store; None if it is in the caller's
    worker : its address; slot : one of those that it runs tasks in
    """

    found: PartialResult | None
    files: dict[str, bytes] | None
    worker: str
    slot: int


def extract_on_cluster(
    clips: Sequence[tuple[str, str | Path]],
    names: Sequence[str],
    config: Config,
    store: FeatureStore,
    *,
    cluster: Cluster,
    progress: Progress | None = None,
) -> ExtractionResult:
    """Make sure that the store has all features of every clip that can be read; as `extract_features` does on one machine.

    names : of extractors; config : with their options

    A clip that cannot be read is listed and stops nothing, and so is one that workers are lost with again and again.

    Raises AvsedError, naming the worker, if it cannot extract (weights are missing, say) or does not have the recordings that are
    here, or if this store cannot be written, Stopped after SIGINT or SIGTERM. What is computed by then is kept.
    """
    config = config.located()
    work = _Work(Run(clips, make_extractors(names, config), store, progress))
    missing = [index for index in range(len(clips)) if not work.run.look_up(index)]
    work.run.report()
    began = time.perf_counter()
    if missing:
        with beacon(store.folder) as seen, listening() as stop:
            chunks = list(_chunks(work.run, missing, cluster.slots()))
            tasks = Tasks(
                cluster,
                extract_there,
                chunks,
                told=lambda chunk: _told(work.run, chunk, config),
                most=AHEAD,
                parts=_halves,
                beacon=seen.name,
            )
            while tasks and not (stop or work.problem):
                time.sleep(EVERY_S)
                for answer in tasks.ended():
                    work.take(answer)
            if tasks:
                console.note("stopping; what workers have in hand is finished first …")
                for answer in tasks.halt():
                    work.take(answer)
        if work.problem:
            raise AvsedError(work.problem)
        if stop:
            left = len(clips) - work.run.finished
            raise Stopped(f"stopped with {left} of {len(clips)} clips to do; the same command goes on", stop[0])
    return work.result(time.perf_counter() - began)


def _chunks(run: Run, missing: Sequence[int], slots: int) -> Iterator[Chunk]:
    """The missing clips, those together that lack the same."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for index in missing:
        alike.setdefault(tuple(run.lacking(index)), []).append(index)
    size = min(MOST, max(FEWEST, math.ceil(len(missing) / (ROUNDS * max(1, slots)))))
    for names, clips in alike.items():
        for first in range(0, len(clips), size):
            yield Chunk(tuple(clips[first : first + size]), names)


def _halves(chunk: Chunk) -> list[Chunk]:
    """Of a chunk that is lost: perhaps one clip of it is to blame."""
    middle = len(chunk.clips) // 2
    return [chunk._replace(clips=part) for part in (chunk.clips[:middle], chunk.clips[middle:]) if part]


def _told(run: Run, chunk: Chunk, config: Config) -> dict[str, Any]:
    return {
        "config": config.model_dump(mode="json"),
        "keys": {name: run.extractors[name].key for name in chunk.names},
        "clips": [(run.clips[index][0], str(run.states[index].path.absolute())) for index in chunk.clips],
    }


@dataclass
class _Work:
    """An extraction that others do. run : what is known of the clips; problem : what ends it early, empty if nothing does"""

    run: Run
    problem: str = ""

    def __post_init__(self) -> None:
        self.devices: set[str] = set()
        self.workers: dict[tuple[str, int], int] = {}  # processes that decode, by worker and slot
        self.busy = self.waited = 0.0  # seconds of all processes

    def take(self, answer: Answer[Chunk]) -> None:
        """Keep what a task returned."""
        if answer.reason:
            if not answer.lost:
                self.problem = self.problem or answer.reason
                return
            for index in answer.task.clips:
                self.run.add(index, Outcome(problems=[f"not extracted: {answer.reason}"]))
            return
        made: Made = answer.value
        found = made.found
        if found is None:
            return
        self.devices |= {found.device} - {""}
        self.workers[made.worker, made.slot] = found.workers
        self.busy += found.seconds
        self.waited += found.waited
        store = self.run.store
        for index, outcome in zip(answer.task.clips, found.outcomes, strict=True):
            if outcome is None:
                continue
            path = self.run.states[index].path
            if made.files is None:
                for name, stored in outcome.stored.items():  # the same file, perhaps under another path there
                    own = store.path(self.run.extractors[name].key, outcome.content)
                    outcome.stored[name] = replace(stored, path=own)
            else:
                if (entry := _name(store, store.entry(path))) in made.files:
                    store.take(entry, made.files[entry])
                self._keep(outcome, made.files)
            if problem := self._problem(path, outcome, made.worker):
                self.problem = self.problem or problem
            else:
                self.run.add(index, outcome)

    def _keep(self, outcome: Outcome, files: Mapping[str, bytes]) -> None:
        """Put what a worker stored elsewhere into this store, unless it is there."""
        store = self.run.store
        there, outcome.stored = outcome.stored, {}
        outcome.cached, outcome.replaced = frozenset(), []
        for name in there:
            extractor = self.run.extractors[name]
            found = find_stored(store, extractor, outcome.content, outcome.replaced)
            if found is not None:
                outcome.cached |= {name}
            else:
                file = _name(store, store.path(extractor.key, outcome.content))
                store.take(file, files[file])
                found = store.find(extractor.key, outcome.content)
            assert found is not None, "it has just been written"
            outcome.stored[name] = found

    def _problem(self, path: Path, outcome: Outcome, worker: str) -> str:
        """Whether a worker had another recording than is here, or none, in words."""
        try:
            here = self.run.store.content(path)
        except MediaError as error:
            outcome.note(error)
            return ""
        if here == outcome.content:
            return ""
        what = "has another file there" if outcome.content else f"has no such file ({'; '.join(outcome.problems)})"
        place = path.absolute()
        return f"{place}: the worker {worker} {what}; recordings must lie on every worker where they lie here"

    def result(self, seconds: float) -> ExtractionResult:
        found = self.run.result(seconds, sum(self.workers.values()))
        waited = seconds * self.waited / self.busy if self.busy else 0.0
        return replace(found, waited=waited, devices=tuple(sorted(self.devices)))


def extract_there(told: Mapping[str, Any], *, beacon: str, stop: str) -> Made:
    """A task: the features of a chunk, in a process that may start others, which a worker of Dask may not.

    beacon : name of a file in the caller's store, which a worker that has the same one sees; stop : name of the event that ends it
    """
    from distributed import get_worker

    worker, store, threads = get_worker(), FeatureStore(), threads_of_a_slot()
    shared = (store.folder / beacon).is_file()
    with tempfile.TemporaryDirectory(prefix="avsed-extract-", dir=worker.local_directory) as own:
        file = Path(own, "answer")
        task = {**told, "workers": threads, "answer": str(file)}
        asked, found = False, None
        while not asked and (found is None or None in found.outcomes):  # something else may have ended it
            environment = {"OMP_NUM_THREADS": str(threads)}
            child = Child("avsed.features.process", task, log=Path(own, "log"), environment=environment)
            status, asked = follow(child, stop)
            if status and not asked and status not in ASKED:
                raise AvsedError(f"the worker {worker.address}: {child.reason(status)}")
            if not status:
                found = pickle.loads(file.read_bytes())
    outcomes = [outcome for outcome in found.outcomes if outcome is not None] if found is not None else []
    files = {}
    if not shared:
        paths = [stored.path for outcome in outcomes for stored in outcome.stored.values()]
        paths += [entry for _, path in told["clips"] if (entry := store.entry(path)).is_file()]
        files = {_name(store, path): path.read_bytes() for path in paths}
    return Made(found, None if shared else files, worker.address, threading.get_ident())


def _name(store: FeatureStore, path: Path) -> str:
    """The path of a file in its store."""
    return path.relative_to(store.folder).as_posix()
