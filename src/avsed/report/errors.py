"""What kind of error each event is.

Conventions
-----------
Every reference event and every detected event of a clip gets exactly one kind. Two events *belong together* if they are of one class and
share at least ``share`` of the shorter one's length; an event without length belongs to one that holds its time. In this order:

correct
    Matched one to one within the collars, as the event-based score matches (`avsed.metrics.event`).
split
    A reference event to which several detected ones belong; a detected one that belongs to a reference event to which others belong, too.
merged
    A detected event to which several reference events belong; a reference event that shares its only detected one with others.
early onset, late onset, early offset, late offset, both ends
    The two belong to each other alone, but one end, or both, are out of the collars.
wrong label
    To the event belongs nothing of its class, but it is matched one to one with such an event of another class, with which it shares at
    least ``share`` of the time that the two cover together.
missed, false
    What is left: a reference event that was not found, a detected event that is not there.

So the kinds of the reference events add up to their number, those of the detected events to theirs; *correct*, the five of ends and
*wrong label* count the same on both sides (wrong labels not class by class).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avsed.annotations import Event, Events
from avsed.config import MetricsConfig
from avsed.metrics.inputs import check_clips, label_indices
from avsed.metrics.matching import match_greedy, match_optimal

ENDS = ("early onset", "late onset", "early offset", "late offset", "both ends")
KINDS = ("correct", *ENDS, "split", "merged", "wrong label", "missed", "false")


@dataclass(frozen=True)
class Collars:
    """How far an event's ends may be off: seconds, and for the offset a share of the reference event's length.

    larger : whether the larger or the smaller of the two applies to the offset
    optimal : whether as many events as possible are matched, or each with the first that fits
    """

    onset: float
    offset: float
    rate: float
    larger: bool = True
    optimal: bool = True

    @classmethod
    def of(cls, metrics: MetricsConfig) -> Collars:
        """Those of the event-based score."""
        return cls(
            metrics.onset_collar,
            metrics.offset_collar,
            metrics.offset_rate,
            metrics.offset_tolerance == "max",
            metrics.matching == "optimal",
        )

    def ends(self, reference: np.ndarray, estimated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By how much onset and offset are out of their collars: (references, estimates), 0 inside, negative if too early.

        reference, estimated : float64 (n, 2), onset and offset in seconds
        """
        share = self.rate * (reference[:, 1] - reference[:, 0])
        tolerance = (np.maximum if self.larger else np.minimum)(self.offset, share)[:, None]
        off = estimated[None] - reference[:, None]  # (references, estimates, 2)
        return tuple(  # type: ignore[return-value]
            np.where(np.abs(off[..., end]) <= allowed, 0.0, off[..., end])
            for end, allowed in ((0, self.onset), (1, tolerance))
        )


@dataclass(frozen=True)
class ErrorKinds:
    """The kinds of all events.

    labels : the classes
    reference, estimated : the kind of each clip's events, in their order
    """

    labels: tuple[str, ...]
    reference: dict[str, list[tuple[Event, str]]]
    estimated: dict[str, list[tuple[Event, str]]]

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Of reference and detected events: int64 (classes, kinds), columns as in `KINDS`."""
        row, column = label_indices(self.labels), {kind: index for index, kind in enumerate(KINDS)}
        tables = []
        for side in (self.reference, self.estimated):
            table = np.zeros((len(row), len(KINDS)), np.int64)
            for own in side.values():
                for event, kind in own:
                    table[row[event.label], column[kind]] += 1
            tables.append(table)
        return tables[0], tables[1]


def error_kinds(
    reference: Events, estimated: Events, *, labels: Sequence[str], collars: Collars, share: float
) -> ErrorKinds:
    """Sort the events of all clips by kind; see the module's conventions.

    share : in (0, 1]

    >>> found = error_kinds({"a": [Event(0.0, 4.0, "Dog")]}, {"a": [Event(0.0, 1.5, "Dog"), Event(2.5, 4.0, "Dog")]},
    ...                     labels=["Dog"], collars=Collars(0.2, 0.2, 0.2), share=0.5)
    >>> [kind for _, kind in found.reference["a"]], [kind for _, kind in found.estimated["a"]]
    (['split'], ['split', 'split'])

    Raises AnnotationError if the estimate holds clips that the reference lacks; ValueError if ``share`` is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share must lie in (0, 1], got {share}")
    check_clips(reference, estimated)
    held: dict[str, list[tuple[Event, str]]] = {}
    said: dict[str, list[tuple[Event, str]]] = {}
    for clip, own in reference.items():
        kinds = _of_clip(own, estimated.get(clip, []), collars, share)
        held[clip] = list(zip(own, kinds[0], strict=True))
        said[clip] = list(zip(estimated.get(clip, []), kinds[1], strict=True))
    return ErrorKinds(tuple(labels), held, said)


def _of_clip(
    reference: Sequence[Event], estimated: Sequence[Event], collars: Collars, share: float
) -> tuple[list[str], list[str]]:
    ref = np.array([event[:2] for event in reference], np.float64).reshape(-1, 2)
    est = np.array([event[:2] for event in estimated], np.float64).reshape(-1, 2)
    same = np.array([[r.label == e.label for e in estimated] for r in reference], bool).reshape(len(ref), len(est))
    onset, offset = collars.ends(ref, est)
    shorter, together = _joint(ref, est, share)
    kind_ref, kind_est = ["missed"] * len(ref), ["false"] * len(est)

    match = match_optimal if collars.optimal else match_greedy
    matched = match(_pairs(same & (onset == 0) & (offset == 0)))
    for r, e in matched.items():
        kind_ref[r] = kind_est[e] = "correct"

    belong = same & shorter
    of_ref, of_est = belong.sum(1), belong.sum(0)  # how many belong to each
    for r, e in _pairs(belong):
        kind = "split" if of_ref[r] > 1 else "merged" if of_est[e] > 1 else _ends(onset[r, e], offset[r, e])
        free_ref, free_est = r not in matched, kind_est[e] != "correct"
        if kind in ENDS and not (free_ref and free_est):
            continue  # one of them is correct, with an event that it barely touches
        if free_ref:
            kind_ref[r] = kind
        if free_est:
            kind_est[e] = "merged" if of_est[e] > 1 else kind

    alone = ~same & together
    alone &= np.array([kind == "missed" for kind in kind_ref], bool)[:, None]
    alone &= np.array([kind == "false" for kind in kind_est], bool)
    for r, e in match_optimal(_pairs(alone)).items():
        kind_ref[r] = kind_est[e] = "wrong label"
    return kind_ref, kind_est


def _joint(ref: np.ndarray, est: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Whether two events share enough of the shorter one, and enough of what they cover together: bool (references, estimates)."""
    first, last = np.maximum(ref[:, None, 0], est[None, :, 0]), np.minimum(ref[:, None, 1], est[None, :, 1])
    common = last - first  # negative: apart
    lengths = (ref[:, 1] - ref[:, 0])[:, None], (est[:, 1] - est[:, 0])[None]
    shortest, union = np.minimum(*lengths), lengths[0] + lengths[1] - common
    touching = (common > 0) | ((common == 0) & (shortest == 0))
    return touching & (common >= share * shortest), touching & (common >= share * union)


def _ends(onset: float, offset: float) -> str:
    """The kind of two events that belong to each other alone; by how much each end is out of its collar, one of them not 0."""
    if onset and offset:
        return "both ends"
    early, which = (onset or offset) < 0, "onset" if onset else "offset"
    return f"{'early' if early else 'late'} {which}"


def _pairs(linked: np.ndarray) -> list[tuple[int, int]]:
    return [(int(r), int(e)) for r, e in np.argwhere(linked)]
