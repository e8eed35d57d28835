"""Polyphonic sound detection score (PSDS): how many events are found at how many false ones, over all thresholds.

Conventions
-----------
Bilen et al., *A framework for the robust evaluation of sound event detection* (ICASSP 2020); over all thresholds instead of some, as
Ebbers, Haeb-Umbach and Serizel, *Threshold independent evaluation of sound event detection scores* (ICASSP 2022). What is found and
what is false say ``dtc`` and ``gtc``, as in `intersection`, overlapping events included. Then, for each class and threshold:

* the true positive ratio is the share of the reference events that are found;
* a false event is a cross-trigger of every other class whose reference events cover at least the share ``cttc`` of it;
* the effective false positive rate, per hour, is ``false / duration of all clips + alpha_ct * mean over the other classes (cross-triggers /
  duration of that class's events)``.

A class's curve is a staircase: the greatest ratio that any threshold reaches at no more than that rate. Over classes, at each rate,
the effective ratio is ``mean - alpha_st * standard deviation``, where that is positive. PSDS is the area under it from rate 0 to
``e_max``, divided by ``e_max``; a class's own value is the area under its own staircase.

A class that the reference lacks is left out altogether: it has no value (NaN), and is no other class in the mean of the
cross-trigger rates; what is said of it costs nothing. (``sed_scores_eval`` refuses such a class, ``psds_eval`` does not look at it.)
In a resample of the clips, durations, classes and the mean over them are those of the resample.
Otherwise equal to ``sed_scores_eval`` for scores, and to ``psds_eval`` for operating points (`candidates_of_points`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from avsed.annotations import Durations, Events
from avsed.errors import AnnotationError
from avsed.metrics.candidates import Said
from avsed.metrics.inputs import as_arrays
from avsed.metrics.intersection import Groups, Steps, check_share, grouped, steps_of, with_length
from avsed.metrics.sweep import checked, last_of_each
from avsed.metrics.sweeps import paired

HOUR = 3600.0
BLOCK = 2**24  # values of staircases held at once in resampling


@dataclass(frozen=True)
class PsdsParameters:
    """What a PSDS is sensitive to.

    dtc, gtc : shares in (0, 1], see `intersection_based`
    cttc : share of a false event that another class's events must cover for a cross-trigger, in (0, 1]; None if alpha_ct is 0
    alpha_ct : weight of cross-triggers, in [0, 1]; alpha_st : weight of the differences between classes, >= 0
    e_max : greatest effective false positive rate, per hour, > 0
    """

    dtc: float
    gtc: float
    cttc: float | None
    alpha_ct: float
    alpha_st: float
    e_max: float

    def __post_init__(self) -> None:
        check_share(dtc=self.dtc, gtc=self.gtc)
        if (self.cttc is None) != (self.alpha_ct == 0):
            raise ValueError(
                f"cttc and alpha_ct go together: a share and a weight, or None and 0; got {self.cttc} and {self.alpha_ct}"
            )
        if self.cttc is not None:
            check_share(cttc=self.cttc)
        if not (0 <= self.alpha_ct <= 1 and 0 <= self.alpha_st < np.inf and 0 < self.e_max < np.inf):
            raise ValueError(f"PSDS needs alpha_ct in [0, 1], alpha_st >= 0 and e_max > 0; got {self}")


# DCASE 2021 task 4: 1 asks for exact times, 2 not to confuse classes.
SCENARIOS: Mapping[int, PsdsParameters] = {
    1: PsdsParameters(dtc=0.7, gtc=0.7, cttc=None, alpha_ct=0.0, alpha_st=1.0, e_max=100.0),
    2: PsdsParameters(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5, alpha_st=1.0, e_max=100.0),
}


class Staircase(NamedTuple):
    """From each effective false positive rate (per hour, increasing) on, the ratio is this: float64 (points,) each.

    Before the first rate it is 0. Rates beyond e_max are included.
    """

    rate: np.ndarray
    ratio: np.ndarray


@dataclass(frozen=True)
class Psds:
    """A PSDS. definition : its name and parameters; tracks : what `resampled` needs of each class, None if not kept.

    value : the PSDS; classes : each class's own, NaN for a class that the reference lacks
    curves : each class's staircase; references : each class's reference events
    """

    definition: Mapping[str, Any]
    labels: tuple[str, ...]
    clips: tuple[str, ...]
    parameters: PsdsParameters
    value: float
    classes: Mapping[str, float]
    curves: Mapping[str, Staircase]
    references: Mapping[str, int]
    durations: np.ndarray  # float64 (clips,), seconds
    lengths: Lengths
    tracks: tuple[Track, ...] | None

    @cached_property
    def roc(self) -> Staircase:
        """The curve under which PSDS is the area: the effective ratio of all classes together. It may fall."""
        present = [curve for label, curve in self.curves.items() if self.references[label]]
        if not present:
            return Staircase(np.empty(0), np.empty(0))
        rate = np.unique(np.concatenate([curve.rate for curve in present]))
        mean, square = np.zeros(len(rate)), np.zeros(len(rate))
        ratios = [np.append(0.0, c.ratio)[np.searchsorted(c.rate, rate, side="right")] for c in present]
        for ratio in ratios:
            mean += ratio / len(present)
        for ratio in ratios:
            square += (ratio - mean) ** 2 / len(present)
        return Staircase(rate, np.maximum(mean - self.parameters.alpha_st * np.sqrt(square), 0.0))

    def resampled(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """PSDS of resampled clips, each with its own durations.

        weights : int64 (resamples, clips), how often each clip was drawn
        Returns psds : float64 (resamples,); class_psds : float64 (resamples, classes).

        Raises ValueError if the steps were not kept.
        """
        if self.tracks is None:
            raise ValueError(
                "this PSDS was computed with keep_steps=False: compute it with keep_steps=True to resample it"
            )
        weights = checked(weights, len(self.clips))
        held = max(1, sum(self.references.values()))  # a resample holds about as many
        block = max(1, BLOCK // held)
        parts = [
            _evaluate(self.tracks, weights[begin : begin + block], self.durations, self.lengths, self.parameters)[:2]
            for begin in range(0, max(1, len(weights)), block)
        ]
        together, each = (np.concatenate(column) for column in zip(*parts, strict=True))
        return {"psds": together, "class_psds": each}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; null where a number is not defined."""
        return {
            "definition": dict(self.definition),
            "psds": None if np.isnan(self.value) else self.value,
            "classes": {
                label: {"psds": None if np.isnan(value) else value, "reference": self.references[label]}
                for label, value in self.classes.items()
            },
        }


class Track(NamedTuple):
    """The steps of one class, small: last : bool (steps,), the last at its threshold; the others as in `Steps`, int32.

    reference : int32 (clips,), its reference events
    """

    last: np.ndarray
    clip: np.ndarray
    correct: np.ndarray
    false: np.ndarray
    trigger_starts: np.ndarray
    trigger_label: np.ndarray
    trigger_change: np.ndarray
    reference: np.ndarray


class Lengths(NamedTuple):
    """Seconds in which a class sounds in a clip, as far as the reference holds it: int64, int64 and float64 (pairs,)."""

    clip: np.ndarray
    label: np.ndarray
    seconds: np.ndarray


def psds(
    said: Iterable[Said],
    reference: Events,
    *,
    labels: Sequence[str],
    durations: Durations,
    parameters: PsdsParameters,
    keep_steps: bool = True,
) -> Psds:
    """PSDS over all thresholds at which the system says something else.

    said : what the system says of each class, in the order of ``labels``; classes are worked off one by one
    durations : seconds of each clip of the reference; those of other clips are not looked at
    parameters : such as ``SCENARIOS[1]``
    keep_steps : keep what `Psds.resampled` needs, about 20 bytes for each step; without, only the staircases stay in memory

    >>> from avsed.annotations import Event
    >>> from avsed.metrics import candidates_of_boxes
    >>> boxes = {"a": [(Event(0.0, 1.0, "Dog"), 0.9), (Event(5.0, 6.0, "Dog"), 0.6), (Event(2.0, 3.0, "Dog"), 0.4)]}
    >>> said = candidates_of_boxes(boxes, clips=["a"], labels=["Dog"])
    >>> reference = {"a": [Event(0.0, 1.0, "Dog"), Event(2.0, 3.0, "Dog")]}
    >>> result = psds(said, reference, labels=["Dog"], durations={"a": 90.0}, parameters=SCENARIOS[1])
    >>> result.value, result.curves["Dog"].rate.tolist(), result.curves["Dog"].ratio.tolist()  # one false event: 40 an hour
    (0.8, [0.0, 40.0], [0.5, 1.0])

    Raises AnnotationError if a label of the reference is not known, or a clip has no duration; ValueError if ``said`` does not fit
    ``labels``.
    """
    clips = tuple(reference)
    seconds = _durations(clips, durations)
    events = with_length(as_arrays(reference, clips, labels))
    groups = grouped(events, len(clips), len(labels))
    lengths = _lengths(groups)
    ones = np.ones((1, len(clips)), np.int64)
    kept: list[Track] = []

    def tracks() -> Iterator[Track]:
        for label, (own, held) in enumerate(paired(said, events, len(clips), labels)):
            steps = steps_of(own, held, groups, label, dtc=parameters.dtc, gtc=parameters.gtc, cttc=parameters.cttc)
            track = _track(steps, np.diff(held.starts))
            if keep_steps:
                kept.append(track)
            yield track

    counts = np.bincount(events.label, minlength=len(labels))
    value, each, stairs = _evaluate(tracks(), ones, seconds, lengths, parameters, sizes=counts[None])
    return Psds(
        {"name": "psds", **asdict(parameters)},
        tuple(labels),
        clips,
        parameters,
        float(value[0]),
        dict(zip(labels, each[0].tolist(), strict=True)),
        {label: _staircase(own) for label, own in zip(labels, np.split(stairs, np.cumsum(counts)[:-1]), strict=True)},
        dict(zip(labels, counts.tolist(), strict=True)),
        seconds,
        lengths,
        tuple(kept) if keep_steps else None,
    )


def _evaluate(
    tracks: Iterable[Track],
    weights: np.ndarray,
    durations: np.ndarray,
    lengths: Lengths,
    parameters: PsdsParameters,
    sizes: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PSDS of resamples: together (resamples,), each (resamples, classes), and all staircases one after another.

    sizes : int64 (resamples, classes), reference events of each resample; counted from the tracks if not given
    """
    from avsed.metrics.psds_kernels import areas, staircases

    if sizes is None:
        tracks = list(tracks)
        sizes = np.stack([weights @ track.reference.astype(np.int64) for track in tracks], axis=1)
    resamples, classes = sizes.shape
    ends = np.cumsum(sizes).reshape(sizes.shape)
    places = ends - sizes
    rates = np.empty(int(sizes.sum()))
    hours = (
        np.array([np.sum(row * durations) for row in weights]) / HOUR
    )  # row by row: the same sum for any number of rows
    per_trigger = np.zeros((resamples, classes))
    if parameters.alpha_ct:
        for b in range(resamples):
            own = np.bincount(lengths.label, weights[b][lengths.clip] * lengths.seconds, minlength=classes) / HOUR
            others = int(np.count_nonzero(sizes[b])) - 1
            known = own > 0
            if others > 0:
                per_trigger[b, known] = parameters.alpha_ct / own[known] / others
    with np.errstate(divide="ignore"):
        per_false = 1 / hours
    for label, track in enumerate(tracks):
        staircases(label, tuple(track[:-1]), weights, per_false, per_trigger, rates, places, sizes)
    together, each = areas(rates, places, sizes, float(parameters.alpha_st), float(parameters.e_max))
    return together, each, rates


def _track(steps: Steps, reference: np.ndarray) -> Track:
    small = (column.astype(np.int32) for column in (*steps[1:], reference))
    return Track(last_of_each(steps.threshold), *small)


def _staircase(least: np.ndarray) -> Staircase:
    """The points of a staircase from the least rates at which 1, 2, ... events are found."""
    reached = np.isfinite(least)
    corners = reached & np.append(least[1:] != least[:-1], True)[: len(least)]
    return Staircase(least[corners], (np.flatnonzero(corners) + 1) / max(1, len(least)))


def _lengths(groups: Groups) -> Lengths:
    seconds = np.zeros(len(groups.label))
    spans = np.repeat(np.arange(len(groups.label)), np.diff(groups.span_starts))
    np.add.at(seconds, spans, groups.offset - groups.onset)
    return Lengths(np.repeat(np.arange(len(groups.starts) - 1), np.diff(groups.starts)), groups.label, seconds)


def _durations(clips: Sequence[str], durations: Durations) -> np.ndarray:
    """float64 (clips,), seconds. Raises AnnotationError naming clips without a duration."""
    lacking = [clip for clip in clips if clip not in durations]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise AnnotationError(
            f"PSDS counts false events per hour and needs each clip's duration; there is none of {', '.join(lacking[:3])}{more}"
        )
    seconds = np.array([durations[clip] for clip in clips], np.float64)
    if not (np.all(np.isfinite(seconds) & (seconds >= 0)) and seconds.sum() > 0):
        raise AnnotationError("clips' durations must be seconds, not negative, and not all 0")
    return seconds
