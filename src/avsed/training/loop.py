"""Trainings step by step, one or several in turn: batches, logs, validation and checkpoints, from where each stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from avsed import console
from avsed.errors import AvsedError
from avsed.run import Run
from avsed.stopping import Stopped
from avsed.training import distributed
from avsed.training.batches import Batches, TrainingClips
from avsed.training.checkpoint import Progress, State, load_checkpoint, save_checkpoint
from avsed.training.objective import Losses
from avsed.training.schedule import learning_rate
from avsed.training.step import MeanTeacher

LOG_EVERY = 10  # steps
T = TypeVar("T")


class Interrupted(Stopped):
    """The training was asked to stop and left a checkpoint."""


@dataclass
class _Means:
    """Mean losses since the last log line, summed on the device so that no step waits for it."""

    steps: int = 0
    sums: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(self, losses: Losses) -> None:
        there = {name: value for name, value in losses._asdict().items() if value is not None}
        self.sums = {name: self.sums[name] + value if self.sums else value for name, value in there.items()}
        self.steps += 1

    def take(self) -> dict[str, float]:
        means = {name: float(value) / self.steps for name, value in self.sums.items()}
        self.steps, self.sums = 0, {}
        return means


class Steps:
    """A training, step by step, going on from the run's checkpoint if there is one. To be used as a context.

    validate : scores the student on validation clips; called ``config.validations`` times, evenly spread, the last time at the end
    stop : signals that came; the training then saves and ends after its next step
    name : stands before what it says, where others train beside it
    """

    def __init__(
        self,
        trainer: MeanTeacher,
        clips: TrainingClips,
        run: Run,
        *,
        validate: Callable[[], dict[str, float]] | None,
        stop: Sequence[signal.Signals] = (),
        name: str = "",
    ) -> None:
        self._trainer, self._run, self._validate, self._stop = trainer, run, validate, stop
        self._name = f"{name}: " if name else ""
        config = trainer.config
        self._batches = Batches(clips, config, seed=trainer.seed, time_pool=trainer.student.time_pool)
        self._state: State = {"student": trainer.student, "teacher": trainer.teacher, "optimiser": trainer.optimiser}
        self.done = Progress(0, 0.0)
        if run.checkpoint.is_file():
            self.done = load_checkpoint(run.checkpoint, **self._state)
            if self.done.step < config.steps:
                console.note(f"{self._name}going on from step {self.done.step} of {config.steps}")
        distributed.same({"step": self.done.step}, str(run.checkpoint))
        distributed.led(partial(run.cut_log, self.done.step))
        self._first, self._safe = self.done, self.done.step  # safe: the step of the last checkpoint
        self._saved = time.monotonic()
        self._means = _Means()
        self.shown = ""

    @property
    def steps(self) -> int:
        """How many there will be."""
        return self._trainer.config.steps

    @property
    def ended(self) -> bool:
        """Whether the last step is done."""
        return self.done.step >= self.steps

    def __enter__(self) -> Steps:
        with ExitStack() as stack:
            if not self.ended:
                if distributed.leads():
                    from torch.utils.tensorboard import SummaryWriter

                    self._board = SummaryWriter(str(self._run.tensorboard), purge_step=self.done.step + 1)
                    stack.callback(self._board.close)
                self._coming = _ahead(self._batches, range(self.done.step, self.steps))
                stack.callback(self._coming.close)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def advance(self) -> None:
        """One step, with what is due after it: a line in the log, validation, a checkpoint.

        Raises Interrupted after a signal, when the step is done and saved; AvsedError if loss or weights are no longer finite
        numbers, which are never saved.
        """
        began, config, number = time.monotonic(), self._trainer.config, self.done.step
        losses = self._trainer.step(number, *next(self._coming))
        self._means.add(losses)
        step = number + 1
        last = step == config.steps
        late = time.monotonic() - self._saved >= 60 * config.checkpoint_minutes
        # All processes of a training stop and save after the same step.
        asked, due = distributed.largest(self._stop[0] if self._stop else 0, late)
        stopping = bool(asked) and not last
        logging = last or step % LOG_EVERY == 0
        validating = self._validate is not None and _due(step, config.steps, config.validations)
        saving = last or stopping or bool(due)
        if (logging or validating or saving) and not _finite(losses, self._trainer):
            left = f"the last checkpoint is of step {self._safe}" if self._safe else "there is no checkpoint"
            raise AvsedError(
                f"{self._run.folder}: the training diverges: loss or weights are no finite numbers after step {step}; "
                f"lower training.learning_rate{' and give another --out' if self._safe else ''} ({left})"
            )

        def passed() -> float:
            return self.done.seconds + time.monotonic() - began

        if logging and distributed.leads():
            rate = (step - self._first.step) / (passed() - self._first.seconds)
            record = self._means.take() | {"learning_rate": learning_rate(number, config), "steps_per_s": rate}
            self._log("train", step, record)
            self.shown = f"loss {record['total']:.4f}  {rate:.2f} steps/s"
        if self._validate is not None and validating:
            scores = distributed.led(self._validate)
            if scores is not None:
                self._log("validation", step, scores)
                found = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
                console.note(f"{self._name}step {step}: validation {found}")
        self.done = Progress(step, passed())
        if saving:
            distributed.led(partial(save_checkpoint, self._run.checkpoint, self.done, **self._state))
            self._saved, self._safe = time.monotonic(), step
        if stopping:
            raise Interrupted(
                f"{self._run.folder}: stopped after step {step} of {config.steps}; the same command goes on",
                signal.Signals(asked),
            )

    def _log(self, kind: str, step: int, record: dict[str, float]) -> None:
        told = {name: value if np.isfinite(value) else None for name, value in record.items()}
        self._run.append_log({"step": step, "kind": kind} | told)
        for name, value in record.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)


def in_turn(trainings: Sequence[Steps]) -> Iterator[tuple[Steps, AvsedError | None]]:
    """A step of each, in turn, until all have ended; each is given out when it has, or with what ended it before.

    One that fails stops no other.
    """
    going = [training for training in trainings if not training.ended]
    yield from ((training, None) for training in trainings if training.ended)
    if not going:
        return
    with console.bar("training", sum(training.steps for training in trainings)) as bar:
        bar.update(sum(training.done.step for training in trainings))
        while going:
            for training in list(going):
                failed = None
                try:
                    training.advance()
                except AvsedError as error:
                    failed = error
                bar.update(sum(training.done.step for training in trainings), going[0].shown)
                if failed is not None or training.ended:
                    going.remove(training)
                    yield training, failed


def _ahead(make: Callable[[int], T], numbers: Sequence[int]) -> Generator[T]:
    """What ``make`` makes of each number; the next one is made while one is used."""
    with ThreadPoolExecutor(1, "batches") as pool:
        coming = pool.submit(make, numbers[0])
        for number in numbers[1:]:
            ready, coming = coming.result(), pool.submit(make, number)
            yield ready
        yield coming.result()


def _finite(losses: Losses, trainer: MeanTeacher) -> bool:
    """Whether the losses of a step and the networks after it are finite numbers; the device is asked once."""
    states = (trainer.student.state_dict(), trainer.teacher.state_dict())
    sums = [value.float().sum() for state in states for value in state.values()]
    odd = not torch.stack([losses.total, *sums]).isfinite().all()
    return not distributed.largest(odd)[0]  # of the running buffers each process may have its own


def _due(step: int, steps: int, times: int) -> bool:
    """Whether one of ``times`` evenly spread moments lies at this step; the last one is the last step."""
    return step * times // steps > (step - 1) * times // steps
