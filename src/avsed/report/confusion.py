"""Which class is taken for which, segment by segment.

Conventions
-----------
In each segment (as the segment-based score cuts clips, `avsed.metrics.segment`) some classes sound and some are detected. What is in both
is right. Of the others nobody can say which missed class was heard as which false one, so that each pair counts alike: with m missed
and f false classes in a segment there are min(m, f) substitutions, of which every pair gets min(m, f) / (m · f). What is missed beyond
that goes to *nothing*, as what is false beyond it comes from nothing::

    sounds     Dog Cat        Dog -> Dog 1, Cat -> Rain 1
    detected   Dog Rain

So a row's sum is the number of segments in which its class sounds, a column's in which it is detected; everything off the diagonal
adds up to the substitutions, deletions and insertions of the segment-based score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from avsed.annotations import Event, Events
from avsed.metrics.inputs import check_clips, label_indices


def segment_confusion(
    reference: Events,
    estimated: Events,
    *,
    labels: Sequence[str],
    resolution: float,
    durations: Mapping[str, float],
) -> np.ndarray:
    """Count, in segments, which class was detected where which sounds.

    resolution : seconds of a segment
    durations : seconds of each clip; a clip that it lacks ends with its last event
    Returns float64 (classes + 1, classes + 1): rows sound, columns are detected, the last of each is *nothing* (their corner is 0).

    Raises AnnotationError if the estimate holds clips or labels that are not known.

    >>> segment_confusion({"a": [Event(0, 1, "Cat"), Event(0, 2, "Dog")]}, {"a": [Event(0, 2, "Dog"), Event(0, 1, "Rain")]},
    ...                   labels=["Cat", "Dog", "Rain"], resolution=1.0, durations={"a": 2.0})
    array([[0., 0., 1., 0.],
           [0., 2., 0., 0.],
           [0., 0., 0., 0.],
           [0., 0., 0., 0.]])
    """
    check_clips(reference, estimated)
    index = label_indices(labels)
    none = len(index)
    table = np.zeros((none + 1, none + 1))
    for clip, own in reference.items():
        said = estimated.get(clip, [])
        length = durations.get(clip, max((event.offset for event in [*own, *said]), default=0.0))
        segments = int(np.ceil(length / resolution))
        ref, est = (_roll(events, index, segments, resolution) for events in (own, said))
        missed, false = ref & ~est, est & ~ref  # (segments, classes)
        m, f = missed.sum(1), false.sum(1)
        both = np.minimum(m, f)
        pair = np.divide(both, m * f, where=both > 0, out=np.zeros(segments))
        table[:none, :none] += (missed * pair[:, None]).T @ false.astype(np.float64)
        table[np.arange(none), np.arange(none)] += (ref & est).sum(0)
        table[:none, none] += missed.T @ (1 - np.divide(both, m, where=m > 0, out=np.zeros(segments)))
        table[none, :none] += false.T @ (1 - np.divide(both, f, where=f > 0, out=np.zeros(segments)))
    return table


def _roll(events: Sequence[Event], index: Mapping[str, int], segments: int, resolution: float) -> np.ndarray:
    """bool (segments, classes)"""
    roll = np.zeros((segments, len(index)), bool)
    for event in events:
        first, stop = int(np.floor(event.onset / resolution)), int(np.ceil(event.offset / resolution))
        roll[first:stop, index[event.label]] = True
    return roll
