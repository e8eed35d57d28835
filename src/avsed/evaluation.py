"""Scores of a system on labelled clips: the paper's three, with each class by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avsed.annotations import Durations, Events, Tags
from avsed.config import MetricsConfig, PostprocessingConfig
from avsed.metrics import Result, clip_based, event_based, segment_based
from avsed.postprocessing import detect_events, detect_tags
from avsed.scores import Scores
from avsed.tables import labels_of

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Evaluation:
    """Clip-, segment- and event-based results of the same clips.

    about : what the numbers are of: split, fingerprint, system, configuration
    """

    clip: Result
    segment: Result
    event: Result
    about: Mapping[str, Any]

    def headline(self) -> dict[str, float]:
        """The paper's three numbers as fractions: clip-based and segment-based micro F1, event-based macro F1."""
        return {
            "clip_micro_f1": self.clip.micro.f1,
            "segment_micro_f1": self.segment.micro.f1,
            "event_macro_f1": self.event.macro.f1,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: fractions; null where a number is not defined."""
        results = {"clip": self.clip, "segment": self.segment, "event": self.event}
        return {
            **self.about,
            "headline": {name: None if value != value else value for name, value in self.headline().items()},
            **{name: result.to_dict() for name, result in results.items()},
        }

    def render(self) -> Iterator[RenderableType]:
        """What the command prints: a table with a row a class, in percent."""
        from rich.box import SIMPLE
        from rich.table import Table

        if "split" in self.about:
            mark = self.about["fingerprint"]
            yield f"split {self.about['split']}: {mark['clips']} clips, labels {mark['sha256'][:12]}"
        table = Table(title="F1, precision and recall in %", title_justify="left", box=SIMPLE, padding=(0, 0, 0, 1))
        table.add_column("class")
        results = {self.clip.definition["name"]: self.clip, "segment-based": self.segment, "event-based": self.event}
        for name in results:
            table.add_column(f"{name}\nF1", justify="right")
            table.add_column("P", justify="right", vertical="bottom")
            table.add_column("R", justify="right", vertical="bottom")
        table.add_column("events\nref", justify="right")
        table.add_column("\nest", justify="right")
        rows = [(label, [result.classes[label] for result in results.values()]) for label in self.clip.classes]
        rows += [("micro", [result.micro for result in results.values()])]
        rows += [("macro", [result.macro for result in results.values()])]
        for number, (title, cells) in enumerate(rows):
            if number == len(self.clip.classes):
                table.add_section()
            texts = [_percent(value) for rates in cells for value in (rates.f1, rates.precision, rates.recall)]
            counts = [cells[-1].reference, cells[-1].estimated]
            table.add_row(title, *texts, *("" if count is None else str(count) for count in counts))
        yield table
        first = "tags from events" if self.clip.definition["name"] == "tags from events" else "clip-based"
        for name, value in (
            (f"{first} micro F1", self.clip.micro.f1),
            ("segment-based micro F1", self.segment.micro.f1),
            ("event-based macro F1", self.event.macro.f1),
        ):
            yield f"{name:<28}{100 * value:6.2f} %"


def evaluate_scores(
    scores: Iterable[Scores],
    reference: Events,
    *,
    labels: tuple[str, ...],
    durations: Durations,
    postprocessing: PostprocessingConfig,
    metrics: MetricsConfig,
    about: Mapping[str, Any] | None = None,
) -> tuple[Evaluation, Events]:
    """Turn scores into tags and events and compare them with the reference.

    Returns the evaluation and the events that were found.
    """
    tags: Tags = {}
    events: Events = {}
    for one in scores:
        tags[one.clip] = detect_tags(one, postprocessing)
        events[one.clip] = detect_events(one, postprocessing)
    clip = clip_based(labels_of(reference), tags, labels=labels)
    segment, event = _of_events(reference, events, labels, durations, metrics)
    return Evaluation(clip, segment, event, about or {}), events


def evaluate_events(
    reference: Events,
    estimated: Events,
    *,
    labels: tuple[str, ...],
    durations: Durations | None = None,
    metrics: MetricsConfig,
    about: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Compare two lists of events. The clip-based result is of *tags from events*: there are no clip probabilities."""
    clip = clip_based(labels_of(reference), labels_of(estimated), labels=labels, name="tags from events")
    segment, event = _of_events(reference, estimated, labels, durations, metrics)
    return Evaluation(clip, segment, event, about or {})


def _of_events(
    reference: Events, estimated: Events, labels: tuple[str, ...], durations: Durations | None, metrics: MetricsConfig
) -> tuple[Result, Result]:
    segment = segment_based(reference, estimated, labels=labels, resolution=metrics.segment, durations=durations)
    event = event_based(
        reference,
        estimated,
        labels=labels,
        onset_collar=metrics.onset_collar,
        offset_collar=metrics.offset_collar,
        offset_rate=metrics.offset_rate,
        offset_tolerance=metrics.offset_tolerance,
    )
    return segment, event


def _percent(value: float) -> str:
    return "–" if value != value else f"{100 * value:.1f}"
