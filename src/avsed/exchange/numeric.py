"""Tables of numbers as text: a header that names the columns, and cells that are found again when one is wrong."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avsed.errors import ScoresError, nearest
from avsed.tabular import separator_of


class Header(NamedTuple):
    """What the first line of a table says. columns : as they stand; classes : all columns that are no name and no time."""

    separator: str
    columns: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(column for column in self.columns if column not in ("filename", "onset", "offset"))


def read_header(first: str, place: object, needed: Sequence[str]) -> Header:
    """The columns of a table of scores, told by its first line.

    Raises ScoresError, naming the file ``place``, if one of ``needed`` or all classes are missing, or a column stands twice.
    """
    header = split_header(first)
    for name in needed:
        if name not in header.columns:
            raise ScoresError(
                f"{place}:1: no column {name!r}{nearest(name, header.columns)}; "
                f"expected {', '.join(needed)} and a column for each class"
            )
    if not header.classes or not all(header.columns):
        raise ScoresError(f"{place}:1: {'a column without a name' if header.classes else 'no column of a class'}")
    twice = next((name for index, name in enumerate(header.columns) if name in header.columns[:index]), None)
    if twice is not None:
        raise ScoresError(f"{place}:1: the column {twice!r} stands twice")
    return header


def split_header(first: str) -> Header:
    """The fields of a table's first line, whatever they are."""
    separator = separator_of(first)
    return Header(separator, tuple(name.strip() for name in next(csv.reader([first], delimiter=separator), [])))


def numbered_rows(body: str, first: int) -> list[tuple[int, str]]:
    """The lines of a text that are not blank, with their numbers; ``first`` : the number of the first line."""
    return [(number, row) for number, row in enumerate(body.split("\n"), first) if row.strip()]


def read_numbers(rows: Sequence[tuple[int, str]], header: Header, wanted: Sequence[str], place: object) -> np.ndarray:
    """float64 (rows, columns wanted). Raises ScoresError, naming line and column, for what is no number or a row that does not fit."""
    width = len(header.columns)
    odd = next((number for number, row in rows if row.count(header.separator) != width - 1), None)
    if odd is not None:
        raise ScoresError(
            f"{place}:{odd}: expected {width} fields, as in the header ({', '.join(header.columns[:5])}, …)"
        )
    columns = [header.columns.index(name) for name in wanted]
    try:
        return np.loadtxt([row for _, row in rows], delimiter=header.separator, usecols=columns, ndmin=2, comments=None)
    except ValueError:
        raise _not_a_number(rows, header, columns, place) from None


def check_range(values: np.ndarray, classes: Sequence[str], lines: Sequence[int], place: object) -> None:
    """Raise ScoresError, naming line and column, for a value that is no probability, with a guess what it is.

    values : (rows, classes); lines : the line of each row
    """
    inside = (values >= 0) & (values <= 1)  # not of NaN
    if inside.all():
        return
    row, column = (int(index[0]) for index in np.nonzero(~inside))
    value = float(values[row, column])
    where = f"{place}:{lines[row]}: column {classes[column]!r}"
    if math.isnan(value):
        raise ScoresError(f"{where} is NaN; a score in [0, 1] is needed for every class")
    raise ScoresError(f"{where} is {value:g}, but scores lie in [0, 1]; {guess_scale(values)}")


def guess_scale(values: np.ndarray) -> str:
    """What numbers that are no probabilities may be, and what to do, for a message."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low < 0:
        return "are they logits, or logarithms? give probabilities (logits go through a sigmoid)"
    if high <= 1.001:
        return "is it rounding? cut them to [0, 1]"
    return "are they per cent? divide by 100" if 10 < high <= 100 else "are they logits? give probabilities"


def is_number(text: str) -> bool:
    """Whether a cell holds a number; NaN is one here, so that it is named where a score is read."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _not_a_number(
    rows: Sequence[tuple[int, str]], header: Header, columns: Sequence[int], place: object
) -> ScoresError:
    for number, row in rows:
        fields = row.split(header.separator)
        for column in columns:
            text = fields[column].strip()
            if not is_number(text):
                said = f"{text!r} is not a number" if text else "an empty field"
                return ScoresError(f"{place}:{number}: column {header.columns[column]!r}: {said}")
    return ScoresError(f"{place}: not a table of numbers")
