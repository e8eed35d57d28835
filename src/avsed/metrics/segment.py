"""Segment-based scores: what sounds in each second?

Conventions
-----------
A clip is cut into segments of ``resolution`` seconds, ``ceil(length / resolution)`` of them; its length is its duration where that is
given, else the latest offset of reference and estimate. A class sounds in every segment that one of its events touches:
``floor(onset / resolution)`` up to ``ceil(offset / resolution)``. Counts are of (segment, class) pairs. In each segment, missed and
false classes pair up as substitutions. As ``sed_eval`` counts (Mesaros, Heittola and Virtanen, *Metrics for polyphonic sound event
detection*, 2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from avsed.annotations import Events
from avsed.errors import AnnotationError
from avsed.metrics.counts import Counts, EmptyOutput, Result, summarise
from avsed.metrics.inputs import EventArrays, as_arrays, check_clips

CLIPS = 2000  # clips whose segments are held at once
LONGEST = 2**40  # segments of a clip; so many of them can still be counted in all clips


def segment_based(
    reference: Events,
    estimated: Events,
    *,
    labels: Sequence[str],
    resolution: float,
    durations: Mapping[str, float] | None = None,
    empty_output: EmptyOutput = "zero",
) -> Result:
    """Compare events segment by segment.

    resolution : seconds of a segment
    durations : seconds of each clip; a clip that it lacks ends with its last event

    >>> from avsed.annotations import Event
    >>> result = segment_based({"a": [Event(0.2, 2.5, "Dog")]}, {"a": [Event(1.5, 4.0, "Dog")]}, labels=["Dog"], resolution=1.0)
    >>> result.micro.correct, result.micro.estimated, result.micro.reference
    (2, 3, 3)

    Raises AnnotationError if the estimate holds clips or labels that are not known, or a clip is absurdly long; ValueError if
    resolution is not positive.
    """
    if not resolution > 0:
        raise ValueError(f"the resolution must be positive, got {resolution}")
    check_clips(reference, estimated)
    clips = tuple(reference)
    parts = [
        _count(reference, estimated, clips[begin : begin + CLIPS], labels, resolution, durations or {})
        for begin in range(0, len(clips), CLIPS)
    ]
    counts = Counts(tuple(labels), clips, *(np.concatenate(column) for column in zip(*parts, strict=True)))
    return summarise(counts, {"name": "segment-based", "resolution": resolution}, empty_output=empty_output)


def _count(
    reference: Events,
    estimated: Events,
    clips: Sequence[str],
    labels: Sequence[str],
    resolution: float,
    durations: Mapping[str, float],
) -> tuple[np.ndarray, ...]:
    ref, est = as_arrays(reference, clips, labels), as_arrays(estimated, clips, labels)
    lengths = np.zeros(len(clips))
    for events in (ref, est):
        np.maximum.at(lengths, events.clip, events.offset)
    for row, clip in enumerate(clips):
        if clip in durations:
            lengths[row] = durations[clip]
    segments = segments_of(clips, lengths, resolution)  # (clips,)
    starts = np.cumsum(segments) - segments
    spans = [_spans(events, starts, segments, resolution) for events in (ref, est)]
    # Segments between which no event begins or ends are alike: a stretch of them is held once, with its number of segments.
    stretches = np.unique(np.concatenate([starts, *(place for span in spans for place in (span.first, span.stop))]))
    widths = np.diff(stretches, append=segments.sum())  # (stretches,)
    rolls = [_roll(span, stretches, len(labels)) for span in spans]
    both = rolls[0] & rolls[1]  # (classes, stretches)
    sounding = segments > 0

    def by_clip(values: np.ndarray) -> np.ndarray:
        """int64 (clips, classes) or (clips,): sums over each clip's segments of (classes, stretches) or (stretches,)."""
        sums = np.zeros((len(clips), *values.shape[:-1]), np.int64)
        if sounding.any():
            begins = np.searchsorted(stretches, starts[sounding])
            sums[sounding] = np.add.reduceat(values * widths, begins, axis=-1, dtype=np.int64).T
        return sums

    held, said, right = (x.sum(axis=0) for x in (*rolls, both))  # (stretches,)
    substitutions = np.minimum(held, said) - right
    deletions, insertions = np.maximum(held - said, 0), np.maximum(said - held, 0)
    return tuple(by_clip(x) for x in (*rolls, both, substitutions, deletions, insertions))


def segments_of(clips: Sequence[str], lengths: np.ndarray, resolution: float) -> np.ndarray:
    """int64 (clips,), the number of segments of each clip. Raises AnnotationError, naming the clip, if they cannot be counted."""
    countable = lengths / resolution <= LONGEST  # false for NaN, too
    if not countable.all():
        odd = int(countable.argmin())
        raise AnnotationError(
            f"{clips[odd]}: its length of {lengths[odd]:g} s is too long to cut into segments of {resolution:g} s; "
            "are its times milliseconds or samples?"
        )
    return np.ceil(lengths / resolution).astype(np.int64)


def segment_range(
    onset: np.ndarray, offset: np.ndarray, segments: np.ndarray, resolution: float
) -> tuple[np.ndarray, np.ndarray]:
    """int64 (events,) each: the first segment that an event touches, and the one after its last; segments : those of its clip."""
    first = np.minimum(np.floor(onset / resolution), segments).astype(np.int64)
    return first, np.minimum(np.ceil(offset / resolution), segments).astype(np.int64)


class _Spans(NamedTuple):
    """int64 (events,): each event's class, its first segment and the one after its last, counted through all clips."""

    label: np.ndarray
    first: np.ndarray
    stop: np.ndarray


def _spans(events: EventArrays, starts: np.ndarray, segments: np.ndarray, resolution: float) -> _Spans:
    """The segments of all events that touch one."""
    first, stop = segment_range(events.onset, events.offset, segments[events.clip], resolution)
    first, stop = first + starts[events.clip], stop + starts[events.clip]
    touching = stop > first
    return _Spans(events.label[touching], first[touching], stop[touching])


def _roll(spans: _Spans, stretches: np.ndarray, classes: int) -> np.ndarray:
    """bool (classes, stretches): which classes sound in which stretch.

    stretches : int64, sorted: the first segment of each; every event's first and stop are among them
    """
    row, size = spans.label * len(stretches), classes * len(stretches)
    begins = np.bincount(row + np.searchsorted(stretches, spans.first), minlength=size)
    stops = np.bincount(row + np.searchsorted(stretches, spans.stop), minlength=size)
    # Each event begins and ends in its own row, so that one running sum over all rows is the running sum of each.
    return (np.cumsum(begins - stops) > 0).reshape(classes, -1)
