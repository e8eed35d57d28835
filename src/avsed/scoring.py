"""The output of any system against reference annotations: read, brought together, compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsed import console
from avsed.aligning import Aligned, MissingClips, align
from avsed.annotations import Event, Events, Tags
from avsed.config import Config
from avsed.data.folder import Clip, Split, fingerprint
from avsed.errors import AnnotationError
from avsed.estimate_files import read_estimate, read_reference
from avsed.evaluation import Evaluation, evaluate_events, evaluate_scores
from avsed.metrics import Result, clip_based
from avsed.run import versions
from avsed.tables import Problem, labels_of, raise_errors

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 20  # warnings that are printed


@dataclass(frozen=True)
class TagEvaluation:
    """What can be said where reference or estimate hold only tags."""

    clip: Result
    about: Mapping[str, Any]

    def headline(self) -> dict[str, float]:
        """The clip-based micro F1, a fraction."""
        return {"clip_micro_f1": self.clip.micro.f1}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: fractions; null where a number is not defined."""
        headline = {name: None if value != value else value for name, value in self.headline().items()}
        return {**self.about, "headline": headline, "clip": self.clip.to_dict()}

    def render(self) -> Iterator[RenderableType]:
        """What the command prints: a row a class, in per cent."""
        rows = [*self.clip.classes.items(), ("micro", self.clip.micro), ("macro", self.clip.macro)]
        width = max(len(name) for name, _ in rows)
        yield f"{'class':<{width}}     F1      P      R"
        for name, rates in rows:
            yield f"{name:<{width}}" + "".join(
                f" {100 * value:6.1f}" for value in (rates.f1, rates.precision, rates.recall)
            )
        yield f"{self.clip.definition['name']} micro F1  {100 * self.clip.micro.f1:.2f} %"


def score(
    reference: str | Path,
    estimate: str | Path,
    *,
    durations: str | Path | None,
    missing_clips: MissingClips,
    config: Config,
) -> Evaluation | TagEvaluation:
    """Compare what a system says, in any of the forms of `read_estimate`, with reference annotations.

    Notes and warnings go to standard error. Raises AnnotationError or ScoresError if it cannot be compared.
    """
    problems: list[Problem] = []
    truth = read_reference(reference, durations=durations, problems=problems)
    found = read_estimate(estimate, durations=truth.durations, problems=problems)
    console.note(f"{estimate}: taken as {found.form}")
    raise_errors(problems)
    labels = config.data.labels or tuple(sorted({label for own in truth.tags.values() for label in own}))
    if not labels:
        raise AnnotationError(f"{reference}: no events that would tell the classes; give --set 'data.labels=[A, B, C]'")
    aligned = align(truth, found, labels=labels, missing_clips=missing_clips, problems=problems)
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


def _compare(aligned: Aligned, config: Config, about: dict[str, Any]) -> Evaluation | TagEvaluation:
    """The one place where the forms of estimates part."""
    reference, estimate, labels = aligned.reference, aligned.estimate, aligned.labels
    threshold = config.postprocessing.threshold
    tags: Tags | None = estimate.tags
    events: Events | None = estimate.events
    if estimate.scores is not None or estimate.probabilities is not None:
        about["postprocessing"] = config.postprocessing.model_dump(mode="json")
    if estimate.scores is not None and reference.events is not None:
        evaluation, _ = evaluate_scores(
            estimate.scores,
            reference.events,
            labels=labels,
            durations=reference.durations or {},
            postprocessing=config.postprocessing,
            metrics=config.metrics,
            about=about,
        )
        return replace(evaluation, clip=_named(evaluation.clip, _tags_name(aligned)))
    if estimate.scores is not None:
        tags = {one.clip: _above(one.tags, one.classes, threshold) for one in estimate.scores}
    elif estimate.probabilities is not None:
        own = estimate.probabilities
        tags = {clip: _above(row, own.classes, threshold) for clip, row in zip(own.clips, own.values, strict=True)}
    elif estimate.boxes is not None:
        about["threshold"] = threshold
        console.note(f"events with a confidence of at least {threshold:g} (--set postprocessing.threshold)")
        events = {
            clip: [Event(*box[:3]) for box in own if box.score >= threshold] for clip, own in estimate.boxes.items()
        }
    elif estimate.points is not None:
        point = next((point for point in estimate.points if point.threshold >= threshold), None)
        if point is None:
            raise AnnotationError(
                f"{estimate.path}: no events at a threshold of {threshold:g} or more; the greatest is "
                f"{estimate.points[-1].threshold:g}; give --set postprocessing.threshold"
            )
        about["threshold"] = point.threshold
        console.note(f"events at the threshold {point.threshold:g} (--set postprocessing.threshold)")
        events = point.events
    if events is not None and reference.events is not None:
        return evaluate_events(
            reference.events,
            events,
            labels=labels,
            durations=reference.durations,
            metrics=config.metrics,
            about=about,
        )
    console.note(
        "only tags can be compared: "
        + ("the reference" if reference.events is None else "the estimate")
        + " has no times"
    )
    said = tags if tags is not None else labels_of(events or {})
    return TagEvaluation(clip_based(reference.tags, said, labels=labels, name=_tags_name(aligned)), about)


def _tags_name(aligned: Aligned) -> str:
    """What the clip-based metric is called, by what the tags come from."""
    estimate = aligned.estimate
    if estimate.scores is not None and estimate.scores.tags_from == "frames":
        return "clip-based from frame scores"
    return "clip-based" if estimate.tags is not None or estimate.classes is not None else "tags from events"


def _named(result: Result, name: str) -> Result:
    return replace(result, definition={**result.definition, "name": name})


def _above(values: np.ndarray, classes: tuple[str, ...], threshold: float) -> frozenset[str]:
    return frozenset(name for name, value in zip(classes, values >= threshold, strict=True) if value)


def _fingerprint(aligned: Aligned) -> dict[str, int | str]:
    """That of the same clips and labels in a data set."""
    own = aligned.reference
    listed = tuple(Clip(clip, Path(clip)) for clip in own.tags)
    if own.events is not None:
        return fingerprint(Split("reference", "strong", own.path, listed, (), events=own.events))
    return fingerprint(Split("reference", "weak", own.path, listed, (), tags=own.tags))


def _warn(problems: list[Problem]) -> None:
    for problem in problems[:SHOWN]:
        console.warn(str(problem))
    if len(problems) > SHOWN:
        console.warn(f"… and {len(problems) - SHOWN} more of this kind")
