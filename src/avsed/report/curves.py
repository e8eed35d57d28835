"""Curves over all thresholds: what a class's precision and recall could be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from avsed.scores import Scores


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall of one class as the threshold falls.

    threshold : float64 (points,), falling: the probabilities that occur
    precision, recall : float64 (points,), of the decision ``probability >= threshold``; recall is NaN without positives
    """

    threshold: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def average_precision(self) -> float:
        """Area under the steps of the curve; NaN without positives."""
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))

    def at(self, threshold: float) -> tuple[float, float] | None:
        """Recall and precision of a threshold; None if nothing reaches it."""
        reached = int(np.searchsorted(-self.threshold, -threshold, side="right"))
        return None if reached == 0 else (float(self.recall[reached - 1]), float(self.precision[reached - 1]))


def precision_recall(probabilities: np.ndarray, positive: np.ndarray) -> PrecisionRecall:
    """The curve of one class. probabilities : float (clips,), in [0, 1]; positive : bool (clips,)

    >>> curve = precision_recall(np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False]))
    >>> curve.precision.round(3).tolist(), curve.recall.tolist(), round(curve.average_precision, 3), curve.at(0.5)[0]
    ([1.0, 0.667, 0.5], [0.5, 1.0, 1.0], 0.833, 1.0)
    """
    probabilities = np.asarray(probabilities, np.float64)
    order = np.argsort(-probabilities, kind="stable")
    falling = probabilities[order]
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True)) if len(falling) else np.zeros(0, np.int64)
    correct = np.cumsum(positive[order])[ends].astype(np.float64)
    held = int(positive.sum())
    recall = correct / held if held else np.full(len(ends), np.nan)
    return PrecisionRecall(falling[ends], correct / (ends + 1), recall)


def clip_curves(scores: Mapping[str, Scores], labels: Mapping[str, frozenset[str]]) -> dict[str, PrecisionRecall]:
    """Curves of every class from clip probabilities. labels : what sounds in each clip"""
    clips = list(scores)
    classes = scores[clips[0]].classes
    tags = np.stack([scores[clip].tags for clip in clips])  # (clips, classes)
    return {
        label: precision_recall(tags[:, column], np.array([label in labels[clip] for clip in clips], bool))
        for column, label in enumerate(classes)
    }
