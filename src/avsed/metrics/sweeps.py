"""Clip-, segment- and event-based scores at all thresholds at once.

Conventions
-----------
At every threshold the counts are those that `clip_based`, `segment_based` and `event_based` (optimal matching) give for what is said at
that threshold. What a system says of each class is given as `Candidates` or `Curves`, one for each label; classes are worked off one
after the other, so that they may come from a generator (`curves_of_scores`) and only the steps stay in memory.

A segment is said where a frame that touches it reaches the threshold: its score is the greatest one of those frames. A clip's tags come
from its clip scores. Substitutions (pairs of different classes) are not counted: classes have thresholds of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from avsed.annotations import Events, Tags
from avsed.errors import ScoresError
from avsed.metrics.candidates import Said, columns_of
from avsed.metrics.event import Tolerance, offset_tolerances
from avsed.metrics.inputs import EventArrays, as_arrays, as_matrix, check_clips, label_indices
from avsed.metrics.segment import segment_range, segments_of
from avsed.metrics.sweep import Sweep, Sweeps, falling
from avsed.scores import Scores


class ClassEvents(NamedTuple):
    """The reference events of one class, by clip and onset: clip k's are starts[k] to starts[k + 1]; onset, offset : seconds."""

    starts: np.ndarray
    onset: np.ndarray
    offset: np.ndarray


def event_sweep(
    said: Iterable[Said],
    reference: Events,
    *,
    labels: Sequence[str],
    onset_collar: float | None,
    offset_collar: float | None,
    offset_rate: float,
    offset_tolerance: Tolerance = "max",
) -> Sweeps:
    """Event-based counts at all thresholds; the collars are those of `event_based`.

    said : what the system says of each class, in the order of ``labels``

    Raises AnnotationError if a label of the reference is not known; ValueError if nothing is left to compare, or ``said`` does not
    fit ``labels``.
    """
    from avsed.metrics.kernels import changes, collar_steps, near

    if onset_collar is None and offset_collar is None:
        raise ValueError("an event-based score needs an onset collar, an offset collar or both")
    clips = tuple(reference)
    sweeps = []
    for own, held in paired(said, as_arrays(reference, clips, labels), len(clips), labels):
        tolerance = offset_tolerances(held.offset - held.onset, offset_collar, offset_rate, offset_tolerance)
        collar = np.inf if onset_collar is None else float(onset_collar)
        parts = []
        for piece in own.pieces():
            starts = clip_starts(piece.clip, len(clips))
            edges, ends = near(starts, piece.onset, piece.offset, *held, collar, tolerance)
            far = ends[1:] == ends[:-1]  # all events that no reference event is near are of one kind
            changing = changes(starts, piece.low, piece.high, np.where(far, -1, np.arange(len(far))))
            parts.append(collar_steps(changing, starts, edges, ends, held.starts))
        sweeps.append(Sweep(*joined(parts), np.diff(held.starts)))
    definition = {
        "name": "event-based",
        "onset_collar": onset_collar,
        "offset_collar": offset_collar,
        "offset_rate": offset_rate,
        "offset_tolerance": offset_tolerance,
        "matching": "optimal",
    }
    return Sweeps(definition, tuple(labels), clips, tuple(sweeps))


def segment_sweep(
    said: Iterable[Said],
    reference: Events,
    *,
    labels: Sequence[str],
    resolution: float,
    durations: Mapping[str, float] | None = None,
) -> Sweeps:
    """Segment-based counts at all thresholds.

    said : what the system says of each class, in the order of ``labels``
    resolution : seconds of a segment
    durations : seconds of each clip; a clip that it lacks ends with its last event

    Raises AnnotationError if a label of the reference is not known, or a clip is absurdly long; ValueError if resolution is not
    positive, or ``said`` does not fit ``labels``.
    """
    from avsed.metrics.kernels import changes, segment_steps

    if not resolution > 0:
        raise ValueError(f"the resolution must be positive, got {resolution}")
    clips = tuple(reference)
    known = np.array([(durations or {}).get(clip, np.nan) for clip in clips])
    sweeps = []
    for own, held in paired(said, as_arrays(reference, clips, labels), len(clips), labels):
        row = np.repeat(np.arange(len(clips)), np.diff(held.starts))
        latest = np.zeros(len(clips))
        np.maximum.at(latest, row, held.offset)

        def rolled(
            lengths: np.ndarray, row: np.ndarray = row, held: ClassEvents = held
        ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            """Segments of each clip (clips,), where they begin (clips + 1,), and in which of them the class sounds."""
            segments = segments_of(clips, np.where(np.isnan(known), lengths, known), resolution)
            starts = np.concatenate([[0], np.cumsum(segments)])
            marks = np.zeros(starts[-1] + 1, np.int64)
            first, stop = segment_range(held.onset, held.offset, segments[row], resolution)
            np.add.at(marks, starts[row] + first, 1)
            np.add.at(marks, starts[row] + stop, -1)
            return segments, starts, np.cumsum(marks)[:-1] > 0

        parts = []
        for piece in own.pieces():
            ends = latest.copy()
            np.maximum.at(ends, piece.clip, piece.offset)
            segments, starts, roll = rolled(ends)
            first, stop = segment_range(piece.onset, piece.offset, segments[piece.clip], resolution)
            begins = clip_starts(piece.clip, len(clips))
            kind = first * (int(segments.max(initial=0)) + 1) + stop
            changing = changes(begins, piece.low, piece.high, kind)
            parts.append(segment_steps(changing, begins, first, stop, roll, starts))
        _, starts, roll = rolled(latest)
        sweeps.append(Sweep(*joined(parts), np.diff(np.concatenate([[0], np.cumsum(roll)])[starts])))
    return Sweeps({"name": "segment-based", "resolution": resolution}, tuple(labels), clips, tuple(sweeps))


def clip_sweep(scores: Iterable[Scores], reference: Tags, *, labels: Sequence[str]) -> Sweeps:
    """Clip-based counts at all thresholds of the clip probabilities.

    Raises AnnotationError if a clip or label is not known; ScoresError if a clip has scores twice, or a class has none.
    """
    clips = tuple(reference)
    held = as_matrix(reference, clips, labels)  # (clips, classes)
    index = {clip: row for row, clip in enumerate(clips)}
    tags = np.full(held.shape, np.nan)
    for one in scores:
        if one.clip not in index:
            check_clips(reference, {one.clip: None})
        if not np.isnan(tags[index[one.clip], 0]):
            raise ScoresError(f"{one.clip}: scores are given twice")
        tags[index[one.clip]] = one.tags[columns_of(one, labels)]
    return probability_sweep(tags, held, clips=clips, labels=labels)


def probability_sweep(
    probabilities: np.ndarray, tags: np.ndarray, *, clips: Sequence[str], labels: Sequence[str]
) -> Sweeps:
    """The same of arrays. probabilities : float (clips, classes), NaN of a clip without; tags : bool or int (clips, classes)"""
    held = tags.astype(np.int64)
    given = np.flatnonzero(~np.isnan(probabilities[:, 0]))
    sweeps = []
    for column in range(len(labels)):
        steps = probabilities[given, column], given, held[given, column], np.ones_like(given)
        sweeps.append(Sweep(*joined([steps]), held[:, column]))
    return Sweeps({"name": "clip-based"}, tuple(labels), tuple(clips), tuple(sweeps))


def paired(
    said: Iterable[Said], reference: EventArrays, clips: int, labels: Sequence[str]
) -> Iterator[tuple[Said, ClassEvents]]:
    """What is said of each class with what the reference holds of it. Raises ValueError if it is not one for each label."""
    label_indices(labels)
    order = np.lexsort((reference.onset, reference.clip, reference.label))
    label, clip, onset, offset = (
        x[order] for x in (reference.label, reference.clip, reference.onset, reference.offset)
    )
    count = 0
    for own in said:
        begin, end = np.searchsorted(label, [count, count + 1])
        count += 1
        if count > len(labels):
            break
        yield own, ClassEvents(clip_starts(clip[begin:end], clips), onset[begin:end], offset[begin:end])
    if count != len(labels):
        raise ValueError(f"what a system says must be given once for each of the {len(labels)} labels, in their order")


def clip_starts(clip: np.ndarray, clips: int) -> np.ndarray:
    """int64 (clips + 1,): where each clip's events begin, of events in the order of their clips."""
    if len(clip) and not 0 <= clip[0] <= clip[-1] < clips:
        raise ValueError(f"what a system says names clips {clip[0]} to {clip[-1]}, but there are {clips} clips")
    return np.concatenate([[0], np.cumsum(np.bincount(clip, minlength=clips))]).astype(np.int64)


def joined(parts: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The steps of all pieces in the order of the falling threshold: threshold, clip, correct, estimated."""
    if not parts:
        return np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
    level, clip, correct, estimated = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = falling(level)
    return level[order], clip[order], correct[order], estimated[order]
