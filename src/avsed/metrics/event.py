"""Event-based scores: is each event found, with its beginning and its end?

Conventions
-----------
An estimated event may be matched to a reference event of its class and clip if the onsets differ by at most ``onset_collar`` and the
offsets by at most the larger of ``offset_collar`` and ``offset_rate`` times the reference event's length (``offset_tolerance="max"``,
as ``sed_eval`` and DCASE compute it; ``"min"`` takes the smaller, the paper's wording "up to a maximum of 200 ms"). No event is
matched twice. Counts are of events; an empty clip adds nothing but false events. Of the events left over, pairs of different classes
that meet the collars are substitutions. As ``sed_eval`` counts (Mesaros, Heittola and Virtanen, *Metrics for polyphonic sound event
detection*, 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from avsed.annotations import Events
from avsed.metrics.counts import Counts, EmptyOutput, Result, summarise
from avsed.metrics.inputs import EventArrays, as_arrays, check_clips
from avsed.metrics.matching import match_greedy, match_optimal

Matching = Literal["optimal", "greedy"]
Tolerance = Literal["max", "min"]


def event_based(
    reference: Events,
    estimated: Events,
    *,
    labels: Sequence[str],
    onset_collar: float | None,
    offset_collar: float | None,
    offset_rate: float,
    offset_tolerance: Tolerance = "max",
    matching: Matching = "optimal",
    empty_output: EmptyOutput = "zero",
) -> Result:
    """Match events one to one.

    onset_collar, offset_collar : seconds; None to leave onsets or offsets out
    offset_rate : share of the reference event's length; 0 for a collar of seconds alone
    matching : "optimal" matches as many events as possible, "greedy" goes through the lists in their order

    >>> from avsed.annotations import Event
    >>> result = event_based(
    ...     {"a": [Event(0.0, 1.0, "Dog"), Event(2.0, 3.0, "Cat")]},
    ...     {"a": [Event(0.1, 1.2, "Dog"), Event(2.5, 3.0, "Cat")]},
    ...     labels=["Cat", "Dog"], onset_collar=0.2, offset_collar=0.2, offset_rate=0.2)
    >>> result.micro.correct, result.classes["Dog"].f1, result.classes["Cat"].f1, result.macro.f1
    (1, 1.0, 0.0, 0.5)

    Raises AnnotationError if the estimate holds clips or labels that are not known; ValueError if nothing is left to compare.
    """
    if onset_collar is None and offset_collar is None:
        raise ValueError("an event-based score needs an onset collar, an offset collar or both")
    check_clips(reference, estimated)
    clips = tuple(reference)
    ref, est = as_arrays(reference, clips, labels), as_arrays(estimated, clips, labels)
    first, second = _same_clip(ref, est, len(clips))  # indices of all pairs of events within a clip
    near = np.ones(len(first), bool)
    if onset_collar is not None:
        near &= np.abs(ref.onset[first] - est.onset[second]) <= onset_collar
    if offset_collar is not None:
        tolerance = offset_tolerances(ref.offset - ref.onset, offset_collar, offset_rate, offset_tolerance)
        near &= np.abs(ref.offset[first] - est.offset[second]) <= tolerance[first]
    first, second = first[near], second[near]
    same = ref.label[first] == est.label[second]
    pairs = zip(first[same].tolist(), second[same].tolist(), strict=True)
    matched = match_optimal(pairs) if matching == "optimal" else match_greedy(pairs)

    right_ref = np.zeros(len(ref.clip), bool)
    right_est = np.zeros(len(est.clip), bool)
    right_ref[list(matched.keys())] = True
    right_est[list(matched.values())] = True
    left = ~right_ref[first] & ~right_est[second]
    substituted = match_greedy(zip(first[left].tolist(), second[left].tolist(), strict=True))

    shape = len(clips), len(labels)
    held = _table(ref.clip, ref.label, shape)
    said = _table(est.clip, est.label, shape)
    right = _table(ref.clip[right_ref], ref.label[right_ref], shape)
    substitutions = np.bincount(ref.clip[list(substituted)], minlength=len(clips))
    counts = Counts(
        tuple(labels),
        clips,
        held,
        said,
        right,
        substitutions,
        (held - right).sum(axis=1) - substitutions,
        (said - right).sum(axis=1) - substitutions,
    )
    definition = {
        "name": "event-based",
        "onset_collar": onset_collar,
        "offset_collar": offset_collar,
        "offset_rate": offset_rate,
        "offset_tolerance": offset_tolerance,
        "matching": matching,
    }
    return summarise(counts, definition, empty_output=empty_output)


def offset_tolerances(
    lengths: np.ndarray, offset_collar: float | None, offset_rate: float, offset_tolerance: Tolerance
) -> np.ndarray:
    """float64 (events,), seconds by which the offset of reference events of these lengths may be missed; inf without a collar."""
    if offset_collar is None:
        return np.full(len(lengths), np.inf)
    return (np.maximum if offset_tolerance == "max" else np.minimum)(offset_collar, offset_rate * lengths)


def _same_clip(ref: EventArrays, est: EventArrays, clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of every pair of a reference and an estimated event of the same clip, sorted."""
    sizes = np.bincount(est.clip, minlength=clips)  # events of each clip; they lie side by side
    starts = np.cumsum(sizes) - sizes
    partners = sizes[ref.clip]
    first = np.repeat(np.arange(len(ref.clip)), partners)
    place = np.arange(len(first)) - np.repeat(np.cumsum(partners) - partners, partners)
    return first, starts[ref.clip[first]] + place


def _table(clip: np.ndarray, label: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.bincount(clip * shape[1] + label, minlength=shape[0] * shape[1]).reshape(shape)
