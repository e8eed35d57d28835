"""Trainings in processes on this machine, several at once, and how far they are."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from math import ceil

from avsed import console
from avsed.config import Config
from avsed.features.threads import allowed_threads
from avsed.memory import SHARING
from avsed.stopping import Stopped, listening
from avsed.study.process import Outcome, TrainingProcess
from avsed.study.units import Unit

EVERY_S = 0.2  # between two looks at the processes
SLOWLY_S = 2.0  # between two looks at files: logs, and trainings that other processes have

Failures = dict[str, str]
"""Why trainings are not done, by name."""


class Display:
    """How far a study is: one bar of all its steps. units : all that are to be done"""

    def __init__(self, units: Sequence[Unit], bar: console.Bar) -> None:
        self._bar, self._count, self._done, self._failed = bar, len(units), 0, 0
        self._steps = {unit.name: 0 for unit in units}
        self._open: dict[str, Unit] = {unit.name: unit for unit in units}
        self._began, self._before = time.monotonic(), 0
        self._looked = 0.0
        self._shown: tuple[int, ...] = ()
        self._look()
        self._before = sum(self._steps.values())
        self.update(0)

    @staticmethod
    def total(units: Sequence[Unit]) -> int:
        """Steps of all trainings together."""
        return sum(unit.config.training.steps for unit in units)

    def ended(self, unit: Unit, reason: str, *, elsewhere: bool = False) -> None:
        """A training is done, by another process perhaps, or has failed for a reason."""
        self._open.pop(unit.name, None)
        if reason:
            self._failed += 1
            console.warn(f"{unit.name}: failed: {reason}")
            return
        self._done += 1
        self._steps[unit.name] = unit.config.training.steps
        where = " (by another process)" if elsewhere else ""
        console.note(f"{unit.name}: done{where}, {self._done} of {self._count}")

    def update(self, running: int) -> None:
        """Show it; running : trainings under way here."""
        if time.monotonic() - self._looked >= SLOWLY_S:
            self._look()
        steps = sum(self._steps.values())
        now = (steps, self._done, self._failed, running)
        if now == self._shown:
            return
        self._shown = now
        passed = time.monotonic() - self._began
        rate = f", {(steps - self._before) / passed:.2g} steps/s" if passed > SLOWLY_S else ""
        failed = f", {self._failed} failed" if self._failed else ""
        self._bar.update(steps, f"{self._done} of {self._count} trainings done{failed}, {running} at once{rate}")

    def _look(self) -> None:
        self._looked = time.monotonic()
        now = {name: unit.steps for name, unit in self._open.items()}
        # What a killed training did after its checkpoint is done again.
        self._before -= sum(max(0, self._steps[name] - steps) for name, steps in now.items())
        self._steps |= now


def run_here(units: Sequence[Unit], *, workers: int, together: int = 1, devices: Sequence[str] = ()) -> Failures:
    """Carry out trainings in processes of this machine; what other processes have is waited for, and taken over if they die.

    workers : processes at once, >= 1; they share the cores
    together : trainings of a setting in a process, at most
    devices : GPUs, as ``CUDA_VISIBLE_DEVICES`` names them, one for each process in turn

    Returns those that failed. Raises Stopped after SIGINT or SIGTERM.
    """
    own = {"OMP_NUM_THREADS": max(1, allowed_threads() // workers), SHARING: ceil(workers / max(1, len(devices)))}
    shares = {name: str(value) for name, value in own.items()}
    slots = [
        shares | ({"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} if devices else {}) for slot in range(workers)
    ]
    active: dict[int, TrainingProcess] = {}
    failures: Failures = {}
    waiting = deque(units)
    looked, told = -SLOWLY_S, False
    with console.bar("study", Display.total(units)) as bar, listening() as stop:
        display = Display(units, bar)
        try:
            while (waiting or active) and not stop:
                for slot, child in list(active.items()):
                    if (status := child.status()) is not None:
                        outcomes = child.outcomes(status)
                        del active[slot]
                        looked = -SLOWLY_S
                        for unit, outcome in zip(child.units, outcomes, strict=True):
                            if outcome.busy:
                                waiting.append(unit)
                            else:
                                _note(unit, outcome, failures, display)
                free = [slot for slot in range(workers) if slot not in active]
                if free and waiting and time.monotonic() - looked >= SLOWLY_S:
                    for slot in free:
                        some = _next(waiting, together, lambda unit: display.ended(unit, "", elsewhere=True))
                        if not some:
                            looked = time.monotonic()
                            break
                        active[slot] = TrainingProcess(some, slots[slot])
                    if waiting and not active and not told:
                        told = True
                        console.note(
                            f"waiting for other processes, which have {len(waiting)} of the trainings ({_holder(waiting[0])})"
                        )
                display.update(sum(len(child.units) for child in active.values()))
                time.sleep(EVERY_S)
            if stop:
                running = sum(len(child.units) for child in active.values())
                console.note(f"stopping; trainings that run save what they have ({running}) …")
        finally:
            _stop(active.values())
    if stop:
        left = sum(len(child.units) for child in active.values()) + len(waiting)
        raise Stopped(f"stopped with {left} of {len(units)} trainings to do; the same command goes on", stop[0])
    return failures


def _note(unit: Unit, outcome: Outcome, failures: Failures, display: Display) -> None:
    if outcome.reason:
        failures[unit.name] = outcome.reason
    display.ended(unit, outcome.reason)


def _next(waiting: deque[Unit], together: int, elsewhere: Callable[[Unit], None]) -> list[Unit]:
    """The first trainings of one setting that nobody has, taken out of those waiting, and those that others have done."""
    found: list[Unit] = []
    for unit in list(waiting):
        if (found and unit.setting != found[0].setting) or unit.busy:
            continue
        waiting.remove(unit)
        if unit.state == "done":
            elsewhere(unit)
            continue
        found.append(unit)
        if len(found) == together:
            break
    return found


def _holder(unit: Unit) -> str:
    try:
        host, _, process = unit.run.lock.read_text().strip().partition(" ")
    except OSError:
        host = process = ""
    return f"the first by process {process} on {host}" if process else "it is not known by which"


def _stop(children: Iterable[TrainingProcess]) -> None:
    """Ask all to stop, and wait until they have; a second Ctrl-C ends them at once."""
    every = list(children)
    for child in every:
        child.stop()
    try:
        for child in every:
            child.wait()
    except BaseException:
        for child in every:
            child.kill()
        raise


def visible_gpus(config: Config) -> list[str]:
    """GPUs that trainings may be spread over, as ``CUDA_VISIBLE_DEVICES`` names them; none on a CPU, or if the configuration names one."""
    if config.device not in ("auto", "cuda"):
        return []
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    given = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return given[:count] if given else [str(number) for number in range(count)]
