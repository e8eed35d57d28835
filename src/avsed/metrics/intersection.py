"""Intersection-based scores: is each event covered, however it is cut into pieces?

Conventions
-----------
An estimated event is *relevant* if reference events of its class cover at least the share ``dtc`` of it (detection tolerance), else it is
false. A reference event is found if relevant events cover at least the share ``gtc`` of it (ground truth intersection). Several estimated
events may find one event together, and one may find several; so

* correct (C) counts reference events that are found, reference (R) all of them,
* estimated (E) = C + false events, which makes precision C / (C + false) and recall C / R.

That is how ``psds_eval`` (``compute_macro_f_score``) and ``sed_scores_eval`` define F1 (Bilen et al., *A framework for the robust
evaluation of sound event detection*, ICASSP 2020). Nothing is matched one to one, so no pairs of classes are substitutions.

Where events of one class overlap, in the reference or in the estimate, a stretch of time is covered once: shares are those of the union,
so none exceeds 1. (``psds_eval`` and ``sed_scores_eval`` reject overlapping events.) Each event still counts by itself.
Lengths are compared to the microsecond, as ``sed_scores_eval`` does: 0.7 of an event is covered by 0.7 of it, whatever the last binary
digit. Events without length are left out on both sides, as in ``psds_eval``. An event past the end of its clip is false
(``psds_eval`` ignores it).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from avsed.annotations import Events
from avsed.metrics.candidates import Said, candidates_of_events
from avsed.metrics.counts import Counts, EmptyOutput, Result, summarise
from avsed.metrics.inputs import EventArrays, as_arrays
from avsed.metrics.sweep import Sweep, Sweeps, falling
from avsed.metrics.sweeps import ClassEvents, clip_starts, joined, paired

NO_TRIGGERS = 2.0  # a share that nothing reaches


def intersection_based(
    reference: Events,
    estimated: Events,
    *,
    labels: Sequence[str],
    dtc: float,
    gtc: float,
    empty_output: EmptyOutput = "zero",
) -> Result:
    """Compare events by the time that they share: an event list is one operating point of `intersection_sweep`.

    dtc : share of an estimated event that reference events must cover, in (0, 1]
    gtc : share of a reference event that relevant estimated events must cover, in (0, 1]

    >>> from avsed.annotations import Event
    >>> result = intersection_based(
    ...     {"a": [Event(0.0, 2.0, "Dog"), Event(4.0, 6.0, "Dog")]},
    ...     {"a": [Event(0.0, 0.8, "Dog"), Event(1.0, 1.9, "Dog"), Event(3.0, 4.5, "Dog")]},
    ...     labels=["Dog"], dtc=0.5, gtc=0.5)
    >>> result.micro.correct, result.micro.estimated, result.micro.reference  # one found by two pieces, one false event
    (1, 2, 2)

    Raises AnnotationError if the estimate holds clips or labels that are not known; ValueError if a share is out of range.
    """
    clips = tuple(reference)
    said = candidates_of_events(estimated, clips=clips, labels=labels)
    held, found, right = intersection_sweep(said, reference, labels=labels, dtc=dtc, gtc=gtc).at(0.0)
    none = np.zeros(len(clips), np.int64)
    missed, false = (held - right).sum(axis=1), (found - right).sum(axis=1)
    counts = Counts(tuple(labels), clips, held, found, right, none, missed, false)
    return summarise(counts, _definition(dtc, gtc), empty_output=empty_output)


def intersection_sweep(
    said: Iterable[Said], reference: Events, *, labels: Sequence[str], dtc: float, gtc: float
) -> Sweeps:
    """Intersection-based counts at all thresholds.

    said : what the system says of each class, in the order of ``labels``
    dtc, gtc : shares in (0, 1]

    Raises AnnotationError if a label of the reference is not known; ValueError if a share is out of range, or ``said`` does not fit
    ``labels``.
    """
    check_share(dtc=dtc, gtc=gtc)
    clips = tuple(reference)
    events = with_length(as_arrays(reference, clips, labels))
    sweeps = []
    for label, (own, held) in enumerate(paired(said, events, len(clips), labels)):
        mine = events.label == label
        groups = grouped(EventArrays(*(column[mine] for column in events)), len(clips), len(labels))
        steps = steps_of(own, held, groups, label, dtc=dtc, gtc=gtc, cttc=None)
        estimated = steps.correct + steps.false
        changed = (steps.correct != 0) | (estimated != 0)
        parts = tuple(x[changed] for x in (steps.threshold, steps.clip, steps.correct, estimated))
        sweeps.append(Sweep(*joined([parts]), np.diff(held.starts)))
    return Sweeps(_definition(dtc, gtc), tuple(labels), clips, tuple(sweeps))


class Steps(NamedTuple):
    """What happens to one class as the threshold falls.

    threshold : float64 (steps,), non-increasing; clip : int64 (steps,)
    correct, false : int64 (steps,), changes of the clip's reference events found, and of its false events
    trigger_starts : int64 (steps + 1,); trigger_label, trigger_change : int64 (triggers,): with which other classes the false events of
    a step share time, and how many more
    """

    threshold: np.ndarray
    clip: np.ndarray
    correct: np.ndarray
    false: np.ndarray
    trigger_starts: np.ndarray
    trigger_label: np.ndarray
    trigger_change: np.ndarray


class Groups(NamedTuple):
    """Reference events by clip and class, overlapping ones joined; see `intersection_kernels`."""

    starts: np.ndarray
    label: np.ndarray
    span_starts: np.ndarray
    onset: np.ndarray
    offset: np.ndarray


def grouped(events: EventArrays, clips: int, classes: int) -> Groups:
    """Group events with length by clip and class."""
    from avsed.metrics.intersection_kernels import join_overlapping

    key = events.clip * classes + events.label
    order = np.lexsort((events.onset, key))
    key, onset, offset = key[order], events.onset[order], events.offset[order]
    left = join_overlapping(key, onset, offset)
    names, sizes = np.unique(key[:left], return_counts=True)
    starts = clip_starts(names // classes, clips)
    spans = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Groups(starts, names % classes, spans, onset[:left], offset[:left])


def steps_of(
    said: Said, held: ClassEvents, groups: Groups, label: int, *, dtc: float, gtc: float, cttc: float | None
) -> Steps:
    """All steps of the class ``label``; cttc : share of a false event that another class must cover, None not to look at others."""
    from avsed.metrics.intersection_kernels import intersection_steps, judge
    from avsed.metrics.kernels import changes

    parts = []
    for piece in said.pieces():
        own = piece.only(piece.offset > piece.onset)
        starts = clip_starts(own.clip, len(held.starts) - 1)
        judged = judge(label, dtc, NO_TRIGGERS if cttc is None else cttc, starts, own.onset, own.offset, *groups)
        changing = changes(starts, own.low, own.high, _kinds(*judged))
        candidates = starts, own.onset, own.offset
        parts.append(Steps(*intersection_steps(gtc, changing, candidates, judged, groups[:2], tuple(held))))
    return _joined(parts)


def _kinds(relevant: np.ndarray, edges: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """int64 (events,): false events that no other class triggers, or the same single one, are of one kind; others of their own."""
    number = np.diff(ends)
    first = np.append(edges, 0)[ends[:-1]]
    kind = np.where(number == 0, -1, -2 - first)
    return np.where(relevant | (number > 1), np.arange(len(kind)), kind)


def _joined(parts: Sequence[Steps]) -> Steps:
    """The steps of all pieces in the order of the falling threshold."""
    if not parts:
        none = np.empty(0, np.int64)
        return Steps(np.empty(0), none, none, none, np.zeros(1, np.int64), none, none)
    level, clip, correct, false = (np.concatenate(column) for column in zip(*(part[:4] for part in parts), strict=True))
    number = np.concatenate([np.diff(part.trigger_starts) for part in parts])
    label = np.concatenate([part.trigger_label for part in parts])
    change = np.concatenate([part.trigger_change for part in parts])
    order = falling(level)
    begins = (np.cumsum(number) - number)[order]
    number = number[order]
    starts = np.concatenate([[0], np.cumsum(number)]).astype(np.int64)
    place = np.arange(starts[-1]) + np.repeat(begins - starts[:-1], number)
    return Steps(level[order], clip[order], correct[order], false[order], starts, label[place], change[place])


def with_length(events: EventArrays) -> EventArrays:
    """Only events that end after they begin."""
    lasting = events.offset > events.onset
    return EventArrays(*(column[lasting] for column in events))


def check_share(**shares: float) -> None:
    """Raises ValueError if a share, such as dtc, is not in (0, 1]."""
    for name, value in shares.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name} is a share of an event, greater than 0 and at most 1; got {value}")


def _definition(dtc: float, gtc: float) -> dict[str, object]:
    return {"name": "intersection-based", "dtc": dtc, "gtc": gtc}
