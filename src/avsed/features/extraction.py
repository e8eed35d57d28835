"""Features of many clips, of several extractors in one pass: processes, progress, resumption, a list of what failed.

::

    parent    looks up what the store has ─▶ clips ─▶ workers                       networks ─▶ store
    workers                                   hash, decode once, front ends ─▶ …       ▲
                                              log-mel ─▶ store                         └ batches across clips

A worker hashes the file, decodes it and stores what needs no network (`avsed.features.decoding_pass`); the parent runs
the networks meanwhile (`avsed.features.embedding`). What is stored stays stored, however the run ends, and the next run
finds it. Nothing here imports PyTorch unless a network is to run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING

from avsed.errors import AvsedError
from avsed.features.bookkeeping import ExtractionResult, Progress, Run
from avsed.features.decoding_pass import Outcome, decode_clip, needs_network
from avsed.features.store import FeatureStore
from avsed.features.threads import available_cores, one_thread_each

if TYPE_CHECKING:
    import torch

    from avsed.features.decoding_pass import AnyExtractor
    from avsed.features.embedding import Embedder

FEW = 16
"""So few missing clips are extracted in this process: starting workers would take longer."""

AHEAD = 2
"""Clips that are decoded, or wait to be, beyond one for each worker."""


def extract_features(
    clips: Sequence[tuple[str, str | Path]],
    extractors: Mapping[str, AnyExtractor],
    store: FeatureStore,
    *,
    workers: int | None = None,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> ExtractionResult:
    """Make sure that the store has all features of every clip that can be read.

    clips : (name, file) of each clip
    extractors : what is wanted of each clip, by name; each recording is decoded once for all of them
    workers : processes that decode, >= 1; None for one a core. Few missing clips are decoded in this process, and so are
        any number by one worker if no network would wait for it
    device : where networks run; None for the CPU, on as many threads as PyTorch may use
    progress : called as ``progress(done, total, failures)`` with numbers of clips, after each one; done includes both
        the cached and the failed

    A clip that cannot be read is listed and stops nothing. Ctrl-C waits for the clips in hand and keeps them, save those
    whose networks have not run.

    Memory is bounded: decoded and prepared, or about to be, are at most workers + `AHEAD` clips; for each network there
    wait in addition as many clips as fill the batch that it runs on (`avsed.features.embedding`) and one more. A clip is
    prepared whole: ten seconds of VGG16's pictures are 23 MB.

    Raises ValueError if workers < 1, WeightsError, before anything is decoded, if a network that is needed lacks its
    weights, CheckpointError if the store cannot be written, AvsedError if a worker process is killed (what was stored by
    then is kept).
    """
    if workers is not None and workers < 1:
        raise ValueError(f"extraction needs at least one worker, got {workers}")
    return fill(Run(clips, extractors, store, progress), workers=workers, device=device)


def fill(run: Run, *, workers: int | None, device: torch.device | None) -> ExtractionResult:
    """The same as `extract_features`, of which the run tells afterwards what became of each clip, even if it was interrupted."""
    missing = [index for index in range(len(run.clips)) if not run.look_up(index)]
    run.report()
    run.embedders = _networks(run, missing, device)
    count = min(workers or available_cores(), len(missing)) if len(missing) > FEW else 1
    began = time.perf_counter()
    if len(missing) <= FEW or (count == 1 and not run.embedders):
        _in_turn(run, missing)
    else:
        _in_parallel(run, missing, count)
    run.finish()
    return run.result(time.perf_counter() - began, count)


def _networks(run: Run, missing: Sequence[int], device: torch.device | None) -> Mapping[str, Embedder]:
    """The networks that are needed: those of which a clip lacks features."""
    lacking = {name for index in missing for name in run.lacking(index)}
    needed = {name: e for name, e in run.extractors.items() if name in lacking and needs_network(e)}
    if not needed:
        return {}
    import torch

    from avsed.features.embedding import make_embedders

    return make_embedders(needed, device or torch.device("cpu"))


def _in_turn(run: Run, missing: Sequence[int]) -> None:
    for index in missing:
        with run.waiting():
            outcome = decode_clip(run.states[index].path, run.lacking(index), run.store)
        run.add(index, outcome)


def _in_parallel(run: Run, missing: Sequence[int], workers: int) -> None:
    # Fresh processes instead of forks: the parent may run threads (PyTorch's, say), whose locks a fork leaves held.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    flying: dict[Future[Outcome], int] = {}
    left = iter(missing)

    def send() -> None:
        with one_thread_each():
            for index in left:
                path = run.states[index].path
                flying[pool.submit(decode_clip, path, run.lacking(index), run.store)] = index
                if len(flying) == workers + AHEAD:
                    return

    try:
        send()
        while flying:
            with run.waiting():
                ready = wait(flying, return_when=FIRST_COMPLETED).done
            future = next(future for future in flying if future in ready)  # the oldest
            index, outcome = flying.pop(future), future.result()
            del future, ready  # or they keep what was prepared
            send()
            run.add(index, outcome)
    except BrokenProcessPool as error:
        kept = sum(bool(state.stored) for state in run.states)
        raise AvsedError(
            f"a worker process was killed after {kept} of {len(run.clips)} clips had their features in "
            f"{run.store.folder}; these are kept. If memory ran out, run the same again with fewer than {workers} workers; "
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
