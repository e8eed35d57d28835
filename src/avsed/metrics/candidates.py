"""What a system says at each threshold: the events of one class that come and go as the threshold falls.

Conventions
-----------
A score says an event where it is at least the threshold, as everywhere in avsed. An event that is said at some thresholds only is a
candidate, said for ``low < threshold <= high``:

* a curve of frame scores says each stretch of neighbouring frames that reach the threshold; a stretch is replaced by a longer one where
  the threshold falls to a score beside it. These are the nodes of the curve's max-tree, at most one for each frame: they hold what
  all thresholds say, exactly (Ebbers, Haeb-Umbach and Serizel, *Threshold independent evaluation of sound event detection scores*,
  ICASSP 2022, go through all thresholds, too). Stretches without a millisecond, in which tables are written, are left out as in
  `events_from_decisions`;
* an event with a confidence is said at its confidence and below;
* an event of a list without confidences is said at all thresholds;
* an operating point is a list of events said at its threshold, and down to that of the next point.

At a threshold below all scores a curve says one event of the whole clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from avsed.annotations import Event, Events
from avsed.errors import ScoresError, nearest
from avsed.metrics.inputs import EventArrays, as_arrays, check_clips, label_indices
from avsed.scores import Scores

PIECE = 2**20  # frames whose candidates are made at once


@dataclass(frozen=True)
class Candidates:
    """Events of one class that a system says for some thresholds and not for others.

    clip : int64 (n,), index of the clip, non-decreasing
    onset, offset : float64 (n,), seconds
    low, high : float64 (n,): said for every threshold t with low < t <= high

    Raises ValueError if the arrays do not fit together, clips decrease, or low is not below high.
    """

    clip: np.ndarray
    onset: np.ndarray
    offset: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __post_init__(self) -> None:
        shapes = {name: np.shape(value) for name, value in vars(self).items()}
        if len(set(shapes.values())) != 1 or self.clip.ndim != 1:
            raise ValueError(f"the arrays of candidates must be of one length, got {shapes}")
        if np.any(np.diff(self.clip) < 0):
            raise ValueError("the candidates' clips must not decrease")
        if not np.all(self.low < self.high):
            raise ValueError("a candidate's low must be below its high; is a confidence not a number?")

    def pieces(self) -> Iterator[Candidates]:
        """The candidates, all at once."""
        yield self

    def at(self, threshold: float) -> Candidates:
        """Only what is said at the threshold."""
        return self.only((self.low < threshold) & (threshold <= self.high))

    def only(self, keep: np.ndarray) -> Candidates:
        """Some of the candidates; keep : bool (n,)."""
        if keep.all():
            return self
        return Candidates(self.clip[keep], self.onset[keep], self.offset[keep], self.low[keep], self.high[keep])


@dataclass(frozen=True)
class Curves:
    """Frame scores of one class in many clips; their candidates are made piece by piece, so that many of them take little memory.

    clip : int64 (k,), index of each clip, increasing; starts : int64 (k + 1,), where its frames begin
    values : float32 (frames,), in [0, 1]; boundaries : float64 (frames + k,), seconds: those of clip i at starts[i] + i
    """

    clip: np.ndarray
    starts: np.ndarray
    values: np.ndarray
    boundaries: np.ndarray

    def pieces(self) -> Iterator[Candidates]:
        """The candidates of some clips at a time."""
        from avsed.metrics.kernels import stretches

        begin = 0
        while begin < len(self.clip):
            limit = self.starts[begin] + PIECE
            end = max(begin + 1, int(np.searchsorted(self.starts, limit, side="right")) - 1)
            frames = self.values[self.starts[begin] : self.starts[end]]
            row, first, stop, low, high = stretches(frames, self.starts[begin : end + 1] - self.starts[begin])
            row += begin
            onset, offset = (self.boundaries[self.starts[row] + row + edge] for edge in (first, stop))
            kept = np.round(offset, 3) > np.round(onset, 3)
            yield Candidates(self.clip[row], onset, offset, low, high).only(kept)
            begin = end

    def candidates(self) -> Candidates:
        """All candidates at once."""
        return _joined(list(self.pieces()))


Said = Candidates | Curves  # what a system says of one class


def frames_of(one: Scores, columns: Sequence[int]) -> np.ndarray:
    """The frame scores of some classes as they are, float32 (frames, chosen classes)."""
    return one.frames[:, columns]


def curves_of_scores(
    scores: Iterable[Scores],
    *,
    clips: Sequence[str],
    labels: Sequence[str],
    block: int | None = None,
    take: Callable[[Scores, Sequence[int]], np.ndarray] = frames_of,
) -> Iterator[Curves]:
    """The score curves of each class, in the order of ``labels``.

    clips : names of all clips, those without scores included
    block : so many classes are held at once: ``scores`` is gone through once for every block, and must be iterable again and again;
        None for all classes at once
    take : makes the curves of some columns of a clip's scores, float32 (frames, chosen classes); a filter, for instance

    Raises ScoresError if a class has no scores, or a clip has them twice; AnnotationError if a clip is not known.
    """
    label_indices(labels)
    index = {clip: row for row, clip in enumerate(clips)}
    if block is not None and iter(scores) is scores and block < len(labels):
        raise ScoresError("scores that are read class by class must be a list, or be iterable more than once")
    for begin in range(0, len(labels), block or len(labels)):
        own = labels[begin : begin + (block or len(labels))]
        rows: list[int] = []
        frames: list[np.ndarray] = []  # each (classes, frames)
        boundaries: list[np.ndarray] = []
        classes: tuple[str, ...] | None = None
        for one in scores:
            if one.clip not in index:
                check_clips(index, {one.clip: None})
            rows.append(index[one.clip])
            if one.classes != classes:
                classes, columns = one.classes, columns_of(one, own)
            frames.append(take(one, columns).T)
            boundaries.append(one.boundaries)
        order = np.argsort(rows, kind="stable")
        clip = np.asarray(rows, np.int64)[order]
        if (twice := np.flatnonzero(np.diff(clip) == 0)).size:
            raise ScoresError(f"{clips[clip[twice[0]]]}: scores are given twice")
        sizes = np.array([frames[place].shape[1] for place in order], np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        times = np.concatenate([boundaries[place] for place in order]) if rows else np.empty(0)
        for row in range(len(own)):
            values = np.concatenate([frames[place][row] for place in order]) if rows else np.empty(0, np.float32)
            yield Curves(clip, starts, values.astype(np.float32, copy=False), times)


def candidates_of_scores(scores: Iterable[Scores], *, clips: Sequence[str], labels: Sequence[str]) -> list[Candidates]:
    """The candidates of each class, in the order of ``labels``; many clips and classes take less memory as `curves_of_scores`.

    >>> import numpy as np
    >>> frames, times = np.float32([[0.25], [0.75], [0.5], [0.75]]), np.arange(5.0)
    >>> one = candidates_of_scores([Scores("a", ("Dog",), frames, times, frames[0])], clips=["a"], labels=["Dog"])[0]
    >>> [(float(x.onset[0]), float(x.offset[0])) if len(x.clip) == 1 else len(x.clip) for x in map(one.at, (0.7, 0.5, 0.2))]
    [2, (1.0, 4.0), (0.0, 4.0)]

    Raises what `curves_of_scores` raises.
    """
    return [curves.candidates() for curves in curves_of_scores(scores, clips=clips, labels=labels)]


def candidates_of_boxes(
    boxes: Mapping[str, Iterable[tuple[Event, float]]], *, clips: Sequence[str], labels: Sequence[str]
) -> list[Candidates]:
    """Events with a confidence (sound event bounding boxes): each is said at its confidence and below.

    boxes : for each clip its events, each with its confidence
    Raises AnnotationError if a clip or label is not known; ValueError if a confidence is not a number.
    """
    pairs = {clip: list(own) for clip, own in boxes.items()}
    known = _known({clip: [event for event, _ in own] for clip, own in pairs.items()}, clips, labels)
    confidence = np.array([value for clip in clips for _, value in pairs.get(clip, ())], np.float64)
    return _by_class(known, np.full(len(confidence), -np.inf), confidence, len(labels))


def candidates_of_events(events: Events, *, clips: Sequence[str], labels: Sequence[str]) -> list[Candidates]:
    """A list of events: each is said at all thresholds. Raises AnnotationError if a clip or label is not known."""
    known = _known(events, clips, labels)
    size = len(known.clip)
    return _by_class(known, np.full(size, -np.inf), np.full(size, np.inf), len(labels))


def candidates_of_points(
    points: Iterable[tuple[float, Events]], *, clips: Sequence[str], labels: Sequence[str]
) -> list[Candidates]:
    """Operating points: each list is said between its threshold and the next lower one, the last one at all lower thresholds.

    Raises AnnotationError if a clip or label is not known; ValueError if there are no points, or two at one threshold.
    """
    falling = sorted(points, key=lambda point: -point[0])
    levels = [threshold for threshold, _ in falling]
    if not levels or not all(above > below for above, below in pairwise(levels)):
        raise ValueError(f"operating points need thresholds, each another one; got {levels}")
    parts: list[list[Candidates]] = []
    for (threshold, events), low in zip(falling, [*levels[1:], -np.inf], strict=True):
        known = _known(events, clips, labels)
        size = len(known.clip)
        parts.append(_by_class(known, np.full(size, low), np.full(size, threshold), len(labels)))
    return [_joined(list(own)) for own in zip(*parts, strict=True)]


def _known(events: Events, clips: Sequence[str], labels: Sequence[str]) -> EventArrays:
    check_clips(dict.fromkeys(clips), events)
    return as_arrays(events, clips, labels)


def _by_class(events: EventArrays, low: np.ndarray, high: np.ndarray, classes: int) -> list[Candidates]:
    if np.any(np.isnan(high)):
        raise ValueError("a confidence must be a number, got NaN")
    if np.any(high == -np.inf):
        raise ValueError("a confidence must be greater than minus infinity")
    result = []
    for label in range(classes):
        own = events.label == label
        result.append(Candidates(events.clip[own], events.onset[own], events.offset[own], low[own], high[own]))
    return result


def _joined(parts: Sequence[Candidates]) -> Candidates:
    """Candidates of several pieces, in the order of their clips."""
    if not parts:
        return Candidates(np.empty(0, np.int64), *(np.empty(0) for _ in range(4)))
    columns = [np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Candidates(*(column[order] for column in columns))


def columns_of(scores: Scores, labels: Sequence[str]) -> list[int]:
    """The column of each label in the scores of a clip. Raises ScoresError if a label has none."""
    place = {label: column for column, label in enumerate(scores.classes)}
    for label in labels:
        if label not in place:
            raise ScoresError(f"{scores.clip}: no scores of class {label!r}{nearest(label, scores.classes)}")
    return [place[label] for label in labels]
