"""What is measured of which kind of output, by the names that evaluations give to metrics.

=================== ================================================================================================
``clip``            clip-based F1 of tags
``ranking``         mAP, AUROC and d′ of clip probabilities
``tags_from_events`` the same where a system gives only events
``segment``         segment-based F1
``event``           event-based F1 with collars on onsets and offsets
``onset``           event-based F1 with a collar on onsets alone
``intersection``    intersection-based F1
``best_...``        the best of clip-, segment-, event- and intersection-based F1 over all thresholds, each class at its own
``psds1``, ...      polyphonic sound detection scores over all thresholds: DCASE's scenarios 1 and 2, and ``psds`` of one's own parameters
=================== ================================================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, get_args

import numpy as np

from avsed import console
from avsed.annotations import Events
from avsed.config import MetricsConfig
from avsed.metrics import (
    clip_based,
    event_based,
    event_sweep,
    intersection_based,
    intersection_sweep,
    segment_based,
    segment_sweep,
)
from avsed.metrics.candidates import Said
from avsed.metrics.psds import SCENARIOS, PsdsParameters, psds
from avsed.metrics.ranking import Ranking, rank_tags
from avsed.metrics.resampling import Fixed, Measured
from avsed.metrics.sweep import Best, Sweeps, only_best
from avsed.metrics.sweeps import probability_sweep
from avsed.postprocessing.candidates import Saying
from avsed.scores import TagsFrom

Swept = Literal["segment", "event", "intersection"]
SWEPT: tuple[Swept, ...] = get_args(Swept)
"""Metrics of events that are counted at all thresholds."""

CLIP_BASED: dict[str, str] = {
    "tags": "clip-based",
    "clip probabilities": "clip-based",
    "frames": "clip-based from frame scores",
    "events": "tags from events",
}
"""What the clip-based metric is called, by what the tags come from."""


def measure_tags(
    reference: Mapping[str, Collection[str]],
    tags: Mapping[str, Collection[str]],
    *,
    labels: tuple[str, ...],
    tags_from: TagsFrom | Literal["tags", "events"],
) -> dict[str, Measured]:
    """Of tags. tags_from : what they come from; "tags" if they were given"""
    key = "tags_from_events" if tags_from == "events" else "clip"
    return {key: clip_based(reference, tags, labels=labels, name=CLIP_BASED[tags_from])}


def measure_ranking(
    reference: Mapping[str, Collection[str]],
    probabilities: Mapping[str, np.ndarray],
    classes: Sequence[str],
    *,
    labels: tuple[str, ...],
    tags_from: TagsFrom,
) -> dict[str, Measured]:
    """Of clip probabilities: (classes,) of each clip; a label without a column has probability 0, as it is never detected."""
    columns = [classes.index(label) if label in classes else len(classes) for label in labels]
    known = {clip: np.append(own, 0.0)[columns] for clip, own in probabilities.items()}
    return {"ranking": rank_tags(reference, known, labels=labels, tags_from=tags_from)}


def measure_best_tags(ranking: Measured) -> dict[str, Measured]:
    """Of clip probabilities at all thresholds. ranking : as `measure_ranking` gives it"""
    assert isinstance(ranking, Ranking)
    return {
        "best_clip": probability_sweep(ranking.probabilities, ranking.tags, clips=ranking.clips, labels=ranking.labels)
    }


def measure_events(
    reference: Events,
    estimated: Events,
    *,
    labels: tuple[str, ...],
    durations: Mapping[str, float] | None,
    metrics: MetricsConfig,
) -> dict[str, Measured]:
    """Of events with times."""
    collar = partial(event_based, reference, estimated, labels=labels, matching=metrics.matching)
    return {
        "segment": segment_based(reference, estimated, labels=labels, resolution=metrics.segment, durations=durations),
        "event": collar(**metrics.collars),
        "onset": collar(**metrics.collars | {"offset_collar": None}),
        "intersection": intersection_based(reference, estimated, labels=labels, **metrics.shares),
    }


def measure_all_thresholds(
    said: Iterable[Said],
    reference: Events,
    *,
    labels: tuple[str, ...],
    durations: Mapping[str, float] | None,
    metrics: MetricsConfig,
) -> dict[str, Measured]:
    """Of what a system says of each class at every threshold.

    said : candidates of each label, to be gone through once for each metric
    durations : PSDS needs that of every clip, and is left out if one is missing

    Of so many clips and classes that `Saying` does not hold them at once, only the numbers are kept, not what they follow from:
    memory stays bounded, and they have no intervals.
    """
    clips = tuple(reference)
    whole = not isinstance(said, Saying) or said.small
    found: dict[str, Measured]
    if isinstance(said, Saying) and not said.small:
        console.note(
            f"{len(labels)} classes in {len(clips)} clips: numbers over all thresholds without intervals, to save memory"
        )
        best: dict[str, dict[str, Best]] = {}
        definitions = {}
        for label, own in zip(labels, said, strict=True):
            held = {clip: [event for event in events if event.label == label] for clip, events in reference.items()}
            for kind in SWEPT:
                sweeps = sweep(kind, [own], held, labels=(label,), durations=durations, metrics=metrics)
                definitions[f"best_{kind}"] = sweeps.definition
                best.setdefault(f"best_{kind}", {}).update(sweeps.best())
        found = {name: only_best(definitions[name], clips, own) for name, own in best.items()}
    else:
        found = {
            f"best_{kind}": sweep(kind, said, reference, labels=labels, durations=durations, metrics=metrics)
            for kind in SWEPT
        }
    lacking = sum(clip not in (durations or {}) for clip in reference)
    if durations is None or lacking:
        console.note(
            f"no duration is known of {lacking} of {len(clips)} clips: no PSDS, which counts false events an hour"
        )
        return found
    for name, parameters in psds_parameters(metrics).items():
        score = psds(said, reference, labels=labels, durations=dict(durations), parameters=parameters, keep_steps=whole)
        numbers = {"psds": np.asarray(score.value), "class_psds": np.array(list(score.classes.values()))}
        found[name] = score if whole else Fixed(score.definition, labels, clips, numbers)
    return found


def sweep(
    kind: Swept,
    said: Iterable[Said],
    reference: Events,
    *,
    labels: Sequence[str],
    durations: Mapping[str, float] | None,
    metrics: MetricsConfig,
) -> Sweeps:
    """Counts at all thresholds, as the configuration has them counted. said : candidates of each label"""
    if kind == "segment":
        return segment_sweep(said, reference, labels=labels, resolution=metrics.segment, durations=durations)
    if kind == "event":
        return event_sweep(said, reference, labels=labels, **metrics.collars)
    return intersection_sweep(said, reference, labels=labels, **metrics.shares)


def psds_parameters(metrics: MetricsConfig) -> dict[str, PsdsParameters]:
    """Those of each PSDS, by its name in an evaluation."""
    own = {} if metrics.psds is None else {"psds": PsdsParameters(**metrics.psds.model_dump())}
    return {f"psds{scenario}": parameters for scenario, parameters in SCENARIOS.items()} | own
