"""Curves over all thresholds: what a class's precision, recall and F1 could be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from avsed.measures import Swept, psds_parameters, sweep
from avsed.metrics.psds import SCENARIOS, Psds, psds
from avsed.metrics.sweep import Curve
from avsed.metrics.sweeps import clip_sweep
from avsed.postprocessing.candidates import Saying
from avsed.report.loading import Evaluated
from avsed.scores import Scores
from avsed.tables import labels_of


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


def said_by(run: Evaluated) -> Saying:
    """What the run says of each class at every threshold, by its own post-processing."""
    scores = list(run.scores.values())
    return Saying(scores, run.config.postprocessing, labels=run.labels, clips=tuple(run.reference))


def f1_curves(run: Evaluated, said: Saying) -> dict[str, dict[str, Curve]]:
    """Clip-, segment- and event-based F1 against the threshold, by measure (clip, segment, event) and label.

    At the threshold of its decisions, the curves give the run's own scores (unless something works on the events after the threshold,
    see `avsed.postprocessing.options.PostprocessingConfig.sweepable`).
    """
    labels, reference = run.labels, run.reference
    kinds: tuple[Swept, ...] = ("segment", "event")
    sweeps = {"clip": clip_sweep(run.scores.values(), labels_of(reference), labels=labels)} | {
        kind: sweep(kind, said, reference, labels=labels, durations=run.durations, metrics=run.config.metrics)
        for kind in kinds
    }
    return {name: {label: own[label].curve() for label in labels} for name, own in sweeps.items()}


def psd_rocs(run: Evaluated, said: Saying) -> dict[str, Psds]:
    """The PSDS of DCASE's scenarios, and that of the configuration, by what they are called."""
    titles = {f"psds{scenario}": f"scenario {scenario}" for scenario in SCENARIOS} | {"psds": "metrics.psds"}
    return {
        titles[name]: psds(
            said,
            run.reference,
            labels=run.labels,
            durations=run.durations,
            parameters=parameters,
            keep_steps=False,
        )
        for name, parameters in psds_parameters(run.config.metrics).items()
    }


def f1_at(curve: Curve, thresholds: np.ndarray) -> np.ndarray:
    """F1 at thresholds, float64 (n,): 0 where nothing is said, NaN for a class that the reference lacks."""
    reached = np.searchsorted(-curve.threshold, -thresholds, side="right")
    nothing = 0.0 if len(curve.f1) == 0 or np.isfinite(curve.f1[-1]) else np.nan
    return np.concatenate([[nothing], curve.f1])[reached]
