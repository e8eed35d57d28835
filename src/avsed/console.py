"""What people see while a command works: notes, warnings and progress bars, all on standard error.

Standard output is kept for results, so that ``--json`` can be piped. Where standard error is no terminal, a bar becomes
a line now and then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from avsed.timeline import format_seconds

LINE_EVERY_S = 15.0

errors = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
_quiet = False


def be_quiet(quiet: bool = True) -> None:
    """Leave out notes and bars (warnings stay)."""
    global _quiet
    _quiet = quiet


def be_silent() -> None:
    """Leave out warnings, too: another process says all there is to say."""
    be_quiet()
    errors.quiet = True


def note(text: str) -> None:
    """A line about what is being done."""
    if not _quiet:
        errors.print(text)


def warn(text: str) -> None:
    """A line about something that the user should look at."""
    errors.print(f"warning: {text}", style="yellow")


class Bar:
    """A progress bar; `update` sets how far it is and what stands behind it."""

    def __init__(self, title: str, total: int, progress: Progress | None) -> None:
        self._title, self._total, self._progress = title, total, progress
        self._task = None if progress is None else progress.add_task(title, total=total, info="")
        self._began = self._spoke = time.monotonic()
        self._first: int | None = None

    def update(self, done: int, info: str = "", *, total: int | None = None) -> None:
        """``done`` of the total are done; ``info`` is a short text, such as the loss; ``total`` if it is known only now."""
        self._total = total if total is not None else self._total
        self._first = done if self._first is None else self._first
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=self._total, info=info)
            return
        now = time.monotonic()
        if not _quiet and (now - self._spoke >= LINE_EVERY_S or done == self._total):
            self._spoke = now
            rate = (done - self._first) / (now - self._began) if now > self._began else 0.0
            left = f", {format_seconds((self._total - done) / rate)} left" if rate > 0 and done < self._total else ""
            print(f"{self._title}: {done}/{self._total}{left}  {info}".rstrip(), file=sys.stderr, flush=True)


@contextmanager
def bar(title: str, total: int) -> Iterator[Bar]:
    """Show a progress bar while the block runs."""
    if _quiet or not errors.is_terminal:
        yield Bar(title, total, None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[info]}", markup=False),
    )
    with Progress(*columns, console=errors) as progress:
        yield Bar(title, total, progress)
