"""How many cores there are to use, and how to share them with worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
