"""Tables as text: rows with their line numbers, tab- or comma-separated, under a header that names the columns.

What the columns mean is the business of `avsed.tables`. A table of events may lack its header: four columns with times in the second
and third are taken as one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from avsed.errors import AnnotationError, nearest
from avsed.files import write_text

STRONG = ("filename", "onset", "offset", "event_label")
QUOTED = 80  # characters of a strange line that are quoted


class Table(NamedTuple):
    """rows : line number (from 1), and text by column, without spaces around it."""

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]

    def require(self, needed: Sequence[str]) -> None:
        """Raise AnnotationError for a column that is not there, with the nearest one that is."""
        lacking = next((column for column in needed if column not in self.columns), None)
        if lacking is not None:
            raise AnnotationError(
                f"{self.path}:1: no column {lacking!r}{nearest(lacking, self.columns)}; found {', '.join(self.columns)}; "
                f"expected {', '.join(needed)}"
            )


def read_table(path: str | Path) -> Table:
    """Read a table; blank lines are left out, trailing empty fields may be.

    Raises AnnotationError, naming file and line, if it cannot be read, has no column ``filename``, or a row does not fit the header.
    """
    text = read_text(path)
    separator = "\t" if "\t" in text else separator_of(text.partition("\n")[0])
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE,
    )
    columns: tuple[str, ...] | None = None
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        for fields in reader:
            fields = [field.strip() for field in fields]
            if not any(fields):
                continue
            place = f"{path}:{reader.line_num}"
            if columns is None:
                columns = _columns(fields, place)
                if "filename" in fields:
                    continue
            rows.append((reader.line_num, _row(fields, columns, place)))
    except csv.Error as error:
        raise AnnotationError(f"{path}:{reader.line_num}: {error}; is this a table of labels?") from error
    if columns is None:
        raise AnnotationError(f"{path}: the table is empty; expected a header with the column 'filename'")
    return Table(Path(path), columns, rows)


def separator_of(first: str) -> str:
    """What separates the fields of a table, told by its first line: a comma if it has one and no tab."""
    return "\t" if "\t" in first or "," not in first else ","


def read_text(path: str | Path) -> str:
    """The text of a table. Raises AnnotationError, naming the file, if it cannot be read or is not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save the table as UTF-8"
        ) from error
    except OSError as error:
        raise AnnotationError(f"{path}: cannot read the table: {error.strerror or error}") from error


def write_table(path: str | Path, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Write a table, whole or not at all. Raises AnnotationError for a field that holds a tab or a line break."""
    table = [columns, *rows]
    odd = next((field for row in table for field in row if "\t" in field or "\n" in field), None)
    if odd is not None:
        raise AnnotationError(f"{path}: names in a table must not hold tabs or line breaks: {odd!r}")
    write_text(path, "".join("\t".join(row) + "\n" for row in table))


def _columns(first: list[str], place: str) -> tuple[str, ...]:
    """The columns, told by the first row: it names them, or is an event."""
    if "filename" in first:
        return tuple(first)
    if _is_event(first):
        return STRONG
    found = " ".join(first)
    found = found if len(found) <= QUOTED else found[:QUOTED] + "…"
    raise AnnotationError(
        f"{place}: expected a header with the column 'filename', found {found!r}{nearest('filename', first)}"
    )


def _is_event(fields: Sequence[str]) -> bool:
    """Whether a row has the form of an event, or of a clip without one."""
    if len(fields) != len(STRONG):
        return False
    try:
        float(fields[1]), float(fields[2])
    except ValueError:
        return not any(fields[1:])
    return True


def _row(fields: list[str], columns: tuple[str, ...], place: str) -> dict[str, str]:
    if any(fields[len(columns) :]):
        raise AnnotationError(
            f"{place}: {len(fields)} fields in a table of {len(columns)} columns ({', '.join(columns)})"
        )
    row = dict(zip(columns, fields + [""] * (len(columns) - len(fields)), strict=False))
    if not row["filename"]:
        raise AnnotationError(f"{place}: no file name")
    return row
