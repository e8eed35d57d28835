"""Counts of a comparison, and the numbers made of them.

Conventions
-----------
Each metric counts once, for every clip and class: what the reference holds (R), what the system says (E), what of it is right (C).
Everything else follows from sums of these counts, so that clips can be resampled without comparing anything again::

    precision = C / E        recall = C / R        F1 = 2 · precision · recall / (precision + recall)
    deletions D = R − C      insertions I = E − C  error rate = (S + D + I) / R

Over all classes together (micro), a missed and a false sound at the same place are one substitution S instead of D and I. The macro
numbers are the means over classes of the classes' own numbers.

As in ``sed_eval``, a class that the reference lacks has no recall and no F1 (NaN) and does not count in the macro mean. A class that
the reference holds and the system never says has precision 0 and F1 = 0 (``empty_output="zero"``, as DCASE's evaluations ask for);
with ``empty_output="skip"``, the default of ``sed_eval``, both are NaN and left out, too. An error rate without reference is NaN
(``sed_eval`` divides by a tiny number there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

EmptyOutput = Literal["zero", "skip"]
MEANS = ("f1", "precision", "recall", "error_rate", "deletion_rate", "insertion_rate")


@dataclass(frozen=True)
class Counts:
    """What a metric counted.

    labels : the classes, in the order of the columns; clips : names, in the order of the rows
    reference, estimated, correct : integers (clips, classes)
    substitutions, deletions, insertions : integers (clips,), over all classes together

    They are kept in the smallest type that holds them, a byte in most cases: of 100,000 clips and 300 classes 30 MB each.
    """

    labels: tuple[str, ...]
    clips: tuple[str, ...]
    reference: np.ndarray
    estimated: np.ndarray
    correct: np.ndarray
    substitutions: np.ndarray
    deletions: np.ndarray
    insertions: np.ndarray

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if isinstance(values, np.ndarray):
                small = np.min_scalar_type(-1 - int(values.max(initial=0)))  # signed: counts are subtracted
                object.__setattr__(self, name, values.astype(small))


@dataclass(frozen=True)
class Rates:
    """Numbers of one class, of all together (micro), or their mean (macro); fractions, NaN where they are not defined.

    reference, estimated, correct : counts; None for means
    """

    f1: float
    precision: float
    recall: float
    error_rate: float
    deletion_rate: float
    insertion_rate: float
    substitution_rate: float | None = None
    reference: int | None = None
    estimated: int | None = None
    correct: int | None = None

    def to_dict(self) -> dict[str, float | int | None]:
        """For JSON: NaN becomes None."""
        return {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in vars(self).items()
        }


@dataclass(frozen=True)
class Result:
    """A metric's numbers. definition : name and parameters of the metric, so that a number can be told from another."""

    definition: Mapping[str, Any]
    micro: Rates
    macro: Rates
    classes: Mapping[str, Rates]
    counts: Counts

    @property
    def clips(self) -> tuple[str, ...]:
        """The clips, in the order of the counts' rows."""
        return self.counts.clips

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the counts' columns."""
        return self.counts.labels

    def resampled(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The numbers when clip i counts ``weights[:, i]`` times.

        weights : int64 (resamples, clips), >= 0
        Returns float64 (resamples,) under ``micro_f1``, ``macro_f1``, ``micro_precision``, ..., and (resamples, classes) under
        ``class_f1``, ...
        """
        sums = Sums.of(self.counts, weights)
        empty_output = self.definition["empty_output"]
        classes, micro = sums.by_class(empty_output), sums.together(empty_output)
        return {
            **{f"micro_{name}": micro[name] for name in (*MEANS, "substitution_rate")},
            **{f"macro_{name}": mean_of_known(classes[name]) for name in MEANS},
            **{f"class_{name}": classes[name] for name in MEANS},
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "definition": dict(self.definition),
            "micro": self.micro.to_dict(),
            "macro": self.macro.to_dict(),
            "classes": {label: rates.to_dict() for label, rates in self.classes.items()},
        }


@dataclass(frozen=True)
class Sums:
    """Counts summed over clips, each as often as it counts: of each class, int64 (resamples, classes), and of all, (resamples,)."""

    reference: np.ndarray
    estimated: np.ndarray
    correct: np.ndarray
    substitutions: np.ndarray
    deletions: np.ndarray
    insertions: np.ndarray

    @classmethod
    def of(cls, counts: Counts, weights: np.ndarray) -> Sums:
        """weights : int64 (resamples, clips)"""
        columns = [vars(counts)[name] for name in cls.__annotations__]
        # Products of float64 are exact up to 2^53, and quicker than those of integers by far.
        return cls(*((weights.astype(np.float64) @ column).astype(np.int64) for column in columns))

    def by_class(self, empty_output: EmptyOutput) -> dict[str, np.ndarray]:
        """Rates of each class by name, float64 (resamples, classes)."""
        missed, false = self.reference - self.correct, self.estimated - self.correct
        return _rates(self.reference, self.estimated, self.correct, missed, false, np.zeros_like(missed), empty_output)

    def together(self, empty_output: EmptyOutput) -> dict[str, np.ndarray]:
        """Rates of all classes together by name, float64 (resamples,)."""
        reference, estimated, correct = (x.sum(axis=1) for x in (self.reference, self.estimated, self.correct))
        return _rates(reference, estimated, correct, self.deletions, self.insertions, self.substitutions, empty_output)


def summarise(counts: Counts, definition: Mapping[str, Any], *, empty_output: EmptyOutput = "zero") -> Result:
    """All numbers of a metric from its counts; see the module's conventions."""
    sums = Sums.of(counts, np.ones((1, len(counts.clips)), np.int64))
    classes, micro = sums.by_class(empty_output), sums.together(empty_output)
    held = [x[0].tolist() for x in (sums.reference, sums.estimated, sums.correct)]
    by_class = {
        label: _row({name: classes[name][0, c] for name in MEANS}, [own[c] for own in held])
        for c, label in enumerate(counts.labels)
    }
    together = _row({name: values[0] for name, values in micro.items()}, [sum(own) for own in held])
    means = _row({name: mean_of_known(classes[name])[0] for name in MEANS}, [None, None, None])
    return Result({**definition, "empty_output": empty_output}, together, means, by_class, counts)


def fractions(
    correct: np.ndarray, estimated: np.ndarray, reference: np.ndarray, *, empty_output: EmptyOutput = "zero"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F1, precision and recall of counts of any shape: float64, NaN where they are not defined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(estimated > 0, correct / estimated, 0.0 if empty_output == "zero" else np.nan)
        recall = np.where(reference > 0, correct / reference, np.nan)
        both = precision + recall
        return np.where(both == 0, 0.0, 2 * precision * recall / both), precision, recall


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Means over the last axis of what is finite, NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=-1) / known.sum(axis=-1)


def _row(rates: Mapping[str, float], counts: Sequence[int | None]) -> Rates:
    """rates : by name; without a substitution rate there is none; counts : reference, estimated, correct"""
    values: dict[str, Any] = {name: float(value) for name, value in rates.items()}
    values |= zip(("reference", "estimated", "correct"), counts, strict=True)
    return Rates(**values)


def _rates(
    reference: np.ndarray,
    estimated: np.ndarray,
    correct: np.ndarray,
    deletions: np.ndarray,
    insertions: np.ndarray,
    substitutions: np.ndarray,
    empty_output: EmptyOutput,
) -> dict[str, np.ndarray]:
    """Rates by name from counts of one shape."""
    f1, precision, recall = fractions(correct, estimated, reference, empty_output=empty_output)
    with np.errstate(divide="ignore", invalid="ignore"):
        of = [np.where(reference > 0, x / reference, np.nan) for x in (substitutions, deletions, insertions)]
    return {
        "f1": f1,
        "precision": precision,
        "recall": recall,
        "error_rate": of[0] + of[1] + of[2],
        "deletion_rate": of[1],
        "insertion_rate": of[2],
        "substitution_rate": of[0],
    }
