"""A data set is a folder: tables of labels, and recordings beside them.

::

    DATA/metadata/weak.tsv          filename, event_labels      weakly labelled training clips
                 /unlabeled.tsv     filename                    unlabelled training clips (may be missing)
                 /strong.tsv        filename, onset, offset, event_label    training clips with events (may be missing)
                 /validation.tsv    filename, onset, offset, event_label
                 /test.tsv
                 /test_durations.tsv  filename, duration        (may be missing for each split)
        /clips/weak/…, /clips/test/…                            the recordings

Tables may also lie in ``DATA`` itself and end in ``.csv``; ``tags.tsv`` is another name of ``weak.tsv``, ``unlabelled.tsv`` of
``unlabeled.tsv``. A recording is looked for in ``clips/SPLIT``, ``audio/SPLIT``, ``SPLIT``, ``clips``, ``audio`` and ``DATA``, in
this order, first by the table's very name, then by the name without its extension (DCASE tables say ``.wav`` where the video is
``.mp4``). Other layouts are described by `SplitSource` in the configuration.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from avsed.annotations import Durations, Events, Tags
from avsed.errors import AnnotationError
from avsed.tables import (
    Problem,
    check_labels,
    find_lines,
    labels_of,
    raise_errors,
    read_clips,
    read_durations,
    read_events,
    read_tags,
    table_kind,
)

TABLES = ("weak", "tags", "strong", "unlabeled", "unlabelled", "validation", "test")
NAMES = {"tags": "weak", "unlabelled": "unlabeled"}
ENDINGS = (".tsv", ".csv")
TRAINING = ("weak", "unlabeled")
SHOWN = 5

Kind = Literal["weak", "strong", "unlabelled"]
Listing = Callable[[Path], Mapping[str, tuple[Path, ...]]]


class SplitSource(BaseModel):
    """Where a split lies, relative to the data set's folder, where the layout is not the usual one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: Path = Field(description="table of the split's clips and labels")
    media: Path = Field(description="folder of its recordings")
    durations: Path | None = Field(None, description="table of durations")


@dataclass(frozen=True)
class Clip:
    """A clip: its name in the tables, and its recording."""

    name: str
    path: Path


@dataclass(frozen=True)
class Split:
    """Clips that play one role. tags : for weak ones; events : for strong ones; table : where they are listed."""

    name: str
    kind: Kind
    table: Path
    clips: tuple[Clip, ...]
    missing: tuple[str, ...]
    tags: Tags | None = None
    events: Events | None = None
    durations: Durations = field(default_factory=dict)

    @property
    def labels(self) -> Tags:
        """The labels of each clip; empty for unlabelled clips."""
        return self.tags if self.tags is not None else labels_of(self.events) if self.events is not None else {}


@dataclass(frozen=True)
class DataSet:
    """labels : the classes, sorted; problems : what is wrong with tables and recordings, errors and warnings."""

    root: Path
    labels: tuple[str, ...]
    splits: Mapping[str, Split]
    problems: tuple[Problem, ...]

    def split(self, name: str) -> Split:
        """A split by name.

        Raises AnnotationError if there is none.
        """
        if name not in self.splits:
            raise AnnotationError(f"{self.root}: no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]


def open_data(
    root: str | Path,
    *,
    splits: Mapping[str, SplitSource] | None = None,
    labels: Sequence[str] | None = None,
    missing: Literal["error", "drop", "report"] = "error",
) -> DataSet:
    """Read a data set's tables and find its recordings.

    splits : for other layouts; by default the tables that `TABLES` names
    labels : the classes; by default all labels of the weak table, or of all tables if there is none
    missing : "error" raises if recordings are missing or tables have errors; "drop" leaves the clips without a recording out
        and warns of their number; "report" raises for neither, but lists everything in ``problems``, each missing recording
        by itself

    Raises AnnotationError naming the file, the line and how many there are.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise AnnotationError(f"{folder}: no such folder; give the folder of a data set")
    sources = dict(splits) if splits is not None else dict(_find_tables(folder))
    if not sources:
        raise AnnotationError(
            f"{folder}: no tables of labels; expected {' or '.join(f'metadata/weak{end}' for end in ENDINGS)} with the columns "
            "filename and event_labels (also directly in the folder, or called tags)"
        )
    problems: list[Problem] = []
    listing = cache(_by_stem)  # for this call alone: recordings may be added before the next
    found = {name: _read_split(folder, name, source, listing, problems) for name, source in sources.items()}
    classes = tuple(sorted(labels)) if labels else _labels(found)
    for split in found.values():
        check_labels(split.labels, classes, split.table, problems=problems)
    _check_shared(found, problems)
    for split in found.values():
        problems += _missing(split, missing)
    if missing != "report":
        raise_errors(problems)
    return DataSet(folder, classes, {name: _without_missing(split) for name, split in found.items()}, tuple(problems))


def fingerprint(split: Split) -> dict[str, int | str]:
    """Number of clips and a hash over their names and labels, whatever their order and place: equal if scores may be compared."""
    names = sorted(clip.name for clip in split.clips)
    if split.events is not None:
        return events_fingerprint({name: split.events[name] for name in names})
    return _hashed(names) if split.tags is None else tags_fingerprint({name: split.tags[name] for name in names})


def events_fingerprint(events: Events) -> dict[str, int | str]:
    """The `fingerprint` of clips of which all events are given; times to the microsecond."""
    content = {}
    for name, own in events.items():
        rounded = sorted((round(e.onset, 6), round(e.offset, 6), e.label) for e in own)
        content[name] = [[label, onset, offset] for onset, offset, label in rounded]
    return _hashed(content)


def tags_fingerprint(tags: Tags) -> dict[str, int | str]:
    """The `fingerprint` of clips of which only tags are known."""
    return _hashed({name: sorted(own) for name, own in tags.items()})


def _hashed(content: Mapping[str, object] | Sequence[str]) -> dict[str, int | str]:
    text = json.dumps(content, sort_keys=True)
    return {"clips": len(content), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def _find_tables(folder: Path) -> Iterator[tuple[str, SplitSource]]:
    for place in ("metadata", "."):
        for name in TABLES:
            for end in ENDINGS:
                table = Path(place, f"{name}{end}")
                if (folder / table).is_file():
                    durations = Path(place, f"{name}_durations{end}")
                    given = durations if (folder / durations).is_file() else None
                    yield NAMES.get(name, name), SplitSource(table=table, media=Path(), durations=given)


def _missing(split: Split, wanted: Literal["error", "drop", "report"]) -> list[Problem]:
    """What is said of the clips without a recording: their number and the first few, or to "report" each with its line."""
    table = str(split.table)
    if wanted == "report" and split.missing:
        lines = find_lines(split.table)
        return [Problem("error", table, lines[clip, ""], f"{clip}: no recording found") for clip in split.missing]
    if split.missing:
        number = f"{len(split.missing)} of {len(split.missing) + len(split.clips)}"
        shown = ", ".join(split.missing[:SHOWN]) + (", …" if len(split.missing) > SHOWN else "")
        text = f"{number} recordings are missing: {shown}"
        return [Problem("warning" if wanted == "drop" else "error", table, None, text)]
    return []


def _read_split(folder: Path, name: str, source: SplitSource, listing: Listing, problems: list[Problem]) -> Split:
    table = folder / source.table
    durations = read_durations(folder / source.durations, problems=problems) if source.durations else {}
    kind = table_kind(table)
    tags, events = None, None
    if kind == "weak":
        tags = read_tags(table, problems=problems)
    elif kind == "strong":
        events = read_events(table, durations=durations, problems=problems)
    names = list(tags if tags is not None else events if events is not None else read_clips(table, problems=problems))
    if not names:
        severity: Literal["error", "warning"] = "warning" if kind == "clips" else "error"
        problems.append(Problem(severity, str(table), None, "names no clips; fill it or remove it"))
    if source.media == Path():
        places = [folder / p for p in (f"clips/{name}", f"audio/{name}", name, "clips", "audio", ".")]
    else:
        places = [folder / source.media]
    clips, missing = [], []
    for clip in names:
        path = _find_recording(clip, places, listing, problems, table)
        if path is None:
            missing.append(clip)
        else:
            clips.append(Clip(clip, path))
    role: Kind = "weak" if kind == "weak" else "strong" if kind == "strong" else "unlabelled"
    return Split(name, role, table, tuple(clips), tuple(missing), tags, events, durations)


def _find_recording(
    name: str, places: Sequence[Path], listing: Listing, problems: list[Problem], table: Path
) -> Path | None:
    for place in places:
        if (place / name).is_file():
            return place / name
        alike = listing((place / name).parent).get(Path(name).stem, ())
        if len(alike) > 1:
            text = (
                f"{name}: {len(alike)} recordings have its name but another ending: {', '.join(p.name for p in alike)}"
            )
            problems.append(Problem("error", str(table), None, text))
        if alike:
            return alike[0]
    return None


def _by_stem(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """The files of a folder that may be recordings, by name without extension."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix not in (*ENDINGS, ".json", ".txt", ".md", ".jams"):
                found[path.stem].append(path)
    return {stem: tuple(paths) for stem, paths in found.items()}


def _labels(splits: Mapping[str, Split]) -> tuple[str, ...]:
    """The labels that can be learnt: those of the weak clips, or of all splits if none is weak."""
    weak = [split for split in splits.values() if split.kind == "weak"]
    return tuple(sorted({label for split in weak or splits.values() for own in split.labels.values() for label in own}))


def _check_shared(splits: Mapping[str, Split], problems: list[Problem]) -> None:
    """Warn of clips that are in two splits: what was learnt would be tested."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for split in splits.values():
        for clip in split.clips:
            places[str(clip.path.resolve())].append(split.name)
    pairs: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for path, names in places.items():
        if len(names) > 1:
            pairs[tuple(names)].append(Path(path).name)
    for together, clips in pairs.items():
        text = f"{len(clips)} recordings are in {' and '.join(together)}: {', '.join(clips[:SHOWN])}"
        problems.append(Problem("warning", str(splits[together[-1]].table), None, text))


def _without_missing(split: Split) -> Split:
    gone = set(split.missing)
    if not gone:
        return split
    tags = None if split.tags is None else {clip: own for clip, own in split.tags.items() if clip not in gone}
    events = None if split.events is None else {clip: own for clip, own in split.events.items() if clip not in gone}
    return replace(split, tags=tags, events=events)
