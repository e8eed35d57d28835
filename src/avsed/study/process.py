"""Trainings of a setting in a process of their own; what it says goes to the ``train.log`` of the first run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avsed.child import Child, read_task
from avsed.errors import AvsedError
from avsed.study.units import Unit, carry_out

BUSY = 75  # exit status: another process has the training (EX_TEMPFAIL)


class Outcome(NamedTuple):
    """What became of a training. busy : another process has it; reason : why it is not done, empty if it is"""

    busy: bool
    reason: str


class TrainingProcess(Child):
    """Running trainings of one setting, which take turns in one process. environment : variables in place of this process's own"""

    def __init__(self, units: Sequence[Unit], environment: Mapping[str, str]) -> None:
        self.units = units
        told = [unit.to_dict() for unit in units]
        super().__init__("avsed.study.process", told, log=units[0].run.said, environment=environment)

    def outcomes(self, status: int) -> list[Outcome]:
        """How each training ended, by the process's exit status, and by what it left and said."""
        return [self._outcome(unit, status) for unit in self.units]

    def _outcome(self, unit: Unit, status: int) -> Outcome:
        if unit.state == "done":
            return Outcome(False, "")
        if status in (0, BUSY) or unit.busy:  # of several, it did those that it could have
            return Outcome(True, "")
        return Outcome(False, self.reason(status, about=unit.name))


def main() -> int:
    """What the process does; returns its exit status."""
    units = [Unit.from_dict(told) for told in read_task()]
    with contextlib.ExitStack() as stack:
        mine = [unit for unit in units if stack.enter_context(unit.held())]
        if not mine:
            return BUSY
        for unit in mine:
            if unit is not units[0]:
                with unit.run.said.open("a") as file:
                    file.write(f"trained together with {units[0].name}: {units[0].run.said}\n")
        try:
            failed = carry_out(mine)
        except AvsedError as error:
            print(f"avsed: error: {error}", file=sys.stderr, flush=True)
            return int(getattr(error, "exit_status", 2))
        for name, why in failed.items():
            print(f"avsed: error: {name}: {why}", file=sys.stderr, flush=True)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
