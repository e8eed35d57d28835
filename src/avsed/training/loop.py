"""The training loop: batches, steps, logs, validation and checkpoints, from the first step or from where it stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TypeVar

import numpy as np
import torch

from avsed import console
from avsed.errors import AvsedError
from avsed.run import Run
from avsed.training.batches import Batches, TrainingClips
from avsed.training.checkpoint import Progress, State, load_checkpoint, save_checkpoint
from avsed.training.objective import Losses
from avsed.training.schedule import learning_rate
from avsed.training.step import MeanTeacher

LOG_EVERY = 10  # steps
T = TypeVar("T")


class Interrupted(AvsedError):
    """The training was asked to stop (SIGINT or SIGTERM) and left a checkpoint.

    exit_status : what a shell expects of a program that ended by this signal
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.exit_status = 128 + number


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


def train_loop(
    trainer: MeanTeacher, clips: TrainingClips, run: Run, *, validate: Callable[[], dict[str, float]] | None
) -> Progress:
    """Train to the last step, going on from the run's checkpoint if there is one.

    validate : scores the student on validation clips; called ``config.validations`` times, evenly spread, the last time at the end

    Raises Interrupted after SIGINT or SIGTERM, when the current step is done and saved; AvsedError if loss or weights are no longer
    finite numbers, which are never saved.
    """
    config = trainer.config
    batches = Batches(clips, config, seed=trainer.seed, time_pool=trainer.student.time_pool)
    state: State = {"student": trainer.student, "teacher": trainer.teacher, "optimiser": trainer.optimiser}
    done = Progress(0, 0.0)
    if run.checkpoint.is_file():
        done = load_checkpoint(run.checkpoint, **state)
        if done.step < config.steps:
            console.note(f"going on from step {done.step} of {config.steps}")
    run.cut_log(done.step)
    if done.step >= config.steps:
        return done

    from torch.utils.tensorboard import SummaryWriter

    means, shown, safe = _Means(), "", done.step  # safe: the step of the last checkpoint
    began = saved = time.monotonic()
    with (
        SummaryWriter(str(run.tensorboard), purge_step=done.step + 1) as board,
        console.bar("training", config.steps) as bar,
        _signals() as stop,
    ):
        bar.update(done.step)
        numbers = range(done.step, config.steps)
        for number, step in zip(numbers, _ahead(batches, numbers), strict=True):
            losses = trainer.step(number, *step)
            means.add(losses)

            now = Progress(number + 1, done.seconds + time.monotonic() - began)
            last = now.step == config.steps
            logging = last or now.step % LOG_EVERY == 0
            validating = validate is not None and _due(now.step, config.steps, config.validations)
            saving = last or bool(stop) or time.monotonic() - saved >= 60 * config.checkpoint_minutes
            if (logging or validating or saving) and not _finite(losses, trainer):
                left = f"the last checkpoint is of step {safe}" if safe else "there is no checkpoint"
                raise AvsedError(
                    f"{run.folder}: the training diverges: loss or weights are no finite numbers after step {now.step}; "
                    f"lower training.learning_rate{' and give another --out' if safe else ''} ({left})"
                )
            if logging:
                rate = (now.step - done.step) / (time.monotonic() - began)
                record = means.take() | {"learning_rate": learning_rate(number, config), "steps_per_s": rate}
                _log(run, board, "train", now.step, record)
                shown = f"loss {record['total']:.4f}  {rate:.2f} steps/s"
            if validate is not None and validating:
                scores = validate()
                _log(run, board, "validation", now.step, scores)
                found = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
                console.note(f"step {now.step}: validation {found}")
            if saving:
                save_checkpoint(run.checkpoint, now, **state)
                saved, safe = time.monotonic(), now.step
            bar.update(now.step, shown)
            if stop and saving and not last:
                raise Interrupted(
                    f"{run.folder}: stopped after step {now.step} of {config.steps}; the same command goes on", stop[0]
                )
    return now


def _ahead(make: Callable[[int], T], numbers: Sequence[int]) -> Iterator[T]:
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
    return bool(torch.stack([losses.total, *sums]).isfinite().all())


def _due(step: int, steps: int, times: int) -> bool:
    """Whether one of ``times`` evenly spread moments lies at this step; the last one is the last step."""
    return step * times // steps > (step - 1) * times // steps


def _log(run: Run, board: object, kind: str, step: int, record: dict[str, float]) -> None:
    run.append_log({"step": step, "kind": kind} | {k: None if not np.isfinite(v) else v for k, v in record.items()})
    for name, value in record.items():
        board.add_scalar(f"{kind}/{name}", value, step)  # type: ignore[attr-defined]


@contextmanager
def _signals() -> Iterator[list[signal.Signals]]:
    """A list that SIGINT or SIGTERM is added to; a second signal acts as usual. Only the main thread can listen."""
    stop: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        stop.append(signal.Signals(number))
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, action in before.items():
            signal.signal(number, action)
