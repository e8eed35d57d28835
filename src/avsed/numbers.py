"""The numbers that results are told by: which there are, what they are called, and the intervals of their resamples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from avsed.metrics.counts import Result
from avsed.metrics.resampling import Interval, Measured, Numbers, interval, measured, resample

SEED = 0  # of the draws: the same for all systems, so that any two can be compared
CLASSES = "class_f1", "class_ap", "class_psds"
"""What a metric may say of each class."""


class Number(NamedTuple):
    """A number by its key in JSON.

    title : for people; measure : the metric by its name in an evaluation; name : of the number in the metric; percent : whether it is
    a share that people write in percent; rises : whether more is better
    """

    key: str
    title: str
    measure: str
    name: str
    percent: bool = True
    rises: bool = True


def _f1(measure: str, title: str) -> list[Number]:
    return [Number(f"{measure}_{mean}_f1", f"{title} {mean} F1", measure, f"{mean}_f1") for mean in ("micro", "macro")]


def _errors(measure: str, title: str) -> Number:
    key, name = f"{measure}_error_rate", "micro_error_rate"
    return Number(key, f"{title} error rate", measure, name, percent=False, rises=False)


NUMBERS = (
    *_f1("clip", "clip-based"),
    *_f1("tags_from_events", "tags from events"),
    Number("map", "mean average precision (mAP)", "ranking", "map"),
    Number("auroc", "mean AUROC", "ranking", "auroc"),
    Number("d_prime", "d′", "ranking", "d_prime", percent=False),
    *_f1("segment", "segment-based"),
    _errors("segment", "segment-based"),
    *_f1("event", "event-based"),
    _errors("event", "event-based"),
    *_f1("onset", "onset-only"),
    *_f1("intersection", "intersection-based"),
    *_f1("best_clip", "clip-based, best thresholds:"),
    *_f1("best_segment", "segment-based, best thresholds:"),
    *_f1("best_event", "event-based, best thresholds:"),
    *_f1("best_intersection", "intersection-based, best thresholds:"),
    Number("psds1", "PSDS scenario 1", "psds1", "psds", percent=False),
    Number("psds2", "PSDS scenario 2", "psds2", "psds", percent=False),
    Number("psds", "PSDS of metrics.psds", "psds", "psds", percent=False),
)
"""In the order in which they are shown."""

PAPER = ("clip_micro_f1", "tags_from_events_micro_f1", "segment_micro_f1", "event_macro_f1")
"""The three numbers of the paper; without clip probabilities, tags from events stand in the first one's place."""


@dataclass(frozen=True)
class Resamples:
    """Numbers in every resample of the clips.

    numbers : float64 (resamples,) by key
    classes : float64 (resamples, classes) by metric and name, such as ("clip", "class_f1")
    """

    numbers: Mapping[str, np.ndarray]
    classes: Mapping[tuple[str, str], np.ndarray]


def named(key: str) -> Number:
    """The number of a key that there is."""
    return next(number for number in NUMBERS if number.key == key)


def names(measures: Mapping[str, Measured]) -> list[Number]:
    """The numbers that these metrics give."""
    return [number for number in NUMBERS if number.measure in measures]


def title(number: Number, metric: Measured) -> str:
    """What the number is called; that of tags says what they come from."""
    if number.measure == "clip":
        return number.title.replace("clip-based", str(metric.definition["name"]))
    return number.title


def values(measures: Mapping[str, Measured]) -> dict[str, float]:
    """The numbers by key; NaN where one is not defined."""
    found = {name: measured(metric) for name, metric in measures.items()}
    return {number.key: float(found[number.measure][number.name]) for number in names(measures)}


def resampled(measures: Mapping[str, Measured], *, resamples: int) -> Resamples:
    """The numbers in resamples of the clips; the same draws for the same number of clips."""
    return _named(dict(zip(measures, resample(list(measures.values()), resamples=resamples, seed=SEED), strict=True)))


def _named(found: Mapping[str, Numbers]) -> Resamples:
    numbers = {number.key: found[number.measure][number.name] for number in NUMBERS if number.measure in found}
    classes = {(name, what): own[what] for name, own in found.items() for what in CLASSES if what in own}
    return Resamples(numbers, classes)


def intervals(
    measures: Mapping[str, Measured], drawn: Resamples, *, confidence: float
) -> tuple[dict[str, Interval], dict[str, list[Interval]]]:
    """The interval of each number by key, and of each class's own by ``metric.name``, such as ``clip.class_f1``."""
    own = {name: measured(metric) for name, metric in measures.items()}
    numbers = {
        number.key: interval(float(own[number.measure][number.name]), drawn.numbers[number.key], confidence=confidence)
        for number in names(measures)
    }
    classes = {
        f"{name}.{what}": [
            interval(value, column, confidence=confidence)
            for value, column in zip(own[name][what], own_drawn.T, strict=True)
        ]
        for (name, what), own_drawn in drawn.classes.items()
    }
    return numbers, classes


def plain(value: float) -> float | None:
    """For JSON: null where a number is not defined or not finite."""
    return float(value) if np.isfinite(value) else None


def told(number: Number, value: float) -> str:
    """For people: in percent, or with three decimals; a dash where it is not defined."""
    if value != value:
        return "–"
    return f"{100 * value:.2f} %" if number.percent else f"{value:.3f}"


def told_interval(number: Number, found: Interval) -> str:
    """Both ends for people, in brackets."""
    if found.low != found.low:
        return ""
    digits, factor = (1, 100) if number.percent else (3, 1)
    return f"[{factor * found.low:.{digits}f}, {factor * found.high:.{digits}f}]"


def describe(metric: Measured) -> dict[str, Any]:
    """All that a metric says, as plain values for JSON."""
    if isinstance(metric, Result):
        return metric.to_dict()
    found = measured(metric)
    return {
        "definition": dict(metric.definition),
        **{name: plain(float(value)) for name, value in found.items() if value.ndim == 0},
        "classes": {
            label: {name.removeprefix("class_"): plain(value[c]) for name, value in found.items() if value.ndim}
            for c, label in enumerate(metric.labels)
        },
    }


def to_dict(found: Interval) -> dict[str, Any]:
    """An interval for JSON."""
    return {
        "value": plain(found.value),
        "low": plain(found.low),
        "high": plain(found.high),
        "resamples": found.resamples,
    }
