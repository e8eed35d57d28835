"""Tables of labels: read, checked and written, tab- or comma-separated, as the DCASE challenges exchange them.

========== =========================================== ==============================================
table      columns                                     a row
========== =========================================== ==============================================
weak       ``filename  event_labels``                  a clip and its labels, joined by commas
strong     ``filename  onset  offset  event_label``    an event; empty fields: nothing sounds in the clip
clips      ``filename``                                a clip
durations  ``filename  duration``                      a clip and its length in seconds
========== =========================================== ==============================================

The header names the columns, in any order; others are ignored. Strong tables may lack it. What is wrong with a table is collected
as `Problem`, with file and line, so that all of it can be shown at once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from avsed.annotations import Durations, Event, Events, Tags
from avsed.errors import AnnotationError, nearest
from avsed.tabular import STRONG, read_table, write_table

WEAK = ("filename", "event_labels")
LONGEST = 1e7  # seconds, a third of a year: greater times are no seconds
LATE = 0.05  # seconds that an event may end past its clip without a warning: rounding of labels and of containers
SHOWN = 5  # problems in the message of an error

Kind = Literal["weak", "strong", "clips", "durations"]


class Problem(NamedTuple):
    """Something wrong with a table or a recording. line : from 1, None if the whole file is meant."""

    severity: Literal["error", "warning"]
    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


def raise_errors(problems: Iterable[Problem]) -> None:
    """Raise AnnotationError if there are errors among the problems, naming the first few and their number."""
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        more = f"\n… and {len(errors) - SHOWN} more errors" if len(errors) > SHOWN else ""
        raise AnnotationError("\n".join(str(error) for error in errors[:SHOWN]) + more)


def table_kind(path: str | Path) -> Kind:
    """What a table holds, told by its columns: times make it strong, labels alone weak.

    Raises AnnotationError if it cannot be read, lacks one of its kind's columns, or has one that is nearly called ``event_labels``.
    """
    table = read_table(path)
    if "onset" in table.columns or "offset" in table.columns:
        table.require(STRONG)
        return "strong"
    if any(nearest(name, table.columns) for name in (WEAK[1], STRONG[-1])):
        table.require(WEAK)
        return "weak"
    return "durations" if "duration" in table.columns else "clips"


def find_lines(path: str | Path) -> dict[tuple[str, str], int]:
    """Where a table names what, for messages: the first line of each (clip, label), and of each clip as (clip, "").

    Raises AnnotationError if it cannot be read.
    """
    lines: dict[tuple[str, str], int] = {}
    for line, row in read_table(path).rows:
        for label in ("", row.get("event_label", ""), *_split(row.get("event_labels", ""))):
            lines.setdefault((row["filename"], label), line)
    return lines


def read_tags(path: str | Path, *, problems: list[Problem] | None = None) -> Tags:
    """The labels of each clip; an empty field means that nothing sounds.

    problems : takes what is wrong; without it, errors raise AnnotationError
    """
    found: list[Problem] = []
    tags: Tags = {}
    for line, row in _rows(path, WEAK):
        labels = frozenset(_split(row["event_labels"]))
        if row["filename"] not in tags:
            tags[row["filename"]] = labels
        elif tags[row["filename"]] == labels:
            found.append(
                Problem("warning", str(path), line, f"{row['filename']} stands twice with the same labels; dropped")
            )
        else:
            found.append(Problem("error", str(path), line, f"{row['filename']} stands twice with different labels"))
    _hand_over(found, problems)
    return tags


def read_events(
    path: str | Path,
    *,
    durations: Mapping[str, float] | None = None,
    duplicates: Literal["drop", "keep"] = "drop",
    overlaps: Literal["warn", "ignore"] = "warn",
    rows: list[tuple[int, dict[str, str]]] | None = None,
    problems: list[Problem] | None = None,
) -> Events:
    """The events of each clip, in the table's order; a clip whose only row has empty fields has none.

    durations : seconds of each clip; events that end later are warned of
    duplicates : whether events that are the same as one before are dropped or kept: of a reference they are slips, of an estimate
        part of what it says
    overlaps : whether overlapping events of one class are odd; those with confidences are not
    rows : some of the table's rows, if they have been read
    problems : takes what is wrong; without it, errors raise AnnotationError

    Exact duplicates are warned of; overlapping events of one class and events past the clip's end are warned of and
    kept as they are. Times that are no numbers, negative or reversed are errors.
    """
    found: list[Problem] = []
    events: Events = {}
    lines: dict[tuple[str, Event], int] = {}
    empty: dict[str, int] = {}
    for line, row in _rows(path, STRONG) if rows is None else rows:
        clip, label = row["filename"], row["event_label"]
        sounding = events.setdefault(clip, [])
        if not (row["onset"] or row["offset"] or label):
            empty.setdefault(clip, line)
            continue
        try:
            event = _event(row)
        except ValueError as error:
            found.append(Problem("error", str(path), line, f"{clip}: {error}"))
            continue
        if (clip, event) in lines:
            done = "dropped" if duplicates == "drop" else "kept"
            text = f"{clip}: the same event as in line {lines[clip, event]}; {done}"
            found.append(Problem("warning", str(path), line, text))
            if duplicates == "drop":
                continue
        lines.setdefault((clip, event), line)
        sounding.append(event)
    for clip, line in empty.items():
        if events[clip]:
            found.append(
                Problem("error", str(path), line, f"{clip}: a row without an event, but other rows have events")
            )
    for (clip, event), line in lines.items():
        length = None if durations is None else durations.get(clip)
        if length is not None and event.offset > length + LATE:
            unit = "; are the times milliseconds?" if event.offset > 50 * length else ""
            text = f"{clip}: {event.label} ends at {event.offset:g} s, but the clip at {length:g} s{unit}"
            found.append(Problem("warning", str(path), line, text))
    for clip, sounding in events.items() if overlaps == "warn" else ():
        latest: dict[str, Event] = {}
        for event in sorted(set(sounding)):
            before = latest.get(event.label)
            if before is not None and event.onset < before.offset:
                text = (
                    f"{clip}: {event.label} at {event.onset:g} s begins before the one at {before.onset:g} s has ended"
                )
                found.append(Problem("warning", str(path), lines[clip, event], text))
            if before is None or event.offset > before.offset:
                latest[event.label] = event
    _hand_over(found, problems)
    return events


def read_clips(path: str | Path, *, problems: list[Problem] | None = None) -> list[str]:
    """The clips that a table names, each once, in its order."""
    found: list[Problem] = []
    clips: dict[str, int] = {}
    for line, row in _rows(path, ("filename",)):
        if row["filename"] in clips:
            text = f"{row['filename']} stands in line {clips[row['filename']]} already; dropped"
            found.append(Problem("warning", str(path), line, text))
        clips.setdefault(row["filename"], line)
    _hand_over(found, problems)
    return list(clips)


def read_durations(path: str | Path, *, problems: list[Problem] | None = None) -> Durations:
    """Seconds of each clip."""
    found: list[Problem] = []
    durations: Durations = {}
    for line, row in _rows(path, ("filename", "duration")):
        try:
            length = _seconds(row["duration"], "duration")
        except ValueError as error:
            found.append(Problem("error", str(path), line, f"{row['filename']}: {error}"))
            continue
        if durations.setdefault(row["filename"], length) != length:
            found.append(Problem("error", str(path), line, f"{row['filename']} stands twice with different durations"))
    _hand_over(found, problems)
    return durations


def check_labels(
    labels: Mapping[str, Collection[str]],
    known: Collection[str],
    path: str | Path,
    *,
    problems: list[Problem] | None = None,
) -> None:
    """An error for every clip with a label that is not known, with its line and the nearest known label; the first lists all of them.

    labels : the labels of each clip
    path : the table that they come from
    """
    known = set(known)
    odd = [(clip, label) for clip, own in labels.items() for label in sorted(set(own) - known)]
    if not odd:
        return
    lines = find_lines(path)
    found = [
        Problem("error", str(path), lines.get((clip, label)), f"{clip}: unknown label {label!r}{nearest(label, known)}")
        for clip, label in odd
    ]
    choice = f"known labels: {', '.join(sorted(known)) or 'none'} (data.labels sets them)"
    found[0] = found[0]._replace(message=f"{found[0].message}; {choice}")
    _hand_over(found, problems)


def labels_of(events: Events) -> Tags:
    """The labels that sound somewhere in each clip."""
    return {clip: frozenset(event.label for event in own) for clip, own in events.items()}


def write_tags(path: str | Path, tags: Mapping[str, Collection[str]]) -> None:
    """Write a weak table, whole or not at all."""
    write_table(path, WEAK, ((clip, ",".join(sorted(labels))) for clip, labels in tags.items()))


def write_events(path: str | Path, events: Mapping[str, Iterable[Event]], *, decimals: int | None = 3) -> None:
    """Write a strong table, whole or not at all; a clip without events gets a row with empty fields.

    decimals : of the seconds; None for as many as give the same number back
    """

    def rows() -> Iterable[tuple[str, ...]]:
        for clip, own in events.items():
            sounding = sorted(own)
            if not sounding:
                yield clip, "", "", ""
            for event in sounding:
                yield clip, _written(event.onset, decimals), _written(event.offset, decimals), event.label

    write_table(path, STRONG, rows())


def write_clips(path: str | Path, clips: Iterable[str]) -> None:
    """Write a table of clips, whole or not at all."""
    write_table(path, ("filename",), ((clip,) for clip in clips))


def write_durations(path: str | Path, durations: Mapping[str, float], *, decimals: int | None = 3) -> None:
    """Write a table of durations, whole or not at all; ``decimals`` as in `write_events`."""
    write_table(
        path, ("filename", "duration"), ((clip, _written(length, decimals)) for clip, length in durations.items())
    )


def _written(seconds: float, decimals: int | None) -> str:
    return repr(float(seconds)) if decimals is None else f"{seconds:.{decimals}f}"


def _rows(path: str | Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    table = read_table(path)
    table.require(needed)
    return table.rows


def _split(labels: str) -> list[str]:
    """The labels of a weak table's field."""
    return [label for part in labels.split(",") if (label := part.strip())]


def _event(row: Mapping[str, str]) -> Event:
    onset, offset = _seconds(row["onset"], "onset"), _seconds(row["offset"], "offset")
    if offset < onset:
        raise ValueError(f"the event ends ({offset:g} s) before it begins ({onset:g} s)")
    if not row["event_label"]:
        raise ValueError("times without a label")
    return Event(onset, offset, row["event_label"])


def _seconds(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"the {what} {text!r} is not a number of seconds") from None
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"the {what} {text} must be a finite number of seconds, 0 or more")
    if value > LONGEST:
        raise ValueError(
            f"the {what} {text} is more than {LONGEST / 1e6:g} million seconds; is it milliseconds or samples?"
        )
    return value


def _hand_over(found: list[Problem], problems: list[Problem] | None) -> None:
    if problems is None:
        raise_errors(found)
    else:
        problems += found
