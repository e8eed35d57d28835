"""Frame scores as text, as programs exchange them: the tables of ``sed_scores_eval``, read and written.

========== ==================================================== =====================================================
form       columns                                              a row
========== ==================================================== =====================================================
folder     ``onset  offset  CLASS  CLASS …``                    a frame; a file for each clip, named ``CLIP.tsv``
one table  ``filename  onset  offset  CLASS  CLASS …``          a frame; the rows of a clip stand together, in order
========== ==================================================== =====================================================

Tab- or comma-separated; the header names the columns, in any order. Scores lie in [0, 1], times are seconds, and each frame begins where
the one before ends. There are no clip probabilities: a clip's tags are its greatest frame scores. Tables are parsed when a clip is asked
for; parsed clips are kept up to `KEPT` bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from avsed.errors import ScoresError
from avsed.exchange.numeric import Header, check_range, numbered_rows, read_header, read_numbers
from avsed.files import write_text
from avsed.scores import Scores, ScoreSequence
from avsed.tabular import read_text

TIMES = ("onset", "offset")
ENDINGS = (".tsv", ".csv")
KEPT = 2**28  # bytes of parsed scores that are kept in memory
ROUNDED = 1e-3  # seconds between the end of a frame and the beginning of the next that are rounding, if a tenth of a frame at most


def stem(clip: str) -> str:
    """A clip's name without folder and ending: ``eval/Yabc_0.000_10.000.wav`` -> ``Yabc_0.000_10.000``.

    An ending has a letter in it: that of ``Yabc_0.000_10.000`` is part of the name.
    """
    path = Path(clip)
    return path.stem if any(letter.isalpha() for letter in path.suffix) else path.name


def read_score_folder(folder: str | Path) -> ScoreSequence:
    """The scores of a folder with a table for each clip; the clips are named by the files, without the ending.

    Tables are read when a clip is asked for, and checked then. Raises ScoresError if there is none, or two have one name.
    """
    files: dict[str, Path] = {}
    for path in sorted(Path(folder).iterdir()):
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            clip = path.name[: -len(path.suffix)]
            if clip in files:
                raise ScoresError(f"{folder}: two tables for the clip {clip!r}: {files[clip].name} and {path.name}")
            files[clip] = path
    if not files:
        raise ScoresError(f"{folder}: no tables of scores ({', '.join(ENDINGS)})")
    clips, paths = list(files), list(files.values())
    with paths[0].open(encoding="utf-8-sig") as file:
        classes = read_header(file.readline(), paths[0], TIMES).classes

    def load(index: int) -> Scores:
        first, _, body = read_text(paths[index]).partition("\n")
        header = read_header(first, paths[index], TIMES)
        if set(header.classes) != set(classes):
            odd = sorted(set(header.classes) ^ set(classes))
            raise ScoresError(f"{paths[index]}:1: other classes than {paths[0]}: {', '.join(odd)} only in one of them")
        return _parse(body, clips[index], header, classes, paths[index], line=2)

    return _sequence(clips, classes, load)


def read_score_table(path: str | Path) -> ScoreSequence:
    """The scores of one table of many clips. Raises ScoresError if the rows of a clip do not stand together."""
    places: dict[str, tuple[int, int, int]] = {}  # beginning and end in the file, first line
    with Path(path).open("rb") as file:
        first = file.readline()
        header = read_header(first.decode("utf-8-sig"), path, ("filename", *TIMES))
        separator, column = header.separator.encode(), header.columns.index("filename")
        begin = position = len(first)
        current, start = b"", 2
        for line, row in enumerate(file, 2):
            fields = row.split(separator, column + 1)
            name = fields[column].strip() if len(fields) > column else b""
            if name != current and row.strip():
                _place(places, current, (begin, position, start), path)
                current, begin, start = name, position, line
            position += len(row)
        _place(places, current, (begin, position, start), path)
    if not places:
        raise ScoresError(f"{path}: no rows")
    clips = list(places)

    def load(index: int) -> Scores:
        begin, end, line = places[clips[index]]
        with Path(path).open("rb") as file:
            file.seek(begin)
            body = file.read(end - begin).decode()
        return _parse(body, clips[index], header, header.classes, path, line=line)

    return _sequence(clips, header.classes, load)


def write_score_tables(folder: str | Path, scores: Iterable[Scores]) -> None:
    """Write a table for each clip, named by the clip without folder and ending, as ``sed_scores_eval`` reads them.

    Clip probabilities have no place there, nor have frames without length, which are left out. What is read again is the same to the bit.

    Raises ScoresError if two clips would have one file, a clip has no frames, or a class is called as no column can be.
    """
    written: dict[str, str] = {}
    for one in scores:
        name = stem(one.clip)
        if name in written:
            raise ScoresError(f"{folder}: {one.clip} and {written[name]} would have the same file {name}.tsv")
        odd = next(
            (c for c in one.classes if c in ("filename", *TIMES) or set(c) & set('\t\n\r"') or c != c.strip()), None
        )
        if odd is not None:
            raise ScoresError(f"{folder}: no column can be called {odd!r}; rename the class")
        written[name] = one.clip
        lasting = np.diff(one.boundaries) > 0
        if not lasting.any():
            raise ScoresError(f"{folder}: {one.clip} has no frames, which a table cannot say")
        onsets, offsets = one.boundaries[:-1][lasting].tolist(), one.boundaries[1:][lasting].tolist()
        rows = ["\t".join((*TIMES, *one.classes))]
        for onset, offset, values in zip(onsets, offsets, one.frames[lasting], strict=True):
            rows.append("\t".join((repr(onset), repr(offset), *map(str, values))))
        write_text(Path(folder) / f"{name}.tsv", "\n".join(rows) + "\n")


def _sequence(clips: Sequence[str], classes: tuple[str, ...], load: Callable[[int], Scores]) -> ScoreSequence:
    """A sequence that keeps what it has parsed, up to a number of bytes."""
    kept: dict[int, Scores] = {}
    size = 0

    def kept_or_loaded(index: int) -> Scores:
        nonlocal size
        if index in kept:
            return kept[index]
        scores = load(index)
        if size + scores.frames.nbytes <= KEPT:
            kept[index] = scores
            size += scores.frames.nbytes
        return scores

    def boundaries(index: int) -> np.ndarray:
        return kept_or_loaded(index).boundaries

    return ScoreSequence(clips, classes, load=kept_or_loaded, boundaries=boundaries, tags_from="frames")


def _place(places: dict[str, tuple[int, int, int]], name: bytes, place: tuple[int, int, int], path: str | Path) -> None:
    """Note where a clip's rows stand; before the first clip there are none."""
    begin, end, line = place
    if begin == end:
        return
    clip = name.decode().strip('"')
    if not clip:
        raise ScoresError(f"{path}:{line}: no file name")
    if clip in places:
        raise ScoresError(
            f"{path}:{line}: {clip} again, after its rows from line {places[clip][2]} on; the rows of a clip must stand together"
        )
    places[clip] = place


def _parse(body: str, clip: str, header: Header, classes: tuple[str, ...], path: str | Path, *, line: int) -> Scores:
    """The rows of one clip; ``line`` : the number of the first."""
    rows = numbered_rows(body, line)
    if not rows:
        raise ScoresError(f"{path}: no frames; a table of scores has a row for each")
    values = read_numbers(rows, header, (*TIMES, *classes), path)
    lines = [number for number, _ in rows]
    times, frames = values[:, :2], values[:, 2:]
    _check_times(times, lines, path)
    check_range(frames, classes, lines, path)
    frames = frames.astype(np.float32)
    return Scores(clip, classes, frames, np.append(times[:, 0], times[-1, 1]), frames.max(axis=0))


def _check_times(times: np.ndarray, lines: Sequence[int], path: str | Path) -> None:
    """Raise ScoresError unless each frame begins where the one before ends. times : (frames, 2), onsets and offsets."""
    onsets, offsets = times.T
    odd = np.flatnonzero(~(np.isfinite(times).all(axis=1) & (onsets >= 0) & (offsets >= onsets)))
    if len(odd):
        onset, offset = times[odd[0]]
        raise ScoresError(
            f"{path}:{lines[odd[0]]}: a frame from {onset:g} to {offset:g} s; expected 0 <= onset <= offset"
        )
    apart = onsets[1:] - offsets[:-1]
    odd = np.flatnonzero(np.abs(apart) > min(ROUNDED, 0.1 * float(np.median(offsets - onsets))))
    if len(odd) or np.any(np.diff(onsets) < 0):
        place = int(odd[0]) if len(odd) else int(np.argmax(np.diff(onsets) < 0))
        what = "a gap" if apart[place] > 0 else "an overlap, or rows out of order"
        raise ScoresError(
            f"{path}:{lines[place + 1]}: a frame begins at {onsets[place + 1]:g} s, but the one before ends at "
            f"{offsets[place]:g} s: {what}; each frame must begin where the one before ends"
        )
