"""Counts at every threshold at once, and the numbers made of them: F1 against the threshold, and the best F1.

Conventions
-----------
As the threshold falls, each step changes what one clip says (E) and what of it is right (C); the reference (R) stays. Steps that change
neither are not kept. All numbers follow from sums over clips, so clips can be resampled without comparing events again: a resample is an
integer weight for each clip, how often it was drawn.

Precision, recall and F1 are those of `counts`: where nothing is said, precision is 0; a class that the reference lacks has no recall and no
F1 (NaN), and is left out of macro means. The best F1 of a class is the greatest one over all thresholds, by itself; of equal ones that of
the highest threshold. Its threshold lies in the middle between the last score that it takes in and the next one, rounded to single
precision where that is still between them. "macro" is the mean over classes of the best F1s, "micro" the F1 of the sums of their counts.
If nothing right is ever said, the best F1 is 0 at a threshold of infinity: nothing said.

As ``sed_scores_eval`` finds them, but for the classes that the reference lacks (an error there), and its precision of 1 where nothing
is said, which its F1 does not depend on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from avsed.metrics.counts import fractions, mean_of_known
from avsed.metrics.resampling import Fixed


@dataclass(frozen=True)
class Sweep:
    """Counts of one class as the threshold falls.

    threshold : float64 (steps,), non-increasing: from this threshold down the counts are changed by ...
    clip : int64 (steps,); correct, estimated : int64 (steps,), changes of the clip's counts
    reference : int64 (clips,), what the reference holds
    """

    threshold: np.ndarray
    clip: np.ndarray
    correct: np.ndarray
    estimated: np.ndarray
    reference: np.ndarray

    def at(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """correct, estimated : int64 (clips,), the counts of each clip at the threshold."""
        steps = int(np.searchsorted(-self.threshold, -threshold, side="right"))
        clips = len(self.reference)
        correct, estimated = np.zeros(clips, np.int64), np.zeros(clips, np.int64)
        np.add.at(correct, self.clip[:steps], self.correct[:steps])
        np.add.at(estimated, self.clip[:steps], self.estimated[:steps])
        return correct, estimated

    @cached_property
    def last(self) -> np.ndarray:
        """bool (steps,): the step is the last one at its threshold."""
        return last_of_each(self.threshold)

    def curve(self) -> Curve:
        """The numbers of all clips together at each threshold where they change."""
        correct, estimated = (np.cumsum(change)[self.last] for change in (self.correct, self.estimated))
        return Curve(
            self.threshold[self.last], correct, estimated, *fractions(correct, estimated, self.reference.sum())
        )

    def best(self) -> Best:
        """The best F1 and where it is reached."""
        step, correct, estimated, reference = (
            int(x[0]) for x in self._best(np.ones((1, len(self.reference)), np.int64))
        )
        f1, precision, recall = (float(x) for x in fractions(*np.array([correct, estimated, reference])))
        threshold = self._between(step) if reference else float("nan")
        return Best(threshold, f1, precision, recall, correct, estimated, reference)

    def _best(self, weights: np.ndarray) -> tuple[np.ndarray, ...]:
        from avsed.metrics.kernels import best_f1

        return best_f1(self.last, self.clip, self.correct, self.estimated, self.reference, weights)

    def _between(self, step: int) -> float:
        """A threshold that takes in the step, and none of the steps at lower thresholds."""
        if step < 0:
            return float("inf")
        upper = float(self.threshold[step])
        if step + 1 == len(self.threshold):
            return upper
        lower = float(self.threshold[step + 1])
        middle = float(np.float32((upper + lower) / 2))
        return middle if lower < middle <= upper else upper


class Curve(NamedTuple):
    """Numbers against the threshold, which falls: float64 and, for counts, int64 (thresholds,)."""

    threshold: np.ndarray
    correct: np.ndarray
    estimated: np.ndarray
    f1: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


class Best(NamedTuple):
    """The best F1 of a class; NaN, and no threshold, if the reference lacks the class."""

    threshold: float
    f1: float
    precision: float
    recall: float
    correct: int
    estimated: int
    reference: int


class ClipCounts(NamedTuple):
    """int64 (clips, classes): what the reference holds, what is said and what of it is right."""

    reference: np.ndarray
    estimated: np.ndarray
    correct: np.ndarray


@dataclass(frozen=True)
class Sweeps:
    """A metric at all thresholds. definition : its name and parameters; sweeps : one for each label."""

    definition: Mapping[str, Any]
    labels: tuple[str, ...]
    clips: tuple[str, ...]
    sweeps: tuple[Sweep, ...]

    def __getitem__(self, label: str) -> Sweep:
        return self.sweeps[self.labels.index(label)]

    def at(self, threshold: float | Sequence[float] | Mapping[str, float]) -> ClipCounts:
        """Counts at one threshold, or at one for each class (in the order of the labels, or by label)."""
        if isinstance(threshold, Mapping):
            threshold = [threshold[label] for label in self.labels]
        each = np.broadcast_to(np.asarray(threshold, np.float64), len(self.labels))
        pairs = [sweep.at(float(own)) for sweep, own in zip(self.sweeps, each, strict=True)]
        return ClipCounts(
            np.stack([sweep.reference for sweep in self.sweeps], axis=1),
            np.stack([estimated for _, estimated in pairs], axis=1),
            np.stack([correct for correct, _ in pairs], axis=1),
        )

    def best(self) -> dict[str, Best]:
        """The best F1 of each class, each with its own threshold."""
        return {label: sweep.best() for label, sweep in zip(self.labels, self.sweeps, strict=True)}

    def resampled(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The best F1s of resampled clips; every resample and class finds its own best threshold.

        weights : int64 (resamples, clips), how often each clip was drawn
        Returns macro_f1, macro_precision, macro_recall, micro_f1, micro_precision, micro_recall : float64 (resamples,);
        class_f1, class_precision, class_recall : float64 (resamples, classes); all at the thresholds of the best F1s.
        """
        weights = checked(weights, len(self.clips))
        counts = np.stack([sweep._best(weights)[1:] for sweep in self.sweeps], axis=-1)  # (3, resamples, classes)
        result = {}
        names = ("f1", "precision", "recall")
        for name, values in zip(names, fractions(*counts), strict=True):
            result[f"macro_{name}"], result[f"class_{name}"] = mean_of_known(values), values
        known = counts * (counts[2] > 0)  # what is said of a class that the reference lacks has no best threshold
        for name, values in zip(names, fractions(*known.sum(axis=-1)), strict=True):
            result[f"micro_{name}"] = values
        return result

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the best F1s; null where a number is not defined."""
        overall = self.resampled(np.ones((1, len(self.clips)), np.int64))
        return {
            "definition": dict(self.definition),
            "micro": {name: _plain(overall[f"micro_{name}"][0]) for name in ("f1", "precision", "recall")},
            "macro": {name: _plain(overall[f"macro_{name}"][0]) for name in ("f1", "precision", "recall")},
            "classes": {
                label: {name: _plain(value) for name, value in best._asdict().items()}
                for label, best in self.best().items()
            },
        }


def only_best(definition: Mapping[str, Any], clips: tuple[str, ...], best: Mapping[str, Best]) -> Fixed:
    """The best F1s of classes without the steps that they follow from; best : by label"""
    counts = np.array([(own.correct, own.estimated, own.reference) for own in best.values()], np.int64).reshape(-1, 3).T
    numbers: dict[str, np.ndarray] = {}
    names = ("f1", "precision", "recall")
    each, together = fractions(*counts), fractions(*(counts * (counts[2] > 0)).sum(axis=1))
    for name, values, micro in zip(names, each, together, strict=True):
        numbers |= {f"macro_{name}": mean_of_known(values), f"micro_{name}": micro, f"class_{name}": values}
    return Fixed(definition, tuple(best), clips, numbers)


def falling(level: np.ndarray) -> np.ndarray:
    """int64 (steps,): the order in which the threshold falls past the steps; those of equal thresholds keep theirs."""
    return np.argsort(-level, kind="stable")


def last_of_each(threshold: np.ndarray) -> np.ndarray:
    """bool (steps,): the next step has another threshold, or there is none."""
    return np.append(threshold[1:] != threshold[:-1], True)[: len(threshold)]


def checked(weights: np.ndarray, clips: int) -> np.ndarray:
    """int64 (resamples, clips), as compiled loops take it. Raises ValueError if it is of another shape, not whole, or negative."""
    weights = np.asarray(weights)
    if weights.ndim != 2 or weights.shape[1] != clips or not np.issubdtype(weights.dtype, np.integer):
        raise ValueError(f"weights must be integers (resamples, {clips} clips), got {weights.dtype} {weights.shape}")
    if weights.size and weights.min() < 0:
        raise ValueError("weights say how often a clip was drawn: they must not be negative")
    return np.ascontiguousarray(weights, np.int64)


def _plain(value: float) -> float | int | None:
    """For JSON: what is not finite becomes None."""
    if isinstance(value, int):
        return value
    return float(value) if np.isfinite(value) else None
