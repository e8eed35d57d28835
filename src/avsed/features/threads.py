"""How many cores and threads there are to use, and how to share them with worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowed_threads() -> int:
    """Threads that a computation in this process may use: one a core, or what the environment allows libraries if less."""
    given = (os.environ.get(name, "") for name in LIMITS)
    return min([available_cores(), *(int(value) for value in given if value.isdecimal() and int(value))])


def at_once(task: Callable[[], None], *, threads: int) -> None:
    """Run the same task in this thread and ``threads`` - 1 others; raises what it raises in any of them."""
    if threads == 1:
        task()
        return
    with ThreadPoolExecutor(threads - 1) as pool:  # for this call only: threads that are kept do not survive a fork
        others = [pool.submit(task) for _ in range(threads - 1)]
        task()
    for other in others:
        other.result()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started inside compute with one thread each, unless the user's environment says otherwise.

    Numeric libraries read these variables when they are loaded, before a function of ours could tell them anything.
    """
    own = [name for name in LIMITS if name not in os.environ]
    os.environ.update(dict.fromkeys(own, "1"))
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)
