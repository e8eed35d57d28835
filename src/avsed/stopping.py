"""Being asked to stop, by Ctrl-C or SIGTERM, where work is done in other processes and has to end in good order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from avsed.errors import AvsedError


class Stopped(AvsedError):
    """The work was asked to stop (SIGINT or SIGTERM), and what it had done is kept."""

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.exit_status = 128 + number


@contextmanager
def listening() -> Iterator[list[signal.Signals]]:
    """A list that SIGINT or SIGTERM is added to; a second one acts as usual."""
    stop: list[signal.Signals] = []
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        stop.append(signal.Signals(number))
        for own, action in usual.items():
            signal.signal(own, action)

    try:
        for number in usual:
            signal.signal(number, handle)
    except ValueError:  # not in the main thread, which alone may listen
        yield stop
        return
    try:
        yield stop
    finally:
        for number, action in usual.items():
            signal.signal(number, action)
