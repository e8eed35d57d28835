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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

EmptyOutput = Literal["zero", "skip"]


@dataclass(frozen=True)
class Counts:
    """What a metric counted.

    labels : the classes, in the order of the columns; clips : names, in the order of the rows
    reference, estimated, correct : int64 (clips, classes)
    substitutions, deletions, insertions : int64 (clips,), over all classes together
    """

    labels: tuple[str, ...]
    clips: tuple[str, ...]
    reference: np.ndarray
    estimated: np.ndarray
    correct: np.ndarray
    substitutions: np.ndarray
    deletions: np.ndarray
    insertions: np.ndarray


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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "definition": dict(self.definition),
            "micro": self.micro.to_dict(),
            "macro": self.macro.to_dict(),
            "classes": {label: rates.to_dict() for label, rates in self.classes.items()},
        }


def summarise(counts: Counts, definition: Mapping[str, Any], *, empty_output: EmptyOutput = "zero") -> Result:
    """All numbers of a metric from its counts; see the module's conventions."""
    reference, estimated, correct = (c.sum(axis=0) for c in (counts.reference, counts.estimated, counts.correct))
    classes = {}
    for label, r, e, c in zip(counts.labels, reference.tolist(), estimated.tolist(), correct.tolist(), strict=True):
        classes[label] = _rates(r, e, c, deletions=r - c, insertions=e - c, empty_output=empty_output)
    sums = [int(x.sum()) for x in (counts.substitutions, counts.deletions, counts.insertions)]
    micro = _rates(
        int(reference.sum()),
        int(estimated.sum()),
        int(correct.sum()),
        substitutions=sums[0],
        deletions=sums[1],
        insertions=sums[2],
        empty_output=empty_output,
    )
    names = ("f1", "precision", "recall", "error_rate", "deletion_rate", "insertion_rate")
    means = {name: _mean([getattr(rates, name) for rates in classes.values()]) for name in names}
    macro = Rates(
        means["f1"],
        means["precision"],
        means["recall"],
        means["error_rate"],
        means["deletion_rate"],
        means["insertion_rate"],
    )
    return Result({**definition, "empty_output": empty_output}, micro, macro, classes, counts)


def _rates(
    reference: int,
    estimated: int,
    correct: int,
    *,
    deletions: int,
    insertions: int,
    empty_output: EmptyOutput,
    substitutions: int | None = None,
) -> Rates:
    nan = float("nan")
    precision = correct / estimated if estimated else 0.0 if empty_output == "zero" else nan
    recall = correct / reference if reference else nan
    f1 = 0.0 if precision == recall == 0 else 2 * precision * recall / (precision + recall)
    of = [x / reference if reference else nan for x in (substitutions or 0, deletions, insertions)]
    return Rates(
        f1=f1,
        precision=precision,
        recall=recall,
        error_rate=sum(of),
        deletion_rate=of[1],
        insertion_rate=of[2],
        substitution_rate=None if substitutions is None else of[0],
        reference=reference,
        estimated=estimated,
        correct=correct,
    )


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
