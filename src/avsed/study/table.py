"""The table of a study: the trainings that are best on validation clips, the means of their test scores, the differences of settings.

Conventions
-----------
Of a setting's N trainings the k with the best number on validation clips count (`StudyConfig.kept`); each column chooses by its own
number, or all by one (``study.select``; the lowest error rate is the best). Where two are equal, the lower seed goes first; a number that
is not defined is the worst. All trainings are told of beside those.

The interval of a mean is one over test clips and trainings (`avsed.metrics.resampling`): those that were chosen are drawn, the choice
itself is not made again. Differences are paired: the same clips are drawn for both settings.

Everything comes from what each run stored: numbers on validation clips from its results, those on test clips counted again from its
scores, to be resampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from zlib import crc32

import numpy as np

from avsed import console, numbers
from avsed.comparing import Figure, Trained, between, check_same, mean_over
from avsed.config import Config
from avsed.errors import AvsedError, CheckpointError
from avsed.features.options import LOGMEL, MODALITIES
from avsed.features.provenance import learned_from
from avsed.metrics.resampling import Difference
from avsed.numbers import Number, plain
from avsed.stored import read_stored
from avsed.study.paper import BASELINE, COLUMNS, DCASE, SETTINGS, TABLE
from avsed.study.plan import Plan
from avsed.study.records import Record
from avsed.study.units import Unit

KINDS = ("selected", "all")
"""Which trainings a mean is over."""


class NothingYet(AvsedError):
    """No training of a study is finished."""


@dataclass(frozen=True)
class Cell:
    """A number of a setting. means : of the selected and of all trainings; seeds : the selected; paper : its own figure, a fraction"""

    means: Mapping[str, Trained]
    seeds: tuple[int, ...]
    paper: float | None


@dataclass(frozen=True)
class Row:
    """A setting.

    takes : of auditory, visual and spectral input, what there is; marked : the part of it that may have learned from the test clips
    seeds : of finished trainings; lacking : of those still to be done; kept : how many of them count
    cells : by number; none if no training is finished
    """

    setting: str
    takes: tuple[str, ...]
    marked: tuple[str, ...]
    seeds: tuple[int, ...]
    lacking: tuple[int, ...]
    kept: int
    cells: Mapping[str, Cell]

    @property
    def complete(self) -> bool:
        return not self.lacking


@dataclass(frozen=True)
class StudyTable:
    """rows : settings with trainings that are finished; empty : those without; columns : the numbers

    differences : by setting, setting, number and kind: the second less the first; rule : which trainings count, in words
    clips, mark : of the test split; provenance : what each marked network learned from
    """

    rows: tuple[Row, ...]
    empty: tuple[str, ...]
    columns: tuple[Number, ...]
    differences: Mapping[tuple[str, str, str, str], Difference]
    rule: str
    baseline: str
    clips: int
    mark: str
    resamples: int
    confidence: float
    provenance: Mapping[str, Mapping[str, Any]]

    @property
    def incomplete(self) -> list[Row]:
        return [row for row in self.rows if not row.complete]

    @property
    def beside_paper(self) -> bool:
        """Whether the paper's own figures stand in the table."""
        return any(cell.paper is not None for row in self.rows for cell in row.cells.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: fractions; null where a number is not defined."""
        return {
            "rule": self.rule,
            "clips": self.clips,
            "labels": self.mark,
            "resamples": self.resamples,
            "confidence": self.confidence,
            "baseline": self.baseline,
            "columns": {number.key: number.title for number in self.columns},
            "settings": {
                row.setting: {
                    "takes": list(row.takes),
                    "may_have_learned_from_test_clips": list(row.marked),
                    "seeds": list(row.seeds),
                    "lacking": list(row.lacking),
                    "kept": row.kept,
                    "numbers": {
                        key: {
                            **{kind: cell.means[kind].figure.to_dict() for kind in KINDS},
                            "selected_seeds": list(cell.seeds),
                            "paper": cell.paper,
                        }
                        for key, cell in row.cells.items()
                    },
                }
                for row in self.rows
            },
            "not_begun": list(self.empty),
            "differences": [
                {"first": first, "second": second, "number": key, "of": kind}
                | {name: plain(value) for name, value in vars(apart).items()}
                for (first, second, key, kind), apart in self.differences.items()
            ],
            "provenance": {name: dict(told) for name, told in self.provenance.items()},
        }


def select(values: Mapping[int, float], keep: int) -> tuple[int, ...]:
    """The seeds with the highest values, the best first; of equal ones the lower seed; NaN last. values : by seed"""
    order = sorted(values, key=lambda seed: (-values[seed] if values[seed] == values[seed] else np.inf, seed))
    return tuple(order[:keep])


def rule(plan: Plan) -> str:
    """Which trainings count, in words."""
    study = plan.study
    counts = {name: len(plan.seeds_of(name)) for name in plan.settings}
    if len(set(counts.values())) == 1:
        (count,) = set(counts.values())
        which = f"the best {study.kept(count, count)} of {count} trainings of each setting"
    else:
        told = (f"{study.kept(count, count)} of {count} of {name}" for name, count in counts.items())
        which = f"the best trainings of each setting ({', '.join(told)})"
    by = (
        "each column by its own number"
        if study.select is None
        else f"all columns by {numbers.named(study.select).title}"
    )
    return f"Selected: {which} on {plan.base.data.validation}, {by}; equal ones by the lower seed."


def make_table(plan: Plan) -> StudyTable:
    """The table of what is finished.

    Raises NothingYet if nothing is, AvsedError if trainings were scored on other clips.
    """
    done = {name: [unit for unit in plan.units_of(name) if unit.state == "done"] for name in plan.settings}
    shown = [name for name in plan.settings if done[name]]
    if not shown:
        raise NothingYet(f"{plan.folder}: no training is finished yet; the same command without --table-only does them")
    metrics = plan.base.metrics
    reading = _Reading(plan.base)
    rows: list[Row] = []
    provenance: dict[str, Any] = {}
    with console.bar("table", sum(map(len, done.values()))) as bar:
        for name in shown:
            row, told = _row(plan, name, done[name], reading, bar)
            rows.append(row)
            provenance |= told
    for split, marks in zip(("validation", "test"), zip(*reading.marks, strict=True), strict=True):
        check_same(f"{plan.folder}, {split} clips", marks, [metrics])
    baseline = BASELINE if BASELINE in shown else shown[0]
    differences = {
        (one.setting, other.setting, key, kind): between(
            one.cells[key].means[kind], other.cells[key].means[kind], confidence=metrics.confidence
        )
        for one, other in combinations(sorted(rows, key=lambda row: row.setting != baseline), 2)
        for key in COLUMNS
        for kind in KINDS
    }
    return StudyTable(
        rows=tuple(rows),
        empty=tuple(name for name in plan.settings if not done[name]),
        columns=tuple(numbers.named(key) for key in COLUMNS),
        differences=differences,
        rule=rule(plan),
        baseline=baseline,
        clips=reading.clips,
        mark=reading.marks[-1][1],
        resamples=metrics.resamples,
        confidence=metrics.confidence,
        provenance=provenance,
    )


class _Reading:
    """Test scores of trainings, with their resamples; and what they are of.

    marks : of each training the fingerprints of its validation and test clips; clips : of the test split
    """

    def __init__(self, config: Config) -> None:
        self.metrics = config.metrics
        self.marks: list[tuple[str, str]] = []
        self.clips = 0

    def read(self, unit: Unit) -> tuple[dict[str, float], dict[str, np.ndarray], Record]:
        """The columns' numbers, each in every resample, and what they are of."""
        record = _recorded(unit) if unit.scored else unit.record
        assert record is not None, "it is done"
        self.marks.append((record.validation["fingerprint"]["sha256"], record.test["fingerprint"]["sha256"]))
        self.clips = record.test["fingerprint"]["clips"]
        drawn = {key: np.empty(0) for key in COLUMNS}
        if self.metrics.resamples:
            drawn |= dict(numbers.resampled(record.measures, resamples=self.metrics.resamples).numbers)
        return numbers.values(record.measures), drawn, record


def _recorded(unit: Unit) -> Record:
    """The record of a run, which is kept."""
    validation, test = unit.splits
    stored = read_stored(unit.run.folder, split=test)
    found = stored.evaluate(clips=sorted(stored.reference), all_thresholds=False)
    measures = {name: found.results[name] for name in dict.fromkeys(numbers.named(key).measure for key in COLUMNS)}
    record = Record.of(unit.config, unit.results(validation) or {}, stored.about, measures)
    record.write(unit.record_file)
    return record


def _row(
    plan: Plan, name: str, units: Sequence[Unit], reading: _Reading, bar: console.Bar
) -> tuple[Row, dict[str, Any]]:
    config, study, confidence = plan.settings[name], plan.study, plan.base.metrics.confidence
    read = {}
    for unit in units:
        read[unit.config.seed] = reading.read(unit)
        bar.update(len(reading.marks))
    seeds = tuple(read)
    keep = study.kept(len(seeds), len(plan.seeds_of(name)))
    beside = TABLE.get(name) if DCASE in config.data.sources else None
    cells = {}
    for place, key in enumerate(COLUMNS):
        selected = select(
            {unit.config.seed: _validated(unit, read[unit.config.seed][2], study.select or key) for unit in units}, keep
        )
        means = {
            kind: mean_over(
                [read[seed][0][key] for seed in own],
                [read[seed][1][key] for seed in own],
                confidence=confidence,
                system=_place(name),
            )
            for kind, own in zip(KINDS, (sorted(selected), seeds), strict=True)
        }
        cells[key] = Cell(means, selected, None if beside is None else beside[place] / 100)
    learned = {
        stream: own["pretrained_on"] for stream, own in next(iter(read.values()))[2].test.get("provenance", {}).items()
    }
    told = {stream: learned_from(data, config.data.sources) for stream, data in learned.items()}
    marked = {stream for stream, own in told.items() if own["overlap"]}
    roles = {stream: _role(stream) for stream in config.streams}
    row = Row(
        setting=name,
        takes=tuple(roles.values()),
        marked=tuple(role for stream, role in roles.items() if stream in marked),
        seeds=seeds,
        lacking=tuple(seed for seed in plan.seeds_of(name) if seed not in read),
        kept=keep,
        cells=cells,
    )
    return row, told


def _place(name: str) -> int:
    """A setting's number for the draws of its trainings, whatever other settings there are."""
    places = list(SETTINGS)
    return places.index(name) if name in places else len(places) + crc32(name.encode())


def _role(stream: str) -> str:
    return "spectral" if stream == LOGMEL else "auditory" if MODALITIES[stream] == "audio" else "visual"


def _validated(unit: Unit, record: Record, key: str) -> float:
    """A training's number on validation clips, the higher the better. Raises CheckpointError if it was not measured."""
    told = record.validation.get("numbers", {})
    if key not in told:
        place = unit.run.results(unit.splits[0]) if unit.scored else unit.record_file
        raise CheckpointError(f"{place}: has no {key} to select by; it has {', '.join(told) or 'no numbers'}")
    value = told[key]["value"]
    if value is None:
        return np.nan
    return float(value) if numbers.named(key).rises else -float(value)


def figure(row: Row, key: str, kind: str) -> Figure:
    """The mean of a number over the selected or all trainings of a setting."""
    return row.cells[key].means[kind].figure
