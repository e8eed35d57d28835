"""A training of a study in a process of its own, which stops in good order when whoever started it wants it to, or is gone.

The process reads its task from standard input and then waits for the input's end, which comes when the parent closes it or dies,
however it dies. What it says goes to the run's ``train.log``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from avsed.errors import AvsedError
from avsed.study.units import Unit, carry_out

BUSY = 75  # exit status: another process has the training (EX_TEMPFAIL)
SIZE = 65_536


class Outcome(NamedTuple):
    """How a process ended. busy : another process has the training; reason : why it is not done, empty if it is"""

    busy: bool
    reason: str


class Child:
    """A running training. environment : variables in place of this process's own"""

    def __init__(self, unit: Unit, environment: Mapping[str, str]) -> None:
        self.unit = unit
        log = unit.run.said
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            self._from = file.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "avsed.study.process"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                env=os.environ | environment,
                start_new_session=True,  # Ctrl-C is the parent's affair
            )
        try:
            self._input.write(json.dumps(unit.to_dict()).encode() + b"\n")
            self._input.flush()
        except BrokenPipeError:  # it has ended already; its log says why
            pass

    @property
    def _input(self) -> Any:
        assert self._process.stdin is not None
        return self._process.stdin

    def stop(self) -> None:
        """Ask it to save what it has and end."""
        with contextlib.suppress(BrokenPipeError):
            self._input.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def poll(self) -> Outcome | None:
        """How it ended, None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        self.stop()
        return Outcome(status == BUSY, "" if status in (0, BUSY) else self._reason(status))

    def wait(self) -> Outcome:
        while (found := self.poll()) is None:
            time.sleep(0.05)
        return found

    def _reason(self, status: int) -> str:
        """The last line that it said, or the signal that ended it."""
        if status < 0:
            name = signal.Signals(-status).name
            return f"ended by {name}" + (" (was there too little memory?)" if name == "SIGKILL" else "")
        with self.unit.run.said.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._from, size - SIZE))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        said = next((line for line in reversed(lines) if line), f"exit status {status}")
        return said.removeprefix("avsed: error: ").removeprefix("avsed: ")


def main() -> int:
    """What the process does; returns its exit status."""
    unit = Unit.from_dict(json.loads(_line()))
    threading.Thread(target=_end_with_input, daemon=True).start()
    with unit.held() as mine:
        if not mine:
            return BUSY
        try:
            carry_out(unit)
        except AvsedError as error:
            print(f"avsed: error: {error}", file=sys.stderr, flush=True)
            return int(getattr(error, "exit_status", 2))
    return 0


def _line() -> bytes:
    """The first line of standard input; nothing is read ahead of it."""
    found = b""
    while not found.endswith(b"\n"):
        more = os.read(0, SIZE)
        if not more:
            sys.exit("avsed: the process that started this one is gone")
        found += more
    return found


def _end_with_input() -> None:
    """Ask this process to stop when its input ends: a training then leaves a checkpoint."""
    while os.read(0, SIZE):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
