"""Waiting for what other processes do: as long as a busy machine may need, but not for one that has ended."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PATIENCE = 300  # seconds, on a busy machine

T = TypeVar("T")


def until(what: Callable[[], T], who: subprocess.Popen[str] | threading.Event | None = None) -> T:
    """What is found, as soon as something is.

    who : the process that is to bring it about, or an event that is set when nobody does any more
    """
    began = time.monotonic()
    while True:
        over = _over(who)
        if found := what():
            return found
        assert not over, "nobody brings it about any more"
        assert time.monotonic() - began < PATIENCE, "it never came"
        time.sleep(0.01)


def _over(who: subprocess.Popen[str] | threading.Event | None) -> bool:
    if isinstance(who, threading.Event):
        return who.is_set()
    return who is not None and who.poll() is not None


def runs(process: int) -> bool:
    """Whether there is such a process; one that only waits for its parent has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def end(process: subprocess.Popen[str]) -> None:
    """See that a process has ended, at the end of a test that may have failed, and tell what it had left to say."""
    if process.poll() is None:
        process.kill()
    for stream in (process.stdout, process.stderr):
        if stream is not None and not stream.closed:
            print(process.communicate(timeout=PATIENCE))
            return
    process.wait()
