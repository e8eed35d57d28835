"""How far a number may be trusted: bootstrap over clips.

Conventions
-----------
A metric counts once, for each clip; a resample draws as many clips as there are, with replacement, and counts each as often as it was
drawn (``resampled(weights)`` of every metric). Nothing is compared again. The interval is that of the percentiles (Efron); a resample
in which a number is not defined, such as a class that was not drawn, is left out of it.

Two systems are compared on the same clips and the same draws, so that what makes a clip hard for both cancels out. p is twice the share
of resamples in which the difference lies on the other side of zero, at least 2 / (resamples + 1): what the bootstrap can tell.

Several trainings of one system are drawn, too, with replacement: the interval of their mean then holds for other clips *and* other
trainings. Those of two systems are drawn each by themselves, since no training of one belongs to one of the other. Of n trainings, draws
spread by the factor sqrt((n - 1) / n) less than other trainings would: of few of them, intervals are too narrow. One training says
nothing about others; its interval is one over clips alone.

Whatever is drawn is the same for the same seed and clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

AT_ONCE = 100  # resamples whose weights and numbers are held at once

Numbers = dict[str, np.ndarray]


class Measured(Protocol):
    """What was counted of a metric. See the concrete classes for the names of its numbers."""

    @property
    def clips(self) -> tuple[str, ...]:
        """The clips, in the order of the weights' columns."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of its numbers' columns."""

    @property
    def definition(self) -> Mapping[str, Any]:
        """Name and parameters of the metric."""

    def resampled(self, weights: np.ndarray) -> Numbers:
        """weights : int64 (resamples, clips). Returns (resamples,) or (resamples, classes) by name."""


@dataclass(frozen=True)
class Fixed:
    """A metric of which only the numbers of the clips as they are were kept, not what they follow from: it has no intervals.

    numbers : () and (classes,) by name
    """

    definition: Mapping[str, Any]
    labels: tuple[str, ...]
    clips: tuple[str, ...]
    numbers: Mapping[str, np.ndarray]

    def resampled(self, weights: np.ndarray) -> Numbers:
        """The numbers where every clip counts once, NaN elsewhere. weights : int64 (resamples, clips)"""
        whole = np.all(weights == 1, axis=1)
        return {
            name: np.where(whole.reshape(-1, *(1 for _ in np.shape(value))), value, np.nan)
            for name, value in self.numbers.items()
        }


@dataclass(frozen=True)
class Interval:
    """A number with the interval of its resamples; NaN where it is not defined. resamples : those in which it is defined."""

    value: float
    low: float
    high: float
    resamples: int


@dataclass(frozen=True)
class Difference:
    """Of two systems, the second less the first, on the same clips. p : of no difference, two-sided."""

    value: float
    low: float
    high: float
    p: float


def draws(clips: int, resamples: int, *, seed: int) -> Iterator[np.ndarray]:
    """int64 (some, clips): how often each resample holds each clip, ``AT_ONCE`` of them at a time; each row sums to ``clips``."""
    random = np.random.default_rng(seed)
    for begin in range(0, resamples, AT_ONCE):
        count = min(AT_ONCE, resamples - begin)
        picked = random.integers(clips, size=(count, clips)) + clips * np.arange(count)[:, None]
        yield np.bincount(picked.ravel(), minlength=count * clips).reshape(count, clips)


def measured(metric: Measured) -> Numbers:
    """The numbers of the clips as they are: () and (classes,) by name."""
    found = metric.resampled(np.ones((1, len(metric.clips)), np.int64))
    return {name: values[0] for name, values in found.items()}


def resample(metrics: Sequence[Measured], *, resamples: int, seed: int) -> list[Numbers]:
    """The numbers of each metric in every resample: (resamples,) and (resamples, classes) by name.

    metrics : of the same clips; all see the same draws

    Raises ValueError if their clips differ.
    """
    clips = metrics[0].clips
    if any(metric.clips != clips for metric in metrics):
        raise ValueError("only metrics of the same clips, in the same order, can be resampled together")
    parts: list[list[Numbers]] = [[] for _ in metrics]
    for weights in draws(len(clips), resamples, seed=seed):
        for metric, own in zip(metrics, parts, strict=True):
            own.append(metric.resampled(weights))
    return [{name: np.concatenate([part[name] for part in own]) for name in own[0]} for own in parts]


def interval(value: float, resampled: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """The interval of a number. resampled : float (resamples,), NaN where it is not defined"""
    known = resampled[~np.isnan(resampled)]
    if not len(known) or np.isnan(value):
        return Interval(float(value), np.nan, np.nan, len(known))
    low, high = _quantiles(known, confidence)
    return Interval(float(value), low, high, len(known))


def difference(
    first: float, second: float, first_resampled: np.ndarray, second_resampled: np.ndarray, *, confidence: float = 0.95
) -> Difference:
    """Compare a number of two systems whose resamples are of the same draws; float (resamples,)."""
    with np.errstate(invalid="ignore"):  # a d′ may be infinite in both
        differences = second_resampled - first_resampled
    known = differences[~np.isnan(differences)]
    value = float(second - first)
    if not len(known) or np.isnan(value):
        return Difference(value, np.nan, np.nan, np.nan)
    low, high = _quantiles(known, confidence)
    share = (1 + min((known <= 0).sum(), (known >= 0).sum())) / (1 + len(known))
    return Difference(value, low, high, min(1.0, 2 * float(share)))


def mean_of_trainings(resampled: Sequence[np.ndarray], *, seed: int) -> np.ndarray:
    """The mean over trainings in every resample, trainings drawn with replacement: float (resamples,).

    resampled : of each training, float (resamples,), all of the same draws of clips
    seed : another one for each system, or the same trainings are drawn of both
    """
    stacked = np.stack(resampled)  # (trainings, resamples)
    count, resamples = stacked.shape
    picked = np.random.default_rng((seed, count)).integers(count, size=(count, resamples))
    return np.take_along_axis(stacked, picked, axis=0).mean(axis=0)


def _quantiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="closest_observation")
    return float(low), float(high)
