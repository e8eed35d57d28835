"""Where the report's numbers come from: the one place that knows what ``results/SPLIT.json`` looks like.

Values and intervals are those that ``avsed evaluate`` wrote (`avsed.numbers`). Of several trainings, numbers are means, and what stands
in the interval's place is one standard deviation to each side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avsed.numbers import NUMBERS
from avsed.postprocessing.options import by_class
from avsed.report.loading import Evaluated

CLASS_MEASURES = {
    "clip.class_f1": "clip-based F1",
    "segment.class_f1": "segment-based F1",
    "event.class_f1": "event-based F1",
}
"""Of each class, what is drawn."""


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
    """A kind of score. percent : whether tables show it in percent; share : whether it lies in [0, 1], of which 1 is best"""

    title: str
    percent: bool
    share: bool


@dataclass(frozen=True)
class Numbers:
    """The scores of one run, or of several trainings of one setting.

    overall : by key, in the order in which they are shown; classes : by kind, such as ``event.class_f1``, and label
    """

    overall: Mapping[str, Number]
    classes: Mapping[str, Mapping[str, Number]]


def numbers_of(run: Evaluated) -> Numbers:
    """The scores of a run with their intervals."""
    results = run.results
    overall = {key: _number(told) for key, told in results["numbers"].items()}
    classes = {
        kind: {label: _number(told[label]) for label in run.labels}
        for kind, told in results.get("intervals", {}).items()
    }
    for kind in CLASS_MEASURES:  # without resamples there are no intervals
        measure, _, name = kind.partition(".")
        if kind not in classes and measure in results:
            rates, rate = results[measure]["classes"], name.removeprefix("class_")
            classes[kind] = {label: _number({"value": rates[label][rate]}) for label in run.labels}
    return Numbers(overall, classes)


def measures_of(runs: Sequence[Evaluated]) -> dict[str, Measure]:
    """What all of the runs were scored by, by key."""
    known = {number.key: number for number in NUMBERS}
    first, *others = [run.results["numbers"] for run in runs]
    return {
        key: Measure(known[key].title, known[key].percent, known[key].percent or known[key].name == "psds")
        for key in first
        if key in known and all(key in other for other in others)
    }


def class_title(kind: str) -> str:
    """What a class's number is called: ``onset.class_f1`` is "onset-only F1"."""
    measure, _, name = kind.partition(".")
    overall = {"class_f1": "macro_f1", "class_ap": "map", "class_psds": "psds"}.get(name)
    title = next((number.title for number in NUMBERS if (number.measure, number.name) == (measure, overall)), kind)
    return title.replace("mean average", "average").replace("(mAP)", "(AP)").replace(" macro F1", " F1")


def in_percent(kind: str) -> bool:
    """Whether tables show a class's number in percent."""
    return not kind.endswith(".class_psds")


def mean_of(numbers: Sequence[Numbers]) -> Numbers:
    """The scores of a setting: of its one training, or mean and standard deviation of its trainings."""
    if len(numbers) == 1:
        return numbers[0]
    first = numbers[0]
    return Numbers(
        {key: _mean([own.overall[key] for own in numbers]) for key in first.overall if _all(key, numbers)},
        {
            kind: {label: _mean([own.classes[kind][label] for own in numbers]) for label in labels}
            for kind, labels in first.classes.items()
            if all(kind in own.classes for own in numbers)
        },
    )


def thresholds_of(run: Evaluated) -> tuple[dict[str, float], dict[str, float]]:
    """The thresholds of frame and of clip probabilities, by label."""
    given = run.config.postprocessing
    frames = by_class(given.threshold, run.labels, key="threshold")
    tags = by_class(given.tag_threshold, run.labels, key="tag_threshold")
    return (
        dict(zip(run.labels, frames, strict=True)),
        {label: own if tag is None else tag for label, own, tag in zip(run.labels, frames, tags, strict=True)},
    )


def _all(key: str, numbers: Sequence[Numbers]) -> bool:
    return all(key in own.overall for own in numbers)


def _number(told: Mapping[str, Any]) -> Number:
    value, low, high = (told.get(name) for name in ("value", "low", "high"))
    return Number(math.nan if value is None else float(value), low, high)


def _mean(numbers: Sequence[Number]) -> Number:
    values = np.array([number.value for number in numbers if number.defined])
    if not len(values):
        return Number(math.nan)
    mean = float(values.mean())
    if len(values) == 1:
        return Number(mean)
    deviation = float(values.std(ddof=1))
    return Number(mean, mean - deviation, mean + deviation)
