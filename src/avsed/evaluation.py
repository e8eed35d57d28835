"""Scores of a system on labelled clips: the paper's three, with each class by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avsed.annotations import Durations, Events, Tags
from avsed.config import MetricsConfig, PostprocessingConfig
from avsed.features.provenance import MARK
from avsed.metrics import Result, clip_based, event_based, segment_based
from avsed.postprocessing import detect_events, detect_tags
from avsed.scores import Scores
from avsed.tables import labels_of

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table


@dataclass(frozen=True)
class Evaluation:
    """Clip-, segment- and event-based results of the same clips.

    about : what the numbers are of: split, fingerprint, system, configuration
    """

    clip: Result
    segment: Result
    event: Result
    about: Mapping[str, Any]

    @property
    def first(self) -> tuple[str, str]:
        """What the clips' tags come from, for programs and for people: clip probabilities, or only events."""
        if self.clip.definition["name"] == "tags from events":
            return "tags_from_events", "tags from events"
        return "clip", "clip-based"

    def headline(self) -> dict[str, float]:
        """The paper's three numbers as fractions: clip-based and segment-based micro F1, event-based macro F1."""
        return {
            f"{self.first[0]}_micro_f1": self.clip.micro.f1,
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
        """What the command prints: a table with a row a class, in percent, as wide as there is room."""
        if "fingerprint" in self.about:
            mark = self.about["fingerprint"]
            name = f"split {self.about['split']}" if "split" in self.about else self.about["reference"]
            gone = f", {len(mark['left_out'])} left out" if mark.get("left_out") else ""
            yield f"{name}: {mark['clips']} clips{gone}, labels {mark['sha256'][:12]}"
        for name, told in self.about.get("provenance", {}).items():
            mark = f": {MARK} test clips may be among {', '.join(told['overlap'])}" if told["overlap"] else ""
            yield f"{name} was pretrained on {', '.join(told['pretrained_on'])}{mark}"
        yield _Widest([self._table(rates=True), self._table(rates=False)])
        for name, value in (
            (f"{self.first[1]} micro F1", self.clip.micro.f1),
            ("segment-based micro F1", self.segment.micro.f1),
            ("event-based macro F1", self.event.macro.f1),
        ):
            yield f"{name:<28}{100 * value:6.2f} %"

    def _table(self, *, rates: bool) -> Table:
        """A row a class; ``rates`` : with precision and recall."""
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        what = "F1, precision and recall" if rates else "F1"
        table = Table(title=f"{what} in %", title_justify="left", box=SIMPLE, padding=(0, 0, 0, 1))
        rows = [(label, [result.classes[label] for result in self._results]) for label in self.clip.classes]
        rows += [("micro", [result.micro for result in self._results])]
        rows += [("macro", [result.macro for result in self._results])]
        table.add_column("class", no_wrap=True, min_width=max(len(title) for title, _ in rows))
        for name in (self.first[1].removesuffix("-based"), "segment", "event"):
            table.add_column(f"{name}\nF1", justify="right", min_width=5)
            for heading in ("P", "R") if rates else ():
                table.add_column(heading, justify="right", vertical="bottom")
        table.add_column("events\nref", justify="right")
        table.add_column("\nest", justify="right")
        for number, (title, cells) in enumerate(rows):
            if number == len(self.clip.classes):
                table.add_section()
            values = [(cell.f1, cell.precision, cell.recall) if rates else (cell.f1,) for cell in cells]
            counts = [cells[-1].reference, cells[-1].estimated]
            table.add_row(
                Text(title),  # not as markup: a class may be called anything
                *(_percent(value) for own in values for value in own),
                *("" if count is None else str(count) for count in counts),
            )
        return table

    @property
    def _results(self) -> tuple[Result, Result, Result]:
        return self.clip, self.segment, self.event


@dataclass(frozen=True)
class _Widest:
    """The first of some tables, from wide to narrow, that fits where it is printed; the last one if none does."""

    tables: Sequence[Table]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        for table in self.tables:
            if console.measure(table, options=options.update(width=1000)).maximum <= options.max_width:
                break
        yield table


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
