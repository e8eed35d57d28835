"""Two systems on the same clips: by how much they differ, and whether that may be chance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avsed import numbers
from avsed.config import MetricsConfig
from avsed.errors import AvsedError, ConfigError
from avsed.evaluation import Evaluation
from avsed.metrics.resampling import Difference, Interval, difference, interval, mean_of_trainings
from avsed.numbers import NUMBERS, Number, plain
from avsed.run import Run
from avsed.stored import read_stored

if TYPE_CHECKING:
    from rich.console import RenderableType


ENOUGH = 5  # trainings from which on an interval over them is worth its name


@dataclass(frozen=True)
class Figure:
    """A number of one system. values : of each training; interval : of their mean"""

    values: tuple[float, ...]
    interval: Interval

    @property
    def deviation(self) -> float | None:
        """Standard deviation over trainings (n − 1); None for a single one."""
        with np.errstate(invalid="ignore"):  # a d′ may be infinite
            return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **numbers.to_dict(self.interval),
            "trainings": [plain(value) for value in self.values],
            "standard_deviation": None if self.deviation is None else plain(self.deviation),
        }

    def told(self, number: Number) -> str:
        """For people: the mean, and its spread over trainings."""
        told = numbers.told(number, self.interval.value)
        if self.deviation is None:
            return told
        return f"{told} ± {100 * self.deviation:.2f}" if number.percent else f"{told} ± {self.deviation:.3f}"


class Trained(NamedTuple):
    """A number of a system's trainings. means : of the trainings, in every resample, float (resamples,)"""

    figure: Figure
    means: np.ndarray


def mean_over(values: Sequence[float], drawn: Sequence[np.ndarray], *, confidence: float, system: int) -> Trained:
    """The mean of a number over trainings.

    drawn : the number of each in every resample, float (resamples,)
    system : another number for each system: trainings are drawn of each by itself
    """
    means = drawn[0] if len(drawn) == 1 else mean_of_trainings(drawn, seed=numbers.SEED + system)
    return Trained(
        Figure(tuple(values), interval(float(np.mean(values)), means, confidence=confidence)),
        means,
    )


def between(first: Trained, second: Trained, *, confidence: float) -> Difference:
    """The second less the first, scored on the same clips."""
    return difference(
        first.figure.interval.value, second.figure.interval.value, first.means, second.means, confidence=confidence
    )


def of_few(trainings: Iterable[int]) -> str:
    """What is to be said of intervals over so many trainings; empty if there are enough, or only one, whose clips alone are drawn."""
    fewest = min((count for count in trainings if count > 1), default=ENOUGH)
    return (
        f"{fewest} trainings say little of others: intervals are too narrow and p too small" if fewest < ENOUGH else ""
    )


def check_same(what: str, marks: Sequence[str], metrics: Sequence[MetricsConfig]) -> None:
    """Raise AvsedError unless all were scored on the same clips and labels, and measured alike.

    what : is compared, for the message; marks : fingerprints of clips and labels
    """
    for mark in marks:
        if mark != marks[0]:
            raise AvsedError(
                f"{what}: not scored on the same clips and labels ({marks[0][:12]} and {mark[:12]}); "
                "only systems that answer for the same clips can be compared"
            )
    for own in metrics:
        if own != metrics[0]:
            raise AvsedError(f"{what}: scored with other metrics ({metrics[0]} and {own}); give --set metrics.…")


@dataclass(frozen=True)
class Comparison:
    """names : of the two systems; trainings : of each; found : what was found of each number that both give, with its title"""

    names: tuple[str, str]
    trainings: tuple[int, int]
    clips: int
    fingerprint: str
    resamples: int
    confidence: float
    titles: Mapping[str, str]
    found: Mapping[str, tuple[Figure, Figure, Difference]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: fractions; the difference is the second system's less the first one's."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "clips": self.clips,
            "labels": self.fingerprint,
            "resamples": self.resamples,
            "confidence": self.confidence,
            "numbers": {
                key: {
                    "first": first.to_dict(),
                    "second": second.to_dict(),
                    "difference": {name: plain(value) for name, value in vars(apart).items()},
                }
                for key, (first, second, apart) in self.found.items()
            },
        }

    def render(self) -> Iterator[RenderableType]:
        """What the command prints."""
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        for letter, name, count in zip("AB", self.names, self.trainings, strict=True):
            yield f"{letter}: {name}" + (f" ({count} trainings)" if count > 1 else "")
        yield f"{self.clips} clips, labels {self.fingerprint[:12]}"
        table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
        table.add_column("")  # titles wrap where there is little room, numbers do not
        for heading in ("A", "B", "B − A", "p"):
            table.add_column(heading, no_wrap=True)
        for number in NUMBERS:
            if number.key in self.found:
                first, second, apart = self.found[number.key]
                table.add_row(
                    self.titles[number.key],
                    Text(first.told(number)),
                    Text(second.told(number)),
                    Text(told_difference(number, apart)),
                    "–" if apart.p != apart.p else f"{apart.p:.3f}",
                )
        yield table
        over = ", and of each one's trainings" if max(self.trainings) > 1 else ""
        yield (
            f"in brackets: {100 * self.confidence:g} % of {self.resamples} bootstrap resamples of the clips, the same for A and B{over}; "
            "p: of no difference, two-sided, for each number by itself"
        )
        if few := of_few(self.trainings):
            yield few


def compare(
    first: str | Path,
    second: str | Path,
    *,
    reference: str | Path | None = None,
    durations: str | Path | None = None,
    match: str = "exact",
    split: str | None = None,
    settings: Sequence[str] = (),
) -> Comparison:
    """Compare two systems by paired bootstrap.

    first, second : each the folder of a run that was evaluated, a folder of such runs (trainings of one system), the results of one
        evaluation (``RUN/results/NAME.json``), or with ``reference`` any output that 'avsed score' takes
    split : of runs; by default the configuration's test split
    settings : overrides of ``postprocessing`` and ``metrics``, for both; of outputs that are no runs, of ``data``, too

    Raises AvsedError if something is not there, or the two were not scored on the same clips and labels; ConfigError for an option that
    has no meaning with, or without, a reference.
    """
    for flag, given in (("durations", durations), ("match", None if match == "exact" else match)):
        if given is not None and reference is None:
            raise ConfigError(f"--{flag} {given}: is of outputs that are no runs; give --reference, too")
    if split is not None and reference is not None:
        raise ConfigError(f"--split {split}: is of runs; outputs compared with --reference have none")
    sides = [
        _evaluations(Path(path), reference=reference, durations=durations, match=match, split=split, settings=settings)
        for path in (first, second)
    ]
    every = [pair for side in sides for pair in side]
    check_same(f"{first} and {second}", [mark for _, mark in every], [found.metrics for found, _ in every])
    one, mark = every[0]
    metrics = one.metrics
    if not metrics.resamples:
        raise AvsedError("metrics.resamples is 0: a comparison needs resamples of the clips")
    drawn = [[numbers.resampled(e.measures, resamples=metrics.resamples) for e, _ in side] for side in sides]
    found = {}
    titles = {}
    for number in numbers.names(one.measures):
        meant = one.measures[number.measure].definition
        own = [evaluation.measures.get(number.measure) for side in sides for evaluation, _ in side]
        if not all(metric is not None and metric.definition == meant for metric in own):
            continue  # not the same number: tags from frame scores are not tags from clip probabilities
        titles[number.key] = numbers.title(number, one.measures[number.measure])
        one_side, other = (
            mean_over(
                [evaluation.values[number.key] for evaluation, _ in side],
                [draw.numbers[number.key] for draw in draws],
                confidence=metrics.confidence,
                system=place,
            )
            for place, (side, draws) in enumerate(zip(sides, drawn, strict=True))
        )
        apart = between(one_side, other, confidence=metrics.confidence)
        found[number.key] = (one_side.figure, other.figure, apart)
    return Comparison(
        (str(first), str(second)),
        (len(sides[0]), len(sides[1])),
        len(next(iter(one.measures.values())).clips),
        mark,
        metrics.resamples,
        metrics.confidence,
        titles,
        found,
    )


def _evaluations(
    path: Path,
    *,
    reference: str | Path | None,
    durations: str | Path | None,
    match: str,
    split: str | None,
    settings: Sequence[str],
) -> list[tuple[Evaluation, str]]:
    """What one side's trainings, or its output, score; each with the fingerprint of its clips and labels."""
    if reference is not None:
        from avsed.commands import score

        evaluation = score(reference, path, durations=durations, match=match, settings=settings)
        return [(evaluation, evaluation.about["fingerprint"]["sha256"])]
    inside = sorted(folder for folder in path.glob("*") if Run(folder).config_file.is_file()) if path.is_dir() else []
    stored = [read_stored(own, split=split, settings=settings) for own in inside or [path]]
    return [(own.evaluate(clips=sorted(own.reference)), own.about["fingerprint"]["sha256"]) for own in stored]


def told_difference(number: Number, apart: Difference) -> str:
    """For people: in percentage points where the number is in percent, with its interval."""
    if apart.value != apart.value:
        return "–"
    factor, digits = (100, 2) if number.percent else (1, 3)
    return f"{factor * apart.value:+.{digits}f} [{factor * apart.low:+.{digits}f}, {factor * apart.high:+.{digits}f}]"
