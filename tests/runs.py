"""Trainings without a data set; folders of runs as 'avsed evaluate' leaves them, without a training: made-up scores, really evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from avsed.annotations import Durations, Events
from avsed.config import Config, ModelConfig, TrainingConfig
from avsed.data.bank import FeatureBank, StreamBank
from avsed.data.demo import LABELS
from avsed.data.folder import events_fingerprint
from avsed.evaluation import evaluate_scores
from avsed.features.sequence import FeatureSequence
from avsed.model.crnn import Crnn
from avsed.run import Run
from avsed.scores import Scores
from avsed.stopping import listening
from avsed.stored import write_stored
from avsed.training.batches import TrainingClips
from avsed.training.checkpoint import Progress
from avsed.training.loop import Steps, in_turn
from avsed.training.step import MeanTeacher

SMALL = ModelConfig(channels=(4, 4, 8), pools=((2, 2), (2, 2), (1, 2)), hidden=6)
TWO_STEPS = (
    "training.steps=2",
    "training.weak_batch=2",
    "training.unlabelled_batch=0",
    "training.validations=0",
    "model={channels: [4], pools: [[4, 128]], hidden: 4, layers: 1}",
    "threads=1",
    f"data.labels={json.dumps(LABELS)}",
)  # of a demo data set, with the commands


def trainer(config: TrainingConfig, *, seed: int = 1) -> MeanTeacher:
    torch.manual_seed(seed)
    return MeanTeacher(Crnn(SMALL, classes=3, bands=8), config, seed=seed)


def clips(*, weak: int = 7, unlabelled: int = 5, resident: bool = True) -> TrainingClips:
    generator = np.random.default_rng(0)

    def bank(count: int) -> FeatureBank:
        lengths = [int(n) for n in generator.integers(9, 33, count)]
        sequences = [
            FeatureSequence(generator.normal(size=(n, 8)).astype(np.float32), np.arange(n) * 0.1, 0.0, n * 0.1)
            for n in lengths
        ]
        loads = [lambda s=s: s for s in sequences]
        spectra = StreamBank(
            loads,
            lambda _, sequence: (sequence.values, np.arange(sequence.rows)),
            dims=8,
            device=torch.device("cpu"),
            rows=sum(lengths) if resident else None,
        )
        return FeatureBank(spectra, {}, lengths, time_pool=4)

    tags = torch.from_numpy(generator.integers(0, 2, (weak, 3)).astype(np.float32))
    return TrainingClips(bank(weak), tags, bank(unlabelled) if unlabelled else None)


def weights(one: MeanTeacher) -> dict[str, torch.Tensor]:
    state = {f"student.{k}": v for k, v in one.student.state_dict().items()}
    return state | {f"teacher.{k}": v for k, v in one.teacher.state_dict().items()}


def train_loop(
    trainer: MeanTeacher, clips: TrainingClips, run: Run, *, validate: Callable[[], dict[str, float]] | None
) -> Progress:
    """Train to the last step; what `avsed.training.train` does with data, networks and systems around it."""
    with listening() as stop, Steps(trainer, clips, run, validate=validate, stop=stop) as training:
        ended = list(in_turn([training]))
    for _, failed in ended:
        if failed is not None:
            raise failed
    return training.done


def noisy_scores(
    reference: Events, classes: tuple[str, ...], *, noise: float, random: np.random.Generator
) -> list[Scores]:
    """What a system says of clips of ten seconds: the truth, and as much noise in all frames of a class."""
    boundaries = np.arange(0, 10.01, 0.1)
    found = []
    for clip, events in reference.items():
        frames = np.zeros((100, len(classes)))
        for event in events:
            frames[round(event.onset * 10) : round(event.offset * 10), classes.index(event.label)] = 1
        frames = np.clip(0.2 + 0.6 * frames + noise * random.normal(size=(1, len(classes))), 0, 1).astype(np.float32)
        found.append(Scores(clip, classes, frames, boundaries, frames.max(axis=0)))
    return found


def keep_evaluation(
    run: Run,
    config: Config,
    scores: list[Scores],
    reference: Events,
    durations: Durations,
    *,
    split: str = "test",
    all_thresholds: bool = True,
    **about: Any,
) -> None:
    """Evaluate scores with a run's configuration and keep what was found in the run; about : more facts for the results."""
    shaped = {name: getattr(config, name).model_dump(mode="json") for name in ("postprocessing", "metrics")}
    evaluation, events = evaluate_scores(
        scores,
        reference,
        labels=scores[0].classes,
        durations=durations,
        postprocessing=config.postprocessing,
        metrics=config.metrics,
        about={"split": split, "fingerprint": {**events_fingerprint(reference), "left_out": []}, **shaped, **about},
        all_thresholds=all_thresholds,
    )
    config.save(run.config_file)
    write_stored(run, evaluation, name=split, scores=scores, events=events, reference=reference, durations=durations)
