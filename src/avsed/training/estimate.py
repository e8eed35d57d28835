"""How long trainings will take and how much room their files need, from a few steps on noise."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from avsed.config import Config
from avsed.device import set_threads
from avsed.features.extractors import make_extractors
from avsed.model.batch import Batch
from avsed.model.crnn import Crnn, parameter_count
from avsed.timeline import spectral_frames
from avsed.training.step import MeanTeacher

STEPS = 3  # of which the quickest counts, after one that compiles: what else the machine does comes and goes
COPIES = 5  # of the parameters in a run: student, teacher, Adam's two moments; the finished system
SMALL = 2e6  # bytes of a run's other files


class Estimate(NamedTuple):
    """Of one training: seconds of all its steps; bytes of its folder, without scores."""

    seconds: float
    bytes: float


def estimate(configs: Sequence[Config], *, device: torch.device, duration: float, classes: int) -> list[Estimate]:
    """What trainings will take; networks with and without convolutions are measured once for each size of batch.

    duration : seconds of a training clip
    """
    measured: dict[str, tuple[float, int]] = {}
    found = []
    for config in configs:
        own = config.training
        batch = own.weak_batch, own.strong_batch, own.unlabelled_batch
        key = repr((config.spectral, config.features, config.model, batch, own.precision, own.fused, own.augmentation))
        if key not in measured:
            measured[key] = _measure(config, device, duration, classes)
        seconds, parameters = measured[key]
        found.append(Estimate(own.steps * seconds, COPIES * 4 * parameters + SMALL))
    return found


def _measure(config: Config, device: torch.device, duration: float, classes: int) -> tuple[float, int]:
    """Seconds of a step, and parameters of the network."""
    set_threads(config.threads)
    training, pool, spectral = config.training, config.model.time_pool, config.features
    frames = max(1, spectral_frames(round(duration * spectral.rate), spectral.hop) // pool)
    labelled = training.weak_batch + training.strong_batch
    clips = labelled + training.unlabelled_batch
    dims = {name: own.dims for name, own in make_extractors(list(config.reduced), config).items()}
    batch = Batch(
        torch.randn(clips, frames * pool, spectral.bands, device=device) if config.spectral else None,
        {name: torch.randn(clips, frames, size, device=device) for name, size in dims.items()},
    )
    tags = torch.zeros(labelled, classes, device=device)
    targets = torch.zeros(training.strong_batch, frames, classes, device=device) if training.strong_batch else None
    state = torch.get_rng_state()
    network = Crnn.configured(config, classes=classes, dims=dims).to(device)
    deviation = np.ones(spectral.bands, np.float32) if config.spectral else None
    trainer = MeanTeacher(network, training, seed=0, stream_dropout=config.fusion.stream_dropout, deviation=deviation)
    taken = []
    for number in range(1 + STEPS):
        began = time.monotonic()
        float(trainer.step(number, batch, tags, targets).total)
        taken.append(time.monotonic() - began)
    torch.set_rng_state(state)
    return min(taken[1:]), parameter_count(network)  # the first step compiles
