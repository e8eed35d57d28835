"""Scores of a system on labelled clips: every number of the field that its output allows, with each class by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from avsed import numbers
from avsed.annotations import Durations, Events, Tags
from avsed.config import MetricsConfig
from avsed.features.provenance import MARK
from avsed.measures import measure_all_thresholds, measure_best_tags, measure_events, measure_ranking, measure_tags
from avsed.metrics import Result
from avsed.metrics.candidates import Said
from avsed.metrics.resampling import Interval, Measured
from avsed.numbers import PAPER, plain
from avsed.postprocessing import detect_events, detect_tags
from avsed.postprocessing.candidates import Saying
from avsed.postprocessing.files import describe
from avsed.postprocessing.options import PostprocessingConfig
from avsed.scores import Scores, ScoreSequence
from avsed.tables import labels_of

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table


COLUMNS = ("clip", "tags_from_events", "segment", "event")
"""Metrics that the table has columns for."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured on the same clips.

    measures : metrics by name (see `avsed.measures`): ``clip`` or ``tags_from_events``, and what the output allows beside it
    about : what the numbers are of: split, fingerprint, system, configuration
    metrics : how they were measured; ``resamples`` of the clips give the intervals, 0 for none
    """

    measures: Mapping[str, Measured]
    about: Mapping[str, Any]
    metrics: MetricsConfig

    @property
    def clip(self) -> Result:
        """Of tags: from clip probabilities, or where there are none from events."""
        return self.results["clip" if "clip" in self.measures else "tags_from_events"]

    @property
    def segment(self) -> Result:
        """Of segments."""
        return self.results["segment"]

    @property
    def event(self) -> Result:
        """Of events, with collars on both sides."""
        return self.results["event"]

    @property
    def results(self) -> dict[str, Result]:
        """The metrics with counts for every class."""
        return {name: metric for name, metric in self.measures.items() if isinstance(metric, Result)}

    @cached_property
    def values(self) -> dict[str, float]:
        """All numbers by key."""
        return numbers.values(self.measures)

    @cached_property
    def intervals(self) -> tuple[dict[str, Interval], dict[str, list[Interval]]]:
        """Of the numbers by key, and of the classes' own by metric and name; empty without resamples."""
        if not self.metrics.resamples:
            return {}, {}
        drawn = numbers.resampled(self.measures, resamples=self.metrics.resamples)
        return numbers.intervals(self.measures, drawn, confidence=self.metrics.confidence)

    def headline(self) -> dict[str, float]:
        """The paper's three numbers as fractions: clip-based and segment-based micro F1, event-based macro F1."""
        return {key: self.values[key] for key in PAPER if key in self.values}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: fractions; null where a number is not defined."""
        own, of_classes = self.intervals
        labels = next(iter(self.measures.values())).labels
        return {
            **self.about,
            "headline": {name: plain(value) for name, value in self.headline().items()},
            "numbers": {
                number.key: {
                    "title": numbers.title(number, self.measures[number.measure]),
                    **(numbers.to_dict(own[number.key]) if own else {"value": plain(self.values[number.key])}),
                }
                for number in numbers.names(self.measures)
            },
            "intervals": {
                name: {label: numbers.to_dict(one) for label, one in zip(labels, found, strict=True)}
                for name, found in of_classes.items()
            },
            **{name: numbers.describe(metric) for name, metric in self.measures.items()},
        }

    def render(self) -> Iterator[RenderableType]:
        """What the command prints: a table with a row a class, in percent, as wide as there is room, and all numbers."""
        if "fingerprint" in self.about:
            mark = self.about["fingerprint"]
            name = f"split {self.about['split']}" if "split" in self.about else self.about["reference"]
            gone = f", {len(mark['left_out'])} left out" if mark.get("left_out") else ""
            yield f"{name}: {mark['clips']} clips{gone}, labels {mark['sha256'][:12]}"
        for name, told in self.about.get("provenance", {}).items():
            mark = f": {MARK} test clips may be among {', '.join(told['overlap'])}" if told["overlap"] else ""
            yield f"{name} was pretrained on {', '.join(told['pretrained_on'])}{mark}"
        if "preset" in self.about:
            yield describe(self.about["preset"], self.about["fingerprint"]["clips"])
        yield _Widest([self._table(rates=True), self._table(rates=False)])
        own, _ = self.intervals
        shown = numbers.names(self.measures)
        titles = {number: numbers.title(number, self.measures[number.measure]) for number in shown}
        width = max(map(len, titles.values()))
        for number in sorted(shown, key=lambda number: number.key in PAPER):  # the paper's last, where people look
            line = f"{titles[number]:<{width}}  {numbers.told(number, self.values[number.key]):>8}"
            yield line + (f"   {numbers.told_interval(number, own[number.key])}" if own else "")
        if own:
            yield (
                f"in brackets: {100 * self.metrics.confidence:g} % of {self.metrics.resamples} bootstrap resamples of the "
                f"{len(next(iter(self.measures.values())).clips)} clips"
            )

    def _table(self, *, rates: bool) -> Table:
        """A row a class; ``rates`` : with precision and recall."""
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        what = "F1, precision and recall" if rates else "F1"
        table = Table(title=f"{what} in %", title_justify="left", box=SIMPLE, padding=(0, 0, 0, 1))
        shown = {name: self.results[name] for name in COLUMNS if name in self.results}
        first = next(iter(shown.values()))
        rows = [(label, [result.classes[label] for result in shown.values()]) for label in first.labels]
        rows += [("micro", [result.micro for result in shown.values()])]
        rows += [("macro", [result.macro for result in shown.values()])]
        table.add_column("class", no_wrap=True, min_width=max(len(title) for title, _ in rows))
        for name in shown:
            table.add_column(f"{name.replace('_', ' ')}\nF1", justify="right", min_width=5)
            for heading in ("P", "R") if rates else ():
                table.add_column(heading, justify="right", vertical="bottom")
        table.add_column(f"{'events' if 'event' in shown else 'clips'}\nref", justify="right")
        table.add_column("\nest", justify="right")
        for number, (title, cells) in enumerate(rows):
            if number == len(first.labels):
                table.add_section()
            values = [(cell.f1, cell.precision, cell.recall) if rates else (cell.f1,) for cell in cells]
            counts = [cells[-1].reference, cells[-1].estimated]
            table.add_row(
                Text(title),  # not as markup: a class may be called anything
                *(_percent(value) for own in values for value in own),
                *("" if count is None else str(count) for count in counts),
            )
        return table


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
    all_thresholds: bool = True,
) -> tuple[Evaluation, Events]:
    """Turn scores into tags and events and compare them with the reference.

    all_thresholds : also measure what the system says at every threshold; ``scores`` must then be a sequence

    Returns the evaluation and the events that were found.
    """
    tags: Tags = {}
    events: Events = {}
    probabilities = {}
    classes: tuple[str, ...] = ()
    for one in scores:
        tags[one.clip] = detect_tags(one, postprocessing)
        events[one.clip] = detect_events(one, postprocessing)
        probabilities[one.clip] = one.tags
        classes = one.classes
    tags_from = scores.tags_from if isinstance(scores, ScoreSequence) else "clip probabilities"
    held = labels_of(reference)
    measures = {
        **measure_tags(held, tags, labels=labels, tags_from=tags_from),
        **measure_ranking(held, probabilities, classes, labels=labels, tags_from=tags_from),
        **measure_events(reference, events, labels=labels, durations=durations, metrics=metrics),
    }
    if all_thresholds:
        assert isinstance(scores, Sequence)
        said = Saying(scores, postprocessing, labels=labels, clips=tuple(reference))
        measures |= measure_best_tags(measures["ranking"])
        measures |= measure_all_thresholds(said, reference, labels=labels, durations=durations, metrics=metrics)
    return Evaluation(measures, about or {}, metrics), events


def evaluate_events(
    reference: Events,
    estimated: Events,
    said: Iterable[Said] | None = None,
    *,
    labels: tuple[str, ...],
    durations: Durations | None = None,
    metrics: MetricsConfig,
    about: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Compare two lists of events. The clip-based result is of *tags from events*: there are no clip probabilities.

    said : what the system says of each class at every threshold, if it has any; to be gone through several times
    """
    measures = {
        **measure_tags(labels_of(reference), labels_of(estimated), labels=labels, tags_from="events"),
        **measure_events(reference, estimated, labels=labels, durations=durations, metrics=metrics),
    }
    if said is not None:
        measures |= measure_all_thresholds(said, reference, labels=labels, durations=durations, metrics=metrics)
    return Evaluation(measures, about or {}, metrics)


def _percent(value: float) -> str:
    return "–" if value != value else f"{100 * value:.1f}"
