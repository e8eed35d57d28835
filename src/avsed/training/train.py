"""Train a system: data, networks, loop, and the finished system in the run's folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from avsed import console
from avsed.annotations import Events
from avsed.config import Config
from avsed.data.folder import Split
from avsed.device import choose_device, describe, set_threads
from avsed.evaluation import Evaluation, evaluate_scores
from avsed.model.crnn import Crnn, parameter_count
from avsed.run import Run, versions
from avsed.scores import Scores
from avsed.system import System
from avsed.timeline import format_seconds
from avsed.training.loop import train_loop
from avsed.training.preparation import StoredStreams, prepare, reference_events
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
    run, config = Run(out), config.located()
    threads = set_threads(config.threads)
    device = choose_device(config.device)
    console.note(f"device: {describe(device)}")
    run.begin(config)
    prepared = prepare(config, device=device, workers=workers)
    run.take_data(config, prepared.about)

    torch.manual_seed(config.seed)
    dims = {name: about["dims"] for name, about in prepared.extractors.items()}
    student = Crnn.configured(config, classes=len(prepared.labels), dims=dims).to(device)
    trainer = MeanTeacher(
        student,
        config.training,
        seed=config.seed,
        stream_dropout=config.fusion.stream_dropout,
        deviation=None if prepared.standardiser is None else prepared.standardiser.deviation,
    )
    system = System(
        config, prepared.labels, prepared.standardiser, student, prepared.window, extractors=prepared.extractors
    )
    strong = prepared.clips.strong
    console.note(
        f"{len(prepared.clips.weak)} weak clips, {'' if strong is None else f'{len(strong.features)} with events, '}"
        f"{0 if prepared.clips.unlabelled is None else len(prepared.clips.unlabelled)} "
        f"unlabelled, {len(prepared.labels)} classes, {' + '.join(config.streams)}, "
        f"{parameter_count(student):,} parameters, frames of {1000 * system.period:.1f} ms"
    )
    run.describe(
        versions=versions(),
        device=describe(device),
        threads=threads,
        parameters=parameter_count(student),
    )

    def validation() -> Evaluation | None:
        return None if prepared.validation is None else evaluate_split(system, *prepared.validation)

    def headline() -> dict[str, float]:
        found = validation()
        return {} if found is None else found.headline()

    validate: Callable[[], dict[str, float]] | None = headline if prepared.validation is not None else None
    done = train_loop(trainer, prepared.clips, run, validate=validate)
    student.eval()
    system.save(run.system)
    run.describe(steps=done.step, seconds=done.seconds, finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    return Trained(run.folder, done.step, done.seconds, describe(device), validation())


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
