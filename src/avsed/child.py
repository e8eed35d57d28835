"""A process of avsed that does one task, and stops in good order when whoever started it wants it to, or is gone.

The process reads its task, a line of JSON, from standard input and then waits for the input's end, which comes when the parent
closes it or dies, however it dies. What it says goes to a log.
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
from pathlib import Path
from typing import Any

SIZE = 65_536
ASKED = (-signal.SIGTERM, 128 + signal.SIGTERM)
"""Exit statuses of a process that was asked to end."""


class Child:
    """A running process.

    module : what it runs, by name; it calls `read_task`
    task : plain values
    log : file that what it says is added to
    environment : variables in place of this process's own
    """

    def __init__(self, module: str, task: Any, *, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            self._from = file.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],  # not from files that lie in the working folder
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                env=os.environ | environment,
                start_new_session=True,  # Ctrl-C is the parent's affair
            )
        try:
            self._input.write(json.dumps(task).encode() + b"\n")
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

    def status(self) -> int | None:
        """Its exit status, negative for a signal that ended it; None while it runs."""
        status = self._process.poll()
        if status is not None:
            self.stop()
        return status

    def wait(self) -> int:
        while (status := self.status()) is None:
            time.sleep(0.05)
        return status

    def reason(self, status: int, *, about: str = "") -> str:
        """Why it ended so: the last line that it said, of one of its tasks if there is one, or the signal that ended it.

        about : name of the task, which such a line begins with
        """
        if status < 0:
            name = signal.Signals(-status).name
            return f"ended by {name}" + (" (was there too little memory?)" if name == "SIGKILL" else "")
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._from, size - SIZE))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        said = [line.removeprefix("avsed: ").removeprefix("error: ") for line in lines if line]
        own = [line.removeprefix(f"{about}: ") for line in said if about and line.startswith(f"{about}: ")]
        return (own or said or [f"exit status {status}"])[-1]


def read_task() -> Any:
    """In the process: its task. From then on, the end of the input is a SIGTERM."""
    task = json.loads(_line())
    threading.Thread(target=_end_with_input, daemon=True).start()
    return task


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
    while os.read(0, SIZE):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
