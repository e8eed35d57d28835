"""Files that hold a reference or an estimate: which form a table or folder has is told by its content.

docs/formats.md shows each form.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from avsed.errors import AnnotationError, ScoresError
from avsed.exchange.estimates import Box, Boxes, ClipProbabilities, Estimate, OperatingPoint, Reference
from avsed.exchange.numeric import check_range, is_number, numbered_rows, read_header, read_numbers, split_header
from avsed.exchange.score_tables import ENDINGS, TIMES, read_score_folder, read_score_table
from avsed.scores import read_scores
from avsed.tables import Problem, labels_of, raise_errors, read_durations, read_events, read_tags, table_kind
from avsed.tabular import STRONG, read_table, read_text

CONFIDENCES = ("score", "confidence", "probability")  # columns that make an event list one of boxes
THRESHOLD = re.compile(r"(?:.*[^0-9.])?(\d*\.?\d+)")  # a table's name without ending: 0.50, predictions_th0.50


def read_reference(
    path: str | Path, *, durations: str | Path | None = None, problems: list[Problem] | None = None
) -> Reference:
    """Reference annotations: a table of events, or of tags only.

    durations : table of the clips' lengths
    problems : takes what is wrong; without it, errors raise AnnotationError
    """
    place, found = Path(path), [] if problems is None else problems
    if place.is_dir():
        tables = sorted(
            str(table) for end in ENDINGS for table in (*place.glob(f"*{end}"), *place.glob(f"metadata/*{end}"))
        )
        choice = f": {', '.join(tables[:6])}" if tables else ""
        raise AnnotationError(f"{path}: a folder; give the table of the reference{choice}")
    lengths = read_durations(durations, problems=found) if durations is not None else None
    kind = table_kind(place)
    if kind == "strong":
        events = read_events(place, durations=lengths, problems=found)
        reference = Reference(place, labels_of(events), events, lengths)
    elif kind == "weak":
        reference = Reference(place, read_tags(place, problems=found), None, lengths)
    else:
        what = "durations (give it as --durations)" if kind == "durations" else "clips without labels"
        raise AnnotationError(
            f"{path}: a table of {what}; a reference has the columns {', '.join(STRONG)}, or filename, event_labels"
        )
    if problems is None:
        raise_errors(found)
    return reference


def read_estimate(
    path: str | Path, *, durations: Mapping[str, float] | None = None, problems: list[Problem] | None = None
) -> Estimate:
    """What a system says, in the form that the content tells.

    ============================================================ ==================================
    a folder whose tables begin with ``onset``, ``offset``       frame scores, a table for each clip
    a folder of event lists named by thresholds                  operating points
    a safetensors file of ``avsed predict --scores``             frame scores
    ``filename onset offset event_label``                        events
    … and ``score``, ``confidence`` or ``probability``           boxes
    … and ``threshold``                                          operating points
    ``filename onset offset CLASS CLASS …``, numbers             frame scores
    ``filename event_labels``                                    tags
    ``filename CLASS CLASS …``, numbers                          clip probabilities
    ============================================================ ==================================

    durations : seconds of each clip; events that end later are warned of
    problems : takes what is wrong with event lists; without it, errors raise AnnotationError

    Raises AnnotationError or ScoresError if it is none of these.
    """
    found: list[Problem] = [] if problems is None else problems
    estimate = _read(Path(path), durations, found)
    if problems is None:
        raise_errors(found)
    return estimate


def _read(path: Path, durations: Mapping[str, float] | None, problems: list[Problem]) -> Estimate:
    if path.is_dir():
        return _read_folder(path, durations, problems)
    if _is_safetensors(path):
        return Estimate(path, "frame scores and clip probabilities (safetensors)", scores=read_scores(path))
    columns, cells = _first_rows(path)
    if "filename" in columns and "event_label" in columns and set(TIMES) & set(columns):
        return _read_event_list(path, columns, durations, problems)
    if "event_labels" in columns:
        return Estimate(path, "tags of clips (column event_labels)", tags=read_tags(path, problems=problems))
    others = [cell for name, cell in zip(columns, cells, strict=False) if name not in ("filename", *TIMES)]
    numeric = bool(others) and all(is_number(cell) or not cell for cell in others)
    if "filename" in columns and numeric and columns != ("filename", "duration"):
        if set(TIMES) & set(columns):
            scores = read_score_table(path)
            return Estimate(
                path, f"frame scores of {len(scores.classes)} classes (numbers after onset, offset)", scores=scores
            )
        probabilities = _read_probabilities(path)
        form = f"clip probabilities of {len(probabilities.classes)} classes (a column of numbers each)"
        return Estimate(path, form, probabilities=probabilities)
    if "filename" not in columns and set(TIMES) <= set(columns):
        raise AnnotationError(
            f"{path}: the frame scores of one clip, by its columns; give the folder of all clips' tables: {path.parent}"
        )
    if "filename" not in columns or set(TIMES) & set(columns):  # no header, or an error that names the column
        return Estimate(
            path, "events", events=read_events(path, durations=durations, problems=problems, duplicates="keep")
        )
    kind = table_kind(path)  # raises where a column is nearly called event_labels
    what = "a table of durations (give it as --durations)" if kind == "durations" else "no column says what sounds"
    raise AnnotationError(
        f"{path}: {what}; found {', '.join(columns)}; expected {', '.join(STRONG)}, or filename, event_labels, or filename and a "
        "column of numbers for each class"
    )


def _read_folder(folder: Path, durations: Mapping[str, float] | None, problems: list[Problem]) -> Estimate:
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.name[0] != ".")
    found = (
        sorted(folder.glob(pattern)) for pattern in ("scores/*.safetensors", "*.safetensors")
    )  # a run's has others, too
    inside = [str(path) for paths in found for path in paths]
    if not tables:
        hint = f"; give the file {inside[0]}" if inside else ""
        raise AnnotationError(
            f"{folder}: no tables; expected frame scores, a table for each clip, or event lists named by threshold{hint}"
        )
    columns, _ = _first_rows(tables[0])
    if "filename" not in columns and set(TIMES) <= set(columns) and "event_label" not in columns:
        scores = read_score_folder(folder)
        form = f"frame scores of {len(scores.classes)} classes, a table for each of {len(scores)} clips"
        return Estimate(folder, form, scores=scores)
    points: dict[float, OperatingPoint] = {}
    for path in tables:
        threshold = _threshold_of(path)
        if threshold is None:
            raise AnnotationError(
                f"{path}: not named by a threshold, as 0.5.tsv or events_0.5.tsv; a folder holds event lists at several thresholds, or "
                f"tables of frame scores (onset, offset, a column for each class){f'; or give one file: {(*inside, str(path))[0]}'}"
            )
        if threshold in points:
            raise AnnotationError(
                f"{folder}: two tables for the threshold {threshold:g}: {points[threshold].path.name} and {path.name}"
            )
        if not 0 <= threshold <= 1:
            raise AnnotationError(f"{path}: named by the threshold {threshold:g}, but thresholds lie in [0, 1]")
        events = read_events(path, durations=durations, duplicates="keep", problems=problems)
        points[threshold] = OperatingPoint(threshold, events, path)
    form = f"events at {len(points)} thresholds (operating points), a table for each"
    return Estimate(folder, form, points=tuple(points[threshold] for threshold in sorted(points)))


def _read_event_list(
    path: Path, columns: tuple[str, ...], durations: Mapping[str, float] | None, problems: list[Problem]
) -> Estimate:
    by_name = {name.casefold(): name for name in columns}
    confidences = [by_name[name] for name in CONFIDENCES if name in by_name]
    if len(confidences) > 1:
        raise AnnotationError(
            f"{path}:1: which is the confidence of an event: {' or '.join(confidences)}? Rename the others"
        )
    if "threshold" in by_name:
        points = _read_points(path, by_name["threshold"], durations, problems)
        return Estimate(path, f"events at {len(points)} thresholds (operating points, column threshold)", points=points)
    if confidences:
        boxes = _read_boxes(path, confidences[0], durations, problems)
        return Estimate(path, f"events with confidences (column {confidences[0]})", boxes=boxes)
    return Estimate(path, "events", events=read_events(path, durations=durations, problems=problems, duplicates="keep"))


def _read_boxes(path: Path, column: str, durations: Mapping[str, float] | None, problems: list[Problem]) -> Boxes:
    found: list[Problem] = []
    events = read_events(path, durations=durations, duplicates="keep", overlaps="ignore", problems=found)
    problems += found
    if any(problem.severity == "error" for problem in found):
        return {clip: [] for clip in events}
    rows = [(line, row) for line, row in read_table(path).rows if row["event_label"]]
    scores: defaultdict[str, list[float]] = defaultdict(list)
    values = np.array([_number(row[column], f"{path}:{line}: column {column!r}") for line, row in rows]).reshape(-1, 1)
    check_range(values, (column,), [line for line, _ in rows], path)
    for (_, row), value in zip(rows, values[:, 0], strict=True):
        scores[row["filename"]].append(float(value))
    return {
        clip: [Box(*event, score) for event, score in zip(own, scores[clip], strict=True)]
        for clip, own in events.items()
    }


def _read_points(
    path: Path, column: str, durations: Mapping[str, float] | None, problems: list[Problem]
) -> tuple[OperatingPoint, ...]:
    groups: defaultdict[float, list[tuple[int, dict[str, str]]]] = defaultdict(list)
    for line, row in read_table(path).rows:
        threshold = _number(row[column], f"{path}:{line}: column {column!r}")
        if not 0 <= threshold <= 1:
            raise AnnotationError(f"{path}:{line}: the threshold {threshold:g} does not lie in [0, 1]")
        groups[threshold].append((line, row))
    return tuple(
        OperatingPoint(
            threshold,
            read_events(path, durations=durations, duplicates="keep", rows=groups[threshold], problems=problems),
            path,
        )
        for threshold in sorted(groups)
    )


def _read_probabilities(path: Path) -> ClipProbabilities:
    first, _, body = read_text(path).lstrip("\n").partition("\n")
    header = read_header(first, path, ("filename",))
    rows = numbered_rows(body, 2)
    column = header.columns.index("filename")
    clips: dict[str, int] = {}
    for line, row in rows:
        clip = row.split(header.separator)[column].strip().strip('"')
        if clip in clips:
            raise ScoresError(f"{path}:{line}: {clip} stands in line {clips[clip]} already")
        clips[clip] = line
    values = read_numbers(rows, header, header.classes, path)
    check_range(values, header.classes, [line for line, _ in rows], path)
    return ClipProbabilities(tuple(clips), header.classes, values.astype(np.float32))


def _first_rows(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The cells of a table's first two lines."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = (line for line in file if line.strip())
            header, row = split_header(next(lines, "")), next(lines, "")
    except (OSError, UnicodeDecodeError):
        read_text(path)  # says what is wrong with it
        raise
    return header.columns, tuple(cell.strip() for cell in row.rstrip("\r\n").split(header.separator))


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON object, and the object."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError:
        return path.suffix == ".safetensors"
    return path.suffix == ".safetensors" or (len(head) == 9 and head[8:] == b"{" and b"\0" in head[:8])


def _threshold_of(path: Path) -> float | None:
    name = path.name[: -len(path.suffix)]
    if is_number(name):
        return float(name)
    match = THRESHOLD.fullmatch(name)
    return None if match is None else float(match[1])


def _number(text: str, place: str) -> float:
    if not is_number(text):
        raise AnnotationError(f"{place}: {text!r} is not a number")
    return float(text)
