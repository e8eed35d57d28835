"""Post-processing that suits labelled clips best: thresholds, median filters and boxes of each class, for one metric.

Every combination of a class's filters (or boxes) and *all* thresholds is compared, exactly, without going through events again: see
`avsed.postprocessing.choice`. For PSDS each class takes the filter (or boxes) with which its own area is greatest; PSDS of all classes
also falls with their differences, so it need not grow. Classes that the clips have no events of keep what they have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from avsed.errors import ConfigError
from avsed.postprocessing.choice import Choice, Steps, best_alone, best_together, keep
from avsed.postprocessing.decisions import in_frames
from avsed.postprocessing.objectives import Labelled, Objective, together
from avsed.postprocessing.options import BoxesConfig, PostprocessingConfig, by_class

What = Literal["thresholds", "median", "boxes"]
WHAT = get_args(What)


@dataclass(frozen=True)
class Grid:
    """The filters and boxes that are compared.

    medians : frames, or seconds as '0.5 s'
    steps : lengths of the boxes' filter, seconds; merges : pairs (absolute, relative), of which the authors set one at a time
    """

    medians: tuple[int | str, ...] = (1, 3, 5, 7, 9, 11, 15, 19, 25, 31, 41, 51, 75)
    steps: tuple[float, ...] = (0.32, 0.48, 0.64, 1.0)
    merges: tuple[tuple[float | None, float | None], ...] = (
        *((absolute, None) for absolute in (0.15, 0.2, 0.3)),
        *((None, relative) for relative in (1.5, 2.0, 3.0)),
    )

    def to_dict(self, what: Collection[What]) -> dict[str, Any]:
        """What of it was used, plain values."""
        told: dict[str, Any] = {"thresholds": "all"} if "thresholds" in what else {}
        if "median" in what:
            told["medians"] = list(self.medians)
        if "boxes" in what:
            told |= {"steps": list(self.steps), "merges": [list(merge) for merge in self.merges]}
        return told


@dataclass(frozen=True)
class ClassTuning:
    """One class. events : reference events; kept : whether it has none, and hence keeps what it had; before, after : its value."""

    label: str
    events: int
    kept: bool
    before: float
    after: float


@dataclass(frozen=True)
class Tuning:
    """What was found. before, after : the objective's value on the clips, fractions; grid : what was compared."""

    config: PostprocessingConfig
    before: float
    after: float
    classes: tuple[ClassTuning, ...]
    grid: Mapping[str, Any]


def tune(
    clips: Labelled,
    config: PostprocessingConfig,
    *,
    objective: Objective,
    what: Collection[What],
    grid: Grid = Grid(),
) -> Tuning:
    """Choose what gives the highest value of an objective on labelled clips.

    config : what is kept where nothing is gained, or of what is not tuned
    what : thresholds, and either median or boxes; not thresholds for PSDS, which is of all thresholds, and only those for tags

    Raises ConfigError if that does not fit together, or post-processing depends on the threshold.
    """
    check_tuning(config, objective, what)
    options = _options(clips, config, what, grid)
    tuned = [label for label in clips.labels if clips.events_of(label)]
    if not tuned:
        raise ConfigError("no clip has an event of any class: there is nothing to tune on")
    before = objective.measure(clips, config)
    if objective.average is None:
        areas = [objective.measure(clips, option).classes for option in options]
        best = {label: int(np.argmax([area[label] for area in areas])) for label in tuned}
        chosen = _assembled(clips.labels, config, options, best)
    else:
        thresholds = dict(zip(clips.labels, objective.thresholds(config, clips.labels), strict=True))
        choices = _choices(clips, options, objective, thresholds, tuned, tune_threshold="thresholds" in what)
        chosen = _assembled(clips.labels, config, options, {label: own.option for label, own in choices.items()})
        if "thresholds" in what:
            found = thresholds | {label: own.threshold for label, own in choices.items()}
            chosen = objective.with_thresholds(chosen, [found[label] for label in clips.labels], clips.labels)
    after = objective.measure(clips, chosen)
    classes = tuple(
        ClassTuning(label, clips.events_of(label), label not in tuned, before.classes[label], after.classes[label])
        for label in clips.labels
    )
    return Tuning(chosen, before.overall, after.overall, classes, grid.to_dict(what))


def check_tuning(config: PostprocessingConfig, objective: Objective, what: Collection[What]) -> None:
    """Raise ConfigError if what is to be tuned does not fit together; see `tune`."""
    odd = sorted(set(what) - set(WHAT))
    if odd or not what:
        raise ConfigError(f"what to tune is one or more of {', '.join(WHAT)}; got {', '.join(odd) or 'none'}")
    if "median" in what and "boxes" in what:
        raise ConfigError("boxes take the place of the median filter: tune one of the two")
    if objective.average is None and "thresholds" in what:
        raise ConfigError(f"{objective.name} is of all thresholds: tune median or boxes for it, thresholds for an F1")
    if objective.kind == "clip" and set(what) != {"thresholds"}:
        raise ConfigError(f"{objective.name} is of clip tags, which pass no filter: tune thresholds alone")
    if "median" in what and config.boxes is not None:
        raise ConfigError("the post-processing has boxes, which pass no median filter: tune boxes, or set them to null")
    if objective.kind != "clip" and not config.sweepable:
        raise ConfigError(
            "hysteresis, minimum_gap and minimum_duration work on what a threshold has left: tune without them "
            "(--set postprocessing.hysteresis=null, …minimum_gap=0, …minimum_duration=0)"
        )


def _options(
    clips: Labelled, config: PostprocessingConfig, what: Collection[What], grid: Grid
) -> list[PostprocessingConfig]:
    """The ways to post-process that are compared, the nearest to the present one first."""
    if "boxes" in what:
        pairs = ((step, merge) for step in grid.steps for merge in grid.merges)
        boxes = [BoxesConfig(step=step, absolute=merge[0], relative=merge[1]) for step, merge in pairs]
        found = [config.model_copy(update={"boxes": own}) for own in boxes]
        return [config, *found] if config.boxes is not None else found
    if "median" not in what:
        return [config]
    boundaries = clips.scores[0].boundaries
    now = np.mean(
        [in_frames(own, boundaries) for own in by_class(config.median_filter, clips.labels, key="median_filter")]
    )
    medians = sorted(grid.medians, key=lambda length: abs(in_frames(length, boundaries) - now))
    return [config, *(config.model_copy(update={"median_filter": length}) for length in medians)]


def _choices(
    clips: Labelled,
    options: Sequence[PostprocessingConfig],
    objective: Objective,
    thresholds: Mapping[str, float],
    tuned: Sequence[str],
    *,
    tune_threshold: bool,
) -> dict[str, Choice]:
    """What each class that has events takes."""
    steps: dict[str, list[Steps]] = {label: [] for label in clips.labels}
    for option in options:
        for label, own in zip(clips.labels, _steps(clips, option, objective), strict=True):
            steps[label].append(own)
    if objective.average == "macro":
        return {label: best_alone(steps[label], thresholds[label], tune_threshold=tune_threshold) for label in tuned}
    others = [keep(steps[label], thresholds[label]) for label in clips.labels if label not in tuned]
    together = best_together(
        [steps[label] for label in tuned],
        [thresholds[label] for label in tuned],
        tune_threshold=tune_threshold,
        others=(sum(own.estimated for own in others), sum(own.reference for own in others)),
    )
    return dict(zip(tuned, together, strict=True))


def _steps(clips: Labelled, config: PostprocessingConfig, objective: Objective) -> Iterator[Steps]:
    for sweep in objective.sweeps(clips, config).sweeps:
        yield Steps.of_changes(sweep.threshold, sweep.correct, sweep.estimated, int(sweep.reference.sum()))


def _assembled(
    labels: Sequence[str],
    config: PostprocessingConfig,
    options: Sequence[PostprocessingConfig],
    best: Mapping[str, int],
) -> PostprocessingConfig:
    """One configuration of the option that each class takes; a class that takes none has the first."""

    def of(name: str, configs: Sequence[Any]) -> Any:
        own = [by_class(getattr(configs[best.get(label, 0)], name), labels, key=name) for label in labels]
        return together(labels, [values[place] for place, values in enumerate(own)])

    boxes = [option.boxes for option in options]
    if boxes[0] is None:
        return config.model_copy(update={"median_filter": of("median_filter", options)})
    return config.model_copy(
        update={"boxes": BoxesConfig(**{name: of(name, boxes) for name in BoxesConfig.model_fields})}
    )
