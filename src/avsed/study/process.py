"""Trainings of a study in a process of their own, which stops in good order when whoever started it wants it to, or is gone.

The process reads its task from standard input and then waits for the input's end, which comes when the parent closes it or dies,
however it dies. What it says goes to the ``train.log`` of its first run.
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
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from avsed.errors import AvsedError
from avsed.study.units import Unit, carry_out

BUSY = 75  # exit status: another process has the training (EX_TEMPFAIL)
SIZE = 65_536


class Outcome(NamedTuple):
    """What became of a training. busy : another process has it; reason : why it is not done, empty if it is"""

    busy: bool
    reason: str


class Child:
    """A process with trainings of one setting, which take turns in it.

    units : the trainings; environment : variables in place of this process's own
    """

    def __init__(self, units: Sequence[Unit], environment: Mapping[str, str]) -> None:
        self.units = units
        self._log = units[0].run.said
        for unit in units:
            unit.run.said.parent.mkdir(parents=True, exist_ok=True)
            if unit is not units[0]:
                with unit.run.said.open("a") as file:
                    file.write(f"trained together with {units[0].name}: {self._log}\n")
        with self._log.open("ab") as file:
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
            self._input.write(json.dumps([unit.to_dict() for unit in units]).encode() + b"\n")
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

    def poll(self) -> list[Outcome] | None:
        """How each training ended, None while the process runs."""
        status = self._process.poll()
        if status is None:
            return None
        self.stop()
        return [self._outcome(unit, status) for unit in self.units]

    def wait(self) -> list[Outcome]:
        while (found := self.poll()) is None:
            time.sleep(0.05)
        return found

    def _outcome(self, unit: Unit, status: int) -> Outcome:
        if unit.state == "done":
            return Outcome(False, "")
        if status in (0, BUSY):  # of several, it did those that it could have
            return Outcome(True, "")
        return Outcome(False, self._reason(unit, status))

    def _reason(self, unit: Unit, status: int) -> str:
        """The last line that it said, of this training if there is one; or the signal that ended it."""
        if status < 0:
            name = signal.Signals(-status).name
            return f"ended by {name}" + (" (was there too little memory?)" if name == "SIGKILL" else "")
        with self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._from, size - SIZE))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        said = [line.removeprefix("avsed: ").removeprefix("error: ") for line in lines if line]
        own = [line.removeprefix(f"{unit.name}: ") for line in said if line.startswith(f"{unit.name}: ")]
        return (own or said or [f"exit status {status}"])[-1]


def main() -> int:
    """What the process does; returns its exit status."""
    units = [Unit.from_dict(told) for told in json.loads(_line())]
    threading.Thread(target=_end_with_input, daemon=True).start()
    with contextlib.ExitStack() as stack:
        mine = [unit for unit in units if stack.enter_context(unit.held())]
        if not mine:
            return BUSY
        try:
            failed = carry_out(mine)
        except AvsedError as error:
            print(f"avsed: error: {error}", file=sys.stderr, flush=True)
            return int(getattr(error, "exit_status", 2))
        for name, why in failed.items():
            print(f"avsed: error: {name}: {why}", file=sys.stderr, flush=True)
    return 2 if failed else 0


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
