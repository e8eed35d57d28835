"""What a post-processing says at every threshold, for metrics over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from avsed.metrics.candidates import Candidates, candidates_of_scores
from avsed.postprocessing.boxes import find_boxes
from avsed.postprocessing.decisions import in_frames, median_filter
from avsed.postprocessing.events import visible
from avsed.postprocessing.options import PostprocessingConfig, by_class
from avsed.scores import Scores


def candidates(
    scores: Sequence[Scores], label: str, config: PostprocessingConfig, *, clips: Sequence[str] | None = None
) -> Candidates:
    """The events of one class for all thresholds: those of the median-filtered curves, or the boxes with their confidence.

    Thresholds have no part in it, nor have hysteresis, minimum gap and minimum duration, which work on what a threshold has left:
    where ``config.sweepable`` is false, `detect_events` says something else.

    clips : names of all clips, whose places the candidates carry; by default those of the scores, in their order

    Raises ConfigError if the configuration names classes that the scores lack, AnnotationError for a clip that is not among ``clips``.
    """
    names = [one.clip for one in scores] if clips is None else clips
    own = [_of_class(one, label, config) for one in scores]
    if config.boxes is None:
        return candidates_of_scores(own, clips=names, labels=[label])[0]
    index = {clip: row for row, clip in enumerate(names)}
    options = _box_options(scores[0].classes, label, config) if scores else {}
    found = [(np.zeros(0, np.int64), *3 * [np.zeros(0)])]
    for one in sorted(own, key=lambda one: index[one.clip]):
        boxes = find_boxes(one.frames[:, 0], one.boundaries, **options)
        there = visible(boxes.onset, boxes.offset)
        found.append((np.full(np.count_nonzero(there), index[one.clip]), *(column[there] for column in boxes)))
    clip, onset, offset, confidence = (np.concatenate(column) for column in zip(*found, strict=True))
    return Candidates(clip, onset, offset, np.full(len(clip), -np.inf), confidence)


def _of_class(scores: Scores, label: str, config: PostprocessingConfig) -> Scores:
    """The scores of one class, filtered unless its events are boxes."""
    column = scores.classes.index(label)
    curve = scores.frames[:, column : column + 1]
    if config.boxes is None:
        length = by_class(config.median_filter, scores.classes, key="median_filter")[column]
        curve = median_filter(curve, in_frames(length, scores.boundaries))
    return replace(scores, classes=(label,), frames=curve, tags=scores.tags[column : column + 1])


def _box_options(classes: Sequence[str], label: str, config: PostprocessingConfig) -> dict[str, float]:
    names = "step", "absolute", "relative"
    column = classes.index(label)
    return {name: by_class(getattr(config.boxes, name), classes, key=f"boxes.{name}")[column] for name in names}
