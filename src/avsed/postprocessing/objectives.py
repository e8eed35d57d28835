"""What post-processing can be tuned for: F1 of clips, segments, events or intersections, and PSDS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from avsed.annotations import Durations, Events
from avsed.config import MetricsConfig
from avsed.errors import ConfigError, nearest
from avsed.measures import sweep
from avsed.metrics.counts import fractions, mean_of_known
from avsed.metrics.psds import SCENARIOS, psds
from avsed.metrics.sweep import Sweeps
from avsed.metrics.sweeps import clip_sweep
from avsed.postprocessing.candidates import Saying
from avsed.postprocessing.options import PostprocessingConfig, by_class
from avsed.scores import Scores
from avsed.tables import labels_of


@dataclass(frozen=True)
class Labelled:
    """Clips with scores and events. reference : for every clip; metrics : how events are compared"""

    scores: Sequence[Scores]
    reference: Events
    durations: Durations
    labels: tuple[str, ...]
    metrics: MetricsConfig

    def events_of(self, label: str) -> int:
        """Reference events of a class."""
        return sum(event.label == label for own in self.reference.values() for event in own)

    def said(self, config: PostprocessingConfig) -> Saying:
        """What a configuration says of each class at all thresholds."""
        return Saying(self.scores, config, labels=self.labels, clips=tuple(self.reference))


class Achieved(NamedTuple):
    """Fractions; of classes NaN where there are no reference events."""

    overall: float
    classes: dict[str, float]


@dataclass(frozen=True)
class Objective:
    """average : over the classes' F1, or of all their counts; None for PSDS, which is of all thresholds. scenario : of PSDS"""

    name: str
    kind: Literal["clip", "segment", "event", "intersection", "psds"]
    average: Literal["macro", "micro"] | None
    scenario: int | None = None

    def sweeps(self, clips: Labelled, config: PostprocessingConfig) -> Sweeps:
        """Counts at all thresholds."""
        labels, reference, metrics = clips.labels, clips.reference, clips.metrics
        if self.kind == "clip":
            return clip_sweep(clips.scores, labels_of(reference), labels=labels)
        assert self.kind != "psds"  # which is not of single thresholds
        said = clips.said(config)
        return sweep(self.kind, said, reference, labels=labels, durations=clips.durations, metrics=metrics)

    def measure(self, clips: Labelled, config: PostprocessingConfig) -> Achieved:
        """The value that a configuration has; of F1 at its thresholds, of PSDS over all. A class's PSDS is the area of its own."""
        if self.scenario is not None:
            durations = {one.clip: float(one.boundaries[-1]) for one in clips.scores} | clips.durations
            area = psds(
                clips.said(config),
                clips.reference,
                labels=clips.labels,
                durations=durations,
                parameters=SCENARIOS[self.scenario],
                keep_steps=False,
            )
            return Achieved(area.value, dict(area.classes))
        found = self.sweeps(clips, config).at(self.thresholds(config, clips.labels))
        sums = [counts.sum(axis=0) for counts in (found.correct, found.estimated, found.reference)]
        own = fractions(*sums)[0]
        overall = mean_of_known(own) if self.average == "macro" else fractions(*(x.sum() for x in sums))[0]
        return Achieved(float(overall), dict(zip(clips.labels, own.tolist(), strict=True)))

    def thresholds(self, config: PostprocessingConfig, labels: Sequence[str]) -> list[float]:
        """Those that count for it: of events, or of tags."""
        return (
            _tag_thresholds(config, labels)
            if self.kind == "clip"
            else by_class(config.threshold, labels, key="threshold")
        )

    def with_thresholds(
        self, config: PostprocessingConfig, thresholds: Sequence[float], labels: Sequence[str]
    ) -> PostprocessingConfig:
        """A configuration with other thresholds of events, those of tags as they were, or the other way round."""
        if self.kind == "clip":
            return config.model_copy(update={"tag_threshold": together(labels, thresholds)})
        tags = together(labels, _tag_thresholds(config, labels))
        return config.model_copy(update={"threshold": together(labels, thresholds), "tag_threshold": tags})


OBJECTIVES = {
    own.name: own
    for own in (
        *(
            Objective(f"{kind}_{average}_f1", kind, average)
            for kind in ("event", "segment", "clip", "intersection")
            for average in ("macro", "micro")
        ),
        *(Objective(f"psds{scenario}", "psds", None, scenario) for scenario in SCENARIOS),
    )
}


def find_objective(name: str) -> Objective:
    """An objective by name.

    Raises ConfigError if there is none.
    """
    if name not in OBJECTIVES:
        raise ConfigError(
            f"no objective is called {name!r}{nearest(name, OBJECTIVES)}; there are {', '.join(OBJECTIVES)}"
        )
    return OBJECTIVES[name]


def together(labels: Sequence[str], values: Sequence[object]) -> object:
    """The value of all labels if it is one, else a mapping."""
    return values[0] if all(value == values[0] for value in values) else dict(zip(labels, values, strict=True))


def _tag_thresholds(config: PostprocessingConfig, labels: Sequence[str]) -> list[float]:
    common = by_class(config.threshold, labels, key="threshold")
    own = by_class(config.tag_threshold, labels, key="tag_threshold")
    return [event if tag is None else tag for tag, event in zip(own, common, strict=True)]
