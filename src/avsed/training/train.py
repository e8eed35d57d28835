"""Train a system: data, networks, loop, and the finished system in the run's folder."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from avsed import console
from avsed.annotations import Events
from avsed.config import Config
from avsed.data.folder import Split
from avsed.device import describe, multiplies_halves, set_threads
from avsed.errors import AvsedError
from avsed.evaluation import Evaluation, evaluate_scores
from avsed.model.crnn import Crnn, parameter_count
from avsed.run import Run, versions
from avsed.scores import Scores
from avsed.stopping import listening
from avsed.system import System
from avsed.timeline import format_seconds
from avsed.training import distributed
from avsed.training.checkpoint import Progress
from avsed.training.loop import Interrupted, Steps, in_turn
from avsed.training.preparation import Prepared, StoredStreams, prepare, reference_events
from avsed.training.step import MeanTeacher

if TYPE_CHECKING:
    from rich.console import RenderableType

CHUNK = 256  # clips whose scores are held at once


@dataclass(frozen=True)
class Trained:
    """A finished training. validation : scores of the student after the last step, None without validation clips."""

    run: Path
    steps: int
    seconds: float
    device: str
    validation: Evaluation | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "run": str(self.run),
            "steps": self.steps,
            "seconds": self.seconds,
            "device": self.device,
            "validation": None if self.validation is None else self.validation.to_dict(),
        }

    def render(self) -> Iterator[RenderableType]:
        """What the command prints."""
        if self.validation is not None:
            yield from self.validation.render()
        yield f"trained {self.steps} steps in {format_seconds(self.seconds)} on {self.device}: {self.run}"


def train(config: Config, out: str | Path, *, workers: int | None = None) -> Trained:
    """Train by mean teacher, or go on with a training that was interrupted.

    out : folder of the run

    Raises AvsedError (and its kin) if the configuration, the data or the folder are not as they should be.
    """
    (found,) = train_together([config], [out], workers=workers)
    if isinstance(found, AvsedError):
        raise found
    return found


def train_together(
    configs: Sequence[Config], outs: Sequence[str | Path], *, workers: int | None = None
) -> list[Trained | AvsedError]:
    """Train several systems that differ by their seeds alone, a step of each in turn, on one copy of the features.

    outs : folders of the runs

    Returns what became of each, in the order given; what is wrong with one stops no other. Raises AvsedError (and its kin) if
    configuration or data are not as they should be, and Interrupted after a signal, when all are saved.
    """
    configs = [config.located() for config in configs]
    first = configs[0]
    if any(config != first.model_copy(update={"seed": config.seed}) for config in configs):
        raise ValueError("trainings of one process differ by their seeds alone")
    threads = set_threads(first.threads)
    device = distributed.own_device(first.device)
    console.note(f"device: {describe(device)}")
    if first.training.precision == "bf16" and not multiplies_halves(device):
        console.warn("training.precision: bf16 is slow on this device, which has no instructions for it: take fp32")
    runs = {Run(out): config for out, config in zip(outs, configs, strict=True)}
    found: dict[Run, Trained | AvsedError] = {}

    @contextmanager
    def attempt(run: Run) -> Iterator[None]:
        try:
            yield
        except AvsedError as error:
            found[run] = error

    for run, config in runs.items():
        with attempt(run):
            distributed.led(partial(run.begin, config))
    if len(found) < len(runs):
        prepared = distributed.first_alone(partial(prepare, first, device=device, workers=workers))
        distributed.same(prepared.about, "the training data")
    with listening() as stop, ExitStack() as stack:
        own: dict[Steps, tuple[Run, System]] = {}
        for run, config in runs.items():
            if run not in found:
                with attempt(run):
                    distributed.led(partial(run.take_data, config, prepared.about))
                    system = _system(config, prepared, device)
                    if not own:
                        _tell(prepared, system)
                    name = f"seed {config.seed}" if len(runs) > 1 else ""
                    steps = _steps(prepared, run, system, stop=stop, name=name)
                    facts = {"threads": threads, "processes": distributed.size()}
                    facts["parameters"] = parameter_count(system.model)
                    if not steps.ended:  # else it was made elsewhere, perhaps
                        distributed.led(partial(run.describe, versions=versions(), device=describe(device), **facts))
                    own[stack.enter_context(steps)] = run, system
        for steps, why in in_turn(list(own)):
            run, system = own[steps]
            with attempt(run):
                found[run] = why or _finish(steps.done, prepared, run, system, device)
    results = [found[run] for run in runs]
    for result in results:
        if isinstance(result, Interrupted):
            raise result
    if stop:
        raise Interrupted(f"{', '.join(map(str, outs))}: stopped when trained; the same command goes on", stop[0])
    return results


def _system(config: Config, prepared: Prepared, device: torch.device) -> System:
    """A system with a new network."""
    torch.manual_seed(config.seed)
    dims = {name: about["dims"] for name, about in prepared.extractors.items()}
    student = Crnn.configured(config, classes=len(prepared.labels), dims=dims).to(device)
    return System(
        config, prepared.labels, prepared.standardiser, student, prepared.window, extractors=prepared.extractors
    )


def _tell(prepared: Prepared, system: System) -> None:
    """Say what is trained on what."""
    clips, strong = prepared.clips, prepared.clips.strong
    console.note(
        f"{len(clips.weak)} weak clips, {'' if strong is None else f'{len(strong.features)} with events, '}"
        f"{0 if clips.unlabelled is None else len(clips.unlabelled)} "
        f"unlabelled, {len(prepared.labels)} classes, {' + '.join(system.config.streams)}, "
        f"{parameter_count(system.model):,} parameters, frames of {1000 * system.period:.1f} ms"
    )


def _steps(prepared: Prepared, run: Run, system: System, *, stop: Sequence[signal.Signals], name: str) -> Steps:
    """The training of a system's network."""
    config = system.config
    trainer = MeanTeacher(
        system.model,
        config.training,
        seed=config.seed,
        stream_dropout=config.fusion.stream_dropout,
        deviation=None if prepared.standardiser is None else prepared.standardiser.deviation,
    )
    heard = prepared.validation
    validate = None if heard is None else lambda: evaluate_split(system, *heard).headline()
    return Steps(trainer, prepared.clips, run, validate=validate, stop=stop, name=name)


def _finish(done: Progress, prepared: Prepared, run: Run, system: System, device: torch.device) -> Trained:
    """Save and validate a system whose training has ended."""
    system.model.eval()

    def finish() -> Evaluation | None:
        system.save(run.system)
        run.describe(steps=done.step, seconds=done.seconds, finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        return None if prepared.validation is None else evaluate_split(system, *prepared.validation)

    return Trained(run.folder, done.step, done.seconds, describe(device), distributed.led(finish))


def score_split(system: System, split: Split, files: Sequence[StoredStreams]) -> Iterator[Scores]:
    """Scores of a split's clips, whose features are read batch by batch."""
    for begin in range(0, len(split.clips), CHUNK):
        names = [clip.name for clip in split.clips[begin : begin + CHUNK]]
        yield from system.score(names, files[begin : begin + CHUNK])


def evaluate_split(system: System, split: Split, files: Sequence[StoredStreams]) -> Evaluation:
    """The three F1 scores of a system on a strongly labelled split."""
    scores = score_split(system, split, files)
    return evaluate_on(system, split, scores, all_thresholds=False)[0]


def evaluate_on(
    system: System,
    split: Split,
    scores: Iterable[Scores],
    about: Mapping[str, Any] | None = None,
    *,
    all_thresholds: bool = True,
) -> tuple[Evaluation, Events]:
    """Compare scores with a split's labels; returns the evaluation and the events that were found.

    Raises AnnotationError if the split cannot be scored (see `reference_events`).
    """
    return evaluate_scores(
        scores,
        reference_events(split),
        labels=system.labels,
        durations=split.durations,
        postprocessing=system.config.postprocessing,
        metrics=system.config.metrics,
        about=about,
        all_thresholds=all_thresholds,
    )
