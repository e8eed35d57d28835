"""The output of any system against reference annotations: read, brought together, compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from avsed import console
from avsed.annotations import Event, Events
from avsed.config import Config
from avsed.data.folder import events_fingerprint, tags_fingerprint
from avsed.errors import AnnotationError, ConfigError
from avsed.evaluation import Evaluation, evaluate_events, evaluate_scores
from avsed.exchange.aligning import Aligned, Match, MissingClips, align
from avsed.exchange.estimate_files import read_estimate, read_reference
from avsed.exchange.estimates import ClipProbabilities, Estimate
from avsed.measures import measure_best_tags, measure_ranking, measure_tags
from avsed.metrics import Candidates, candidates_of_boxes, candidates_of_points
from avsed.postprocessing import decide_tags
from avsed.postprocessing.options import PostprocessingConfig, by_class
from avsed.run import versions
from avsed.tables import Problem, labels_of, raise_errors

SHOWN = 20  # warnings that are printed
UNTOUCHED = PostprocessingConfig(median_filter=1)
"""Other systems' scores are taken as they are, unless something is asked for."""


def score(
    reference: str | Path,
    estimate: str | Path,
    *,
    durations: str | Path | None,
    missing_clips: str,
    match: str,
    config: Config,
) -> Evaluation:
    """Compare what a system says, in any of the forms of `read_estimate`, with reference annotations.

    missing_clips, match : of `MissingClips` and `Match`

    Notes and warnings go to standard error. Raises AnnotationError or ScoresError if it cannot be compared, ConfigError for an
    unknown choice.
    """
    for flag, choice, known in (("missing-clips", missing_clips, MissingClips), ("match", match, Match)):
        if choice not in get_args(known):
            raise ConfigError(f"--{flag} {choice}: expected {' or '.join(get_args(known))}")
    problems: list[Problem] = []
    truth = read_reference(reference, durations=durations, problems=problems)
    found = read_estimate(estimate, durations=truth.durations, problems=problems)
    console.note(f"{estimate}: taken as {found.form}")
    raise_errors(problems)
    labels = config.data.labels or tuple(sorted({label for own in truth.tags.values() for label in own}))
    if not labels:
        raise AnnotationError(f"{reference}: no events that would tell the classes; give --set 'data.labels=[A, B, C]'")
    aligned = align(
        truth,
        found,
        labels=labels,
        missing_clips=cast(MissingClips, missing_clips),
        match=cast(Match, match),
        problems=problems,
    )
    _warn(problems)
    if aligned.silent:
        console.note(
            f"{estimate}: no row for {aligned.silent} of the reference's {len(truth.tags)} clips: taken as clips without events"
        )
    if aligned.left_out:
        console.warn(f"{len(aligned.left_out)} of the reference's {len(truth.tags)} clips have no scores: left out")
    about = {
        "reference": str(reference),
        "estimate": str(estimate),
        "estimate_form": found.form,
        "fingerprint": {**_fingerprint(aligned), "left_out": list(aligned.left_out)},
        "clips_without_estimate": aligned.silent,
        "metrics": config.metrics.model_dump(mode="json"),
        "versions": versions(),
    }
    return _compare(aligned, config, about)


def _compare(aligned: Aligned, config: Config, about: dict[str, Any]) -> Evaluation:
    """The one place where the forms of estimates part."""
    reference, estimate, labels = aligned.reference, aligned.estimate, aligned.labels
    chosen, metrics = config.postprocessing, config.metrics
    if chosen != UNTOUCHED and (estimate.events is not None or estimate.tags is not None):
        raise ConfigError(f"{estimate.path}: post-processing is of scores; {estimate.form} are what they are")
    if estimate.scores is not None or estimate.probabilities is not None:
        about["postprocessing"] = chosen.model_dump(mode="json")
        if estimate.scores is not None:
            console.note(f"decisions: {_told(chosen)} (--set postprocessing.…, or --postprocessing FILE)")
    if estimate.scores is not None and reference.events is not None:
        return evaluate_scores(
            estimate.scores,
            reference.events,
            labels=labels,
            durations=reference.durations or {},
            postprocessing=chosen,
            metrics=metrics,
            about=about,
        )[0]
    own = _clip_probabilities(estimate)
    if own is not None:
        rows = dict(zip(own.clips, own.values, strict=True))
        tags = {clip: decide_tags(row, own.classes, chosen) for clip, row in rows.items()}
        tags_from = "clip probabilities" if estimate.scores is None else estimate.scores.tags_from
        measures = {
            **measure_tags(reference.tags, tags, labels=labels, tags_from=tags_from),
            **measure_ranking(reference.tags, rows, own.classes, labels=labels, tags_from=tags_from),
        }
        measures |= measure_best_tags(measures["ranking"])
        return Evaluation(measures, about, metrics)
    events = _events(
        estimate, dict(zip(labels, by_class(chosen.threshold, labels, key="threshold"), strict=True)), about
    )
    if events is not None and reference.events is not None:
        return evaluate_events(
            reference.events,
            events,
            _candidates(estimate, tuple(reference.events), labels),
            labels=labels,
            durations=reference.durations,
            metrics=metrics,
            about=about,
        )
    lacking = "the reference" if reference.events is None else "the estimate"
    console.note(f"only tags can be compared: {lacking} has no times")
    measures = (
        measure_tags(reference.tags, estimate.tags or {}, labels=labels, tags_from="tags")
        if events is None
        else measure_tags(reference.tags, labels_of(events), labels=labels, tags_from="events")
    )
    return Evaluation(measures, about, metrics)


def _told(chosen: PostprocessingConfig) -> str:
    """Post-processing in a line: what is not as it is without any."""
    values = chosen.model_dump(mode="json", exclude_defaults=True) | {"threshold": chosen.threshold}
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _clip_probabilities(estimate: Estimate) -> ClipProbabilities | None:
    """Those of every clip, if the estimate has any."""
    scores = estimate.scores
    if scores is None:
        return estimate.probabilities
    return ClipProbabilities(scores.clips, scores.classes, np.stack([one.tags for one in scores]))


def _events(estimate: Estimate, thresholds: Mapping[str, float], about: dict[str, Any]) -> Events | None:
    """The events that the estimate says at a threshold for each class; None if it has none."""
    told = ", ".join(f"{value:g}" for value in sorted(set(thresholds.values())))
    if estimate.boxes is not None:
        about["threshold"] = dict(thresholds)
        console.note(f"events with a confidence of at least {told} (--set postprocessing.threshold)")
        return {
            clip: [Event(*box[:3]) for box in own if box.score >= thresholds[box.label]]
            for clip, own in estimate.boxes.items()
        }
    if estimate.points is not None:
        found: Events = {clip: [] for clip in estimate.clips}
        for label, threshold in thresholds.items():
            point = next((point for point in estimate.points if point.threshold >= threshold), None)
            if point is None:
                raise AnnotationError(
                    f"{estimate.path}: no events at a threshold of {threshold:g} or more; the greatest is "
                    f"{estimate.points[-1].threshold:g}; give --set postprocessing.threshold"
                )
            about.setdefault("threshold", {})[label] = point.threshold
            for clip, own in point.events.items():
                found[clip] += [event for event in own if event.label == label]
        told = ", ".join(f"{value:g}" for value in sorted(set(about["threshold"].values())))
        console.note(f"events at the threshold {told} (--set postprocessing.threshold)")
        return found
    return estimate.events


def _candidates(estimate: Estimate, clips: tuple[str, ...], labels: tuple[str, ...]) -> list[Candidates] | None:
    """What the estimate says of each class at every threshold; None of an event list, which has none."""
    if estimate.boxes is not None:
        boxes = {clip: [(Event(*box[:3]), box.score) for box in own] for clip, own in estimate.boxes.items()}
        return candidates_of_boxes(boxes, clips=clips, labels=labels)
    if estimate.points is not None:
        points = [(point.threshold, point.events) for point in estimate.points]
        return candidates_of_points(points, clips=clips, labels=labels)
    return None


def _fingerprint(aligned: Aligned) -> dict[str, int | str]:
    """That of the same clips and labels in a data set."""
    own = aligned.reference
    return tags_fingerprint(own.tags) if own.events is None else events_fingerprint(own.events)


def _warn(problems: list[Problem]) -> None:
    for problem in problems[:SHOWN]:
        console.warn(str(problem))
    if len(problems) > SHOWN:
        console.warn(f"… and {len(problems) - SHOWN} more of this kind")
