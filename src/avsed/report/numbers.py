"""Where the report's numbers come from: the one place that knows what ``results/SPLIT.json`` looks like.

Values are those that ``avsed evaluate`` wrote. Intervals are of a bootstrap over clips (`avsed.metrics.resampling`), from the counts of
the same comparison; of several trainings, numbers are means, and what stands in the interval's place is one standard deviation to each
side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avsed.config import PostprocessingConfig
from avsed.metrics import clip_based, event_based, segment_based
from avsed.metrics.ranking import rank_tags
from avsed.metrics.resampling import Measured, interval, measured, resample
from avsed.postprocessing import detect_tags
from avsed.report.loading import Evaluated, Setting
from avsed.tables import labels_of

RESAMPLES, SEED = 1000, 0
CLASS_MEASURES = {"clip": "clip-based F1", "segment": "segment-based F1", "event": "event-based F1"}


@dataclass(frozen=True)
class Number:
    """A score. value : a fraction, NaN where it is not defined; low, high : its interval, None if there is none"""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def defined(self) -> bool:
        return math.isfinite(self.value)


@dataclass(frozen=True)
class Measure:
    """A kind of score. percent : whether it is a fraction, shown in percent, of which 1 is best; chief : one of the paper's three"""

    key: str
    title: str
    percent: bool = True
    chief: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """The kind of metric, and the number's name in it."""
        kind, _, name = self.key.partition(".")
        return kind, name


MEASURES = (
    Measure("clip.micro_f1", "clip-based F1, micro", chief=True),
    Measure("clip.macro_f1", "clip-based F1, macro"),
    Measure("ranking.map", "clip-based mAP"),
    Measure("segment.micro_f1", "segment-based F1, micro", chief=True),
    Measure("segment.macro_f1", "segment-based F1, macro"),
    Measure("event.micro_f1", "event-based F1, micro"),
    Measure("event.macro_f1", "event-based F1, macro", chief=True),
    Measure("segment.micro_error_rate", "segment-based error rate", percent=False),
    Measure("event.micro_error_rate", "event-based error rate", percent=False),
)


@dataclass(frozen=True)
class Numbers:
    """The scores of one run, or of several trainings of one setting.

    overall : by key of `MEASURES`; classes : F1 by kind (clip, segment, event) and label
    """

    overall: Mapping[str, Number]
    classes: Mapping[str, Mapping[str, Number]]


def numbers_of(run: Evaluated) -> Numbers:
    """The scores of a run with their intervals."""
    metrics = _metrics(run)
    resamples = dict(zip(metrics, resample(list(metrics.values()), resamples=RESAMPLES, seed=SEED), strict=True))
    found = {kind: measured(metric) for kind, metric in metrics.items()}

    def number(kind: str, name: str, column: int | None = None) -> Number:
        place = () if column is None else (column,)
        value = float(found[kind][name][place])
        told = _told(run, kind, name, column)
        drawn = resamples[kind][name][(slice(None), *place)]
        own = interval(value, drawn)
        known = told is None or math.isclose(told, value, abs_tol=1e-9)
        if not known or not math.isfinite(own.low):  # the interval of another comparison is none of this number
            return Number(value if told is None else told)
        return Number(value, own.low, own.high)

    overall = {measure.key: number(*measure.place) for measure in MEASURES}
    classes = {
        kind: {label: number(kind, "class_f1", column) for column, label in enumerate(run.labels)}
        for kind in CLASS_MEASURES
    }
    return Numbers(overall, classes)


def mean_of(numbers: Sequence[Numbers]) -> Numbers:
    """The scores of a setting: of its one training, or mean and standard deviation of its trainings."""
    if len(numbers) == 1:
        return numbers[0]
    first = numbers[0]
    return Numbers(
        {key: _mean([own.overall[key] for own in numbers]) for key in first.overall},
        {
            kind: {label: _mean([own.classes[kind][label] for own in numbers]) for label in labels}
            for kind, labels in first.classes.items()
        },
    )


def spread(setting: Setting) -> str:
    """What stands in the interval's place, in words."""
    return "95 % interval over clips" if len(setting.runs) == 1 else "standard deviation over trainings"


def threshold_of(run: Evaluated, label: str) -> float | None:
    """The threshold that a class's frame probabilities were held against; None if there is not one such number."""
    told = run.results.get("postprocessing", {}).get("threshold")
    if isinstance(told, Mapping):
        told = told.get(label)
    return float(told) if isinstance(told, int | float) else None


def _metrics(run: Evaluated) -> dict[str, Measured]:
    """What the run's results are of, counted anew."""
    given = run.results["metrics"]
    labels = run.labels
    metrics: dict[str, Measured] = {
        "segment": segment_based(
            run.reference, run.events, labels=labels, resolution=given["segment"], durations=run.durations
        ),
        "event": event_based(
            run.reference,
            run.events,
            labels=labels,
            onset_collar=given["onset_collar"],
            offset_collar=given["offset_collar"],
            offset_rate=given["offset_rate"],
            offset_tolerance=given["offset_tolerance"],
        ),
        "ranking": rank_tags(
            labels_of(run.reference), {clip: one.tags for clip, one in run.scores.items()}, labels=labels
        ),
    }
    decisions = PostprocessingConfig.model_validate(run.results["postprocessing"])
    tags = {clip: detect_tags(one, decisions) for clip, one in run.scores.items()}
    metrics["clip"] = clip_based(labels_of(run.reference), tags, labels=labels)
    return metrics


def _told(run: Evaluated, kind: str, name: str, column: int | None) -> float | None:
    """What the results say of a number; NaN where they say null, None where they do not know it."""
    result: Any = run.results.get(kind)
    if not isinstance(result, Mapping):
        return None
    section, _, rate = name.partition("_")
    rates = result["classes"][run.labels[column]] if column is not None else result[section]
    return math.nan if rates[rate] is None else float(rates[rate])


def _mean(numbers: Sequence[Number]) -> Number:
    values = np.array([number.value for number in numbers if number.defined])
    if not len(values):
        return Number(math.nan)
    mean = float(values.mean())
    if len(values) == 1:
        return Number(mean)
    deviation = float(values.std(ddof=1))
    return Number(mean, mean - deviation, mean + deviation)
