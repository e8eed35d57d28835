"""The best of all thresholds, and of several ways to post-process, for F1: exactly, from counts.

Conventions
-----------
A class has options (filters, boxes), and for each of them counts that change only at certain thresholds, its steps. Between a step's
threshold and the next lower one every threshold is as good; of these the default is taken if it is among them, else the middle,
so that scores of other clips may differ a little. Of choices that are equally good, the option that stands first is taken, then the
threshold nearest to the default.

* Macro F1: each class takes its own best.
* Micro F1 of all classes together, 2 C / (E + R) with counts summed over classes: Dinkelbach's iteration. For the best ratio l found
  so far, each class takes what maximises 2 C - l (E + R), until the ratio no longer grows; then it is the highest that any combination
  of choices has. All in whole numbers. Source: W. Dinkelbach, *On nonlinear fractional programming*, Management Science 13, 1967.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Steps:
    """Counts of one class and option, over all clips, as the threshold falls.

    threshold : float64 (steps,), decreasing, the first infinite, where nothing is said
    correct, estimated : int64 (steps,), at every threshold from this one down to the next; reference : int
    """

    threshold: np.ndarray
    correct: np.ndarray
    estimated: np.ndarray
    reference: int

    @classmethod
    def of_changes(cls, threshold: np.ndarray, correct: np.ndarray, estimated: np.ndarray, reference: int) -> Steps:
        """From changes of the counts at non-increasing thresholds."""
        last = np.flatnonzero(np.append(np.diff(threshold) != 0, True)[: len(threshold)])
        right, said = (np.append(0, np.cumsum(changes)[last]) for changes in (correct, estimated))
        return cls(np.append(np.inf, threshold[last]), right, said, reference)

    def at(self, threshold: float) -> int:
        """The step that a threshold lies in."""
        return int(np.count_nonzero(self.threshold >= threshold)) - 1

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """(below, up to): step k is of thresholds t with below[k] < t <= up to[k]; both in [0, 1], or just below 0."""
        below = np.append(self.threshold[1:], -np.inf)
        return np.clip(below, np.nextafter(0, -1), 1), np.clip(self.threshold, np.nextafter(0, -1), 1)


class Choice(NamedTuple):
    """option : its number; threshold : in [0, 1]; correct, estimated, reference : counts with it."""

    option: int
    threshold: float
    correct: int
    estimated: int
    reference: int


def keep(options: Sequence[Steps], default: float) -> Choice:
    """The first option at the default threshold."""
    step = options[0].at(default)
    return _choice(options, 0, step, default)


def best_alone(options: Sequence[Steps], default: float, *, tune_threshold: bool) -> Choice:
    """The choice with the highest F1 of one class.

    default : threshold that is kept if nothing is gained; the only one unless ``tune_threshold``
    """
    number, step = max(
        (
            (number, step)
            for number, own in enumerate(options)
            for step in [_best_step(own, _f1(own), default, tune_threshold)]
        ),
        key=lambda found: (_f1(options[found[0]])[found[1]], -found[0]),
    )
    return _choice(options, number, step, default)


def best_together(
    classes: Sequence[Sequence[Steps]],
    defaults: Sequence[float],
    *,
    tune_threshold: bool,
    others: tuple[int, int] = (0, 0),
) -> list[Choice]:
    """The choices with the highest F1 of all classes together.

    others : estimated and reference counts of classes that are not chosen for
    """
    choices = [keep(options, default) for options, default in zip(classes, defaults, strict=True)]
    ratio = _ratio(choices, others)
    while True:
        choices = [
            _best_for(ratio, options, default, tune_threshold)
            for options, default in zip(classes, defaults, strict=True)
        ]
        found = _ratio(choices, others)
        if found <= ratio:
            return choices
        ratio = found


def _best_for(ratio: Fraction, options: Sequence[Steps], default: float, tune_threshold: bool) -> Choice:
    """The choice that maximises 2 C - ratio (E + R)."""
    gains = [2 * ratio.denominator * own.correct - ratio.numerator * (own.estimated + own.reference) for own in options]
    steps = [_best_step(own, gain, default, tune_threshold) for own, gain in zip(options, gains, strict=True)]
    number = max(range(len(options)), key=lambda n: (gains[n][steps[n]], -n))
    return _choice(options, number, steps[number], default)


def _best_step(steps: Steps, values: np.ndarray, default: float, tune_threshold: bool) -> int:
    """The step with the highest value, of equally good ones the nearest to the default threshold."""
    if not tune_threshold:
        return steps.at(default)
    below, up_to = steps.bounds
    possible = np.flatnonzero(below < up_to)
    best = possible[values[possible] == values[possible].max()]
    inside = (below[best] < default) & (default <= up_to[best])
    distance = np.where(inside, 0.0, np.abs((below[best] + up_to[best]) / 2 - default))
    return int(best[np.argmin(distance)])


def _choice(options: Sequence[Steps], number: int, step: int, default: float) -> Choice:
    own = options[number]
    below, up_to = (float(bound[step]) for bound in own.bounds)
    at = default if below < default <= up_to or below >= up_to else between(below, up_to)
    return Choice(number, at, int(own.correct[step]), int(own.estimated[step]), own.reference)


def between(below: float, up_to: float) -> float:
    """A short number t about halfway, with below < t <= up_to in single precision, too."""
    middle = max(0.0, (below + up_to) / 2)
    for digits in range(2, 17):
        short = round(middle, digits)
        if abs(short - middle) <= (up_to - below) / 4 and below < np.float32(short) <= up_to and below < short <= up_to:
            return short
    return up_to


def _f1(steps: Steps) -> np.ndarray:
    return 2 * steps.correct / np.maximum(steps.estimated + steps.reference, 1)


def _ratio(choices: Sequence[Choice], others: tuple[int, int]) -> Fraction:
    total = sum(others) + sum(one.estimated + one.reference for one in choices)
    return Fraction(2 * sum(one.correct for one in choices), max(total, 1))
