"""What a person wants to know of a data set before training: what it holds, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from avsed.data.folder import DataSet, Split, SplitSource, fingerprint, open_data
from avsed.errors import MediaError
from avsed.media import MediaInfo, probe
from avsed.tables import Problem
from avsed.timeline import format_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

DIFFERENT = 0.1  # seconds by which a table's duration and the recording's may differ without a warning
SHOWN = 20  # problems of each severity that are printed
FIRST = 5  # of each kind that are printed before more of another
THREADS = 8


@dataclass(frozen=True)
class SplitReport:
    """A split in numbers. clips : labels → number of clips with them; events : labels → (events, seconds), None for weak clips."""

    kind: str
    present: int
    missing: int
    unreadable: int
    with_video: int
    hours: float
    shortest: float
    middle: float
    longest: float
    size_bytes: int
    rates: Mapping[int, int]
    frame_rates: Mapping[float, int]
    clips: Mapping[str, int]
    events: Mapping[str, tuple[int, float]] | None
    silent: int
    fingerprint: Mapping[str, int | str]


@dataclass(frozen=True)
class CheckReport:
    """What `check_data` found."""

    root: Path
    labels: tuple[str, ...]
    splits: Mapping[str, SplitReport]
    problems: tuple[Problem, ...]

    def count(self, severity: str) -> int:
        """Number of errors or warnings."""
        return sum(problem.severity == severity for problem in self.problems)

    def failed(self, *, strict: bool = False) -> bool:
        """Whether the data set cannot be trained on as it is; ``strict`` counts warnings, too."""
        return bool(self.count("error") or (strict and self.count("warning")))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, every problem included."""
        splits = {}
        for name, split in self.splits.items():
            splits[name] = {
                key: dict(value) if isinstance(value, Mapping) else value for key, value in vars(split).items()
            }
            if split.events is not None:
                splits[name]["events"] = {k: {"count": n, "seconds": s} for k, (n, s) in split.events.items()}
        return {
            "root": str(self.root),
            "labels": list(self.labels),
            "splits": splits,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "problems": [problem._asdict() for problem in self.problems],
        }

    def render(self) -> Iterator[RenderableType]:
        """What the command prints."""
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        yield f"{self.root}: {len(self.labels)} classes"
        table = Table(box=SIMPLE, padding=(0, 0, 0, 1))
        for heading in (
            "split",
            "labels",
            "clips",
            "missing",
            "unreadable",
            "with video",
            "length",
            "shortest",
            "median",
            "longest",
        ):
            table.add_column(heading, justify="left" if heading in ("split", "labels") else "right")
        table.add_column("MB", justify="right")
        for name, split in self.splits.items():
            lengths = [f"{value:.2f} s" for value in (split.shortest, split.middle, split.longest)]
            table.add_row(
                *(
                    Text(name),
                    split.kind,
                    str(split.present),
                    str(split.missing),
                    str(split.unreadable),
                    str(split.with_video),
                ),
                *(format_seconds(3600 * split.hours), *lengths, f"{split.size_bytes / 1e6:.1f}"),
            )
        yield table
        for unit, kinds in (("Hz", "rates"), ("images/s", "frame_rates")):
            seen: Counter[float] = sum((Counter(getattr(split, kinds)) for split in self.splits.values()), Counter())
            yield f"{unit}: " + ", ".join(f"{rate:g} ({count} recordings)" for rate, count in sorted(seen.items()))
        counts = Table(box=SIMPLE, padding=(0, 0, 0, 1))
        counts.add_column("class")
        labelled = {name: split for name, split in self.splits.items() if split.kind != "unlabelled"}
        for name, split in labelled.items():
            counts.add_column(Text(f"{name}: clips"), justify="right")
            if split.events is not None:
                counts.add_column("events", justify="right")
                counts.add_column("seconds", justify="right")
        for label in self.labels:
            row = []
            for split in labelled.values():
                row.append(str(split.clips.get(label, 0)))
                if split.events is not None:
                    number, seconds = split.events.get(label, (0, 0.0))
                    row += [str(number), f"{seconds:.1f}"]
            counts.add_row(Text(label), *row)  # names as they are: in a plain string brackets are markup
        quiet = [[str(split.silent), *(["", ""] if split.events is not None else [])] for split in labelled.values()]
        counts.add_row("(nothing)", *(cell for cells in quiet for cell in cells))
        yield counts
        for severity in ("error", "warning"):
            found = _mixed([problem for problem in self.problems if problem.severity == severity])
            yield from (f"{severity}: {problem}" for problem in found[:SHOWN])
            if len(found) > SHOWN:
                yield f"… and {len(found) - SHOWN} more {severity}s (--json lists all)"
        yield f"{self.count('error')} errors, {self.count('warning')} warnings"


def check_data(
    root: str | Path,
    *,
    splits: Mapping[str, SplitSource] | None = None,
    labels: tuple[str, ...] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Read all tables and open (not decode) every recording of a data set.

    progress : called with the number of recordings opened so far, and of all

    Raises AnnotationError if there is no such folder, or no table in it.
    """
    data = open_data(root, splits=splits, labels=labels, missing="report")
    problems = list(data.problems)
    paths = [clip.path for split in data.splits.values() for clip in split.clips]
    found: dict[Path, MediaInfo | MediaError] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for path, info in zip(paths, pool.map(_open, paths), strict=True):
            found[path] = info
            if progress is not None:
                progress(len(found), len(paths))
    reports = {name: _report(split, found, problems) for name, split in data.splits.items()}
    _check_labels_seen(data, reports, problems)
    return CheckReport(Path(root), data.labels, reports, tuple(problems))


def _mixed(problems: Sequence[Problem]) -> list[Problem]:
    """The problems in their order, but the first of each kind before the many of one: missing recordings do not hide the rest."""
    seen: Counter[str] = Counter()
    later = []
    for problem in problems:
        kind = problem.message.rpartition(": ")[2]  # the names of clips stand before it
        later.append(seen[kind] >= FIRST)
        seen[kind] += 1
    return [problem for late in (False, True) for problem, own in zip(problems, later, strict=True) if own is late]


def _open(path: Path) -> MediaInfo | MediaError:
    try:
        return probe(path)
    except MediaError as error:
        return error


def _report(split: Split, found: Mapping[Path, MediaInfo | MediaError], problems: list[Problem]) -> SplitReport:
    infos: list[MediaInfo] = []
    for clip in split.clips:
        info = found[clip.path]
        if isinstance(info, MediaError):
            problems.append(Problem("error", str(clip.path), None, info.problem))
            continue
        infos.append(info)
        if not info.audio:
            problems.append(Problem("error", str(clip.path), None, "has no audio stream"))
        stated = split.durations.get(clip.name)
        length = _length(info)
        if stated is not None and length is not None and abs(stated - length) > DIFFERENT:
            text = f"is {length:.2f} s long, but its table says {stated:.2f} s"
            problems.append(Problem("warning", str(clip.path), None, text))
    lengths = [length for info in infos if (length := _length(info)) is not None]
    events = None
    if split.events is not None:
        totals: dict[str, list[float]] = {}
        for own in split.events.values():
            for event in own:
                totals.setdefault(event.label, []).append(event.offset - event.onset)
        events = {label: (len(values), sum(values)) for label, values in totals.items()}
    labels = split.labels
    return SplitReport(
        kind=split.kind,
        present=len(split.clips),
        missing=len(split.missing),
        unreadable=len(split.clips) - len(infos),
        with_video=sum(bool(info.video) for info in infos),
        hours=sum(lengths) / 3600,
        shortest=min(lengths, default=0.0),
        middle=median(lengths) if lengths else 0.0,
        longest=max(lengths, default=0.0),
        size_bytes=sum(info.size_bytes for info in infos),
        rates=dict(Counter(info.audio[0].rate for info in infos if info.audio)),
        frame_rates=dict(
            Counter(round(info.video[0].frame_rate, 3) for info in infos if info.video and info.video[0].frame_rate)
        ),
        clips=dict(Counter(label for own in labels.values() for label in own)),
        events=events,
        silent=sum(not own for own in labels.values()),
        fingerprint=fingerprint(split),
    )


def _length(info: MediaInfo) -> float | None:
    """Seconds of sound, where the file tells."""
    own = info.audio[0].duration if info.audio else None
    return own if own is not None else info.duration


def _check_labels_seen(data: DataSet, reports: Mapping[str, SplitReport], problems: list[Problem]) -> None:
    """Warn of classes that a labelled split never holds: they cannot be learnt there, or their scores mean nothing."""
    for name, report in reports.items():
        absent = [label for label in data.labels if label not in report.clips]
        if report.kind != "unlabelled" and absent:
            text = f"no clip of split {name!r} has {', '.join(absent)}"
            problems.append(Problem("warning", str(data.splits[name].table), None, text))
