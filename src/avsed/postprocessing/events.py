"""From scores to what people read: tags with their probabilities, and events in seconds.

Conventions
-----------
Each class goes its own way, in this order:

1. its frame scores pass the median filter;
2. every run of frames that reach the threshold is an event; with hysteresis, every run that reaches the lower threshold and, in
   some frame, the upper one. Boxes, where they are asked for, take the place of both steps: the events are the boxes whose
   confidence reaches the threshold;
3. gaps that are shorter than ``minimum_gap`` are filled;
4. events that are then shorter than ``minimum_duration`` are dropped.

Lengths of time are compared to the microsecond. Events are not gated by the clip's tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from avsed.annotations import Event
from avsed.postprocessing.boxes import Boxes, find_boxes
from avsed.postprocessing.decisions import in_frames, median_filter, threshold
from avsed.postprocessing.options import PostprocessingConfig, by_class
from avsed.scores import Scores

MICROSECOND = 1e-6


def events_from_decisions(decisions: np.ndarray, boundaries: np.ndarray, classes: Sequence[str]) -> list[Event]:
    """Every run of positive frames is one event, from its first frame's beginning to its last frame's end.

    decisions : bool (frames, classes)
    boundaries : float64 (frames + 1,), seconds
    Returns events sorted by onset, then offset, then label; runs without a millisecond, in which tables are written, are left out:
    frames cut away by the clip's end.
    """
    found: list[Event] = []
    for column, label in enumerate(classes):
        onset, offset = _runs(decisions[:, column], boundaries)
        there = visible(onset, offset)
        found += _events(onset[there], offset[there], label)
    return sorted(found)


def detect_events(scores: Scores, config: PostprocessingConfig) -> list[Event]:
    """The events of one clip, sorted by onset, then offset, then label; see the module's conventions.

    Raises ConfigError if the configuration names classes that the scores lack.
    """
    thresholds = by_class(config.threshold, scores.classes, key="threshold")
    gaps = by_class(config.minimum_gap, scores.classes, key="minimum_gap")
    durations = by_class(config.minimum_duration, scores.classes, key="minimum_duration")
    found: list[Event] = []
    for label, (onset, offset), gap, duration in zip(
        scores.classes, _said(scores, config, thresholds), gaps, durations, strict=True
    ):
        there = visible(onset, offset)
        onset, offset = _joined(onset[there], offset[there], gap)
        long = offset - onset > duration - MICROSECOND
        found += _events(onset[long], offset[long], label)
    return sorted(found)


def detect_tags(scores: Scores, config: PostprocessingConfig) -> frozenset[str]:
    """The tags of one clip: the classes whose clip probability reaches the threshold for tags.

    Raises ConfigError if the configuration names classes that the scores lack.
    """
    return decide_tags(scores.tags, scores.classes, config)


def decide_tags(probabilities: np.ndarray, classes: Sequence[str], config: PostprocessingConfig) -> frozenset[str]:
    """The same of probabilities alone: float (classes,), in [0, 1]."""
    own = by_class(config.tag_threshold, classes, key="tag_threshold")
    common = by_class(config.threshold, classes, key="threshold")
    at = [event if tag is None else tag for tag, event in zip(own, common, strict=True)]
    return frozenset(np.array(classes)[threshold(probabilities, at)].tolist())


def filtered(scores: Scores, config: PostprocessingConfig) -> np.ndarray:
    """The scores after the median filter of each class, float32 (frames, classes)."""
    lengths = by_class(config.median_filter, scores.classes, key="median_filter")
    return median_filter(scores.frames, [in_frames(length, scores.boundaries) for length in lengths])


def boxes_of(scores: Scores, config: PostprocessingConfig) -> Iterator[Boxes]:
    """The boxes of each class; ``config.boxes`` must be there."""
    for column, options in enumerate(box_options(scores.classes, config)):
        yield find_boxes(scores.frames[:, column], scores.boundaries, **options)


def box_options(classes: Sequence[str], config: PostprocessingConfig) -> list[dict[str, Any]]:
    """The options of `find_boxes` for each class; ``config.boxes`` must be there."""
    assert config.boxes is not None
    names = "step", "absolute", "relative"
    columns = [by_class(getattr(config.boxes, name), classes, key=f"boxes.{name}") for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _said(
    scores: Scores, config: PostprocessingConfig, thresholds: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Onsets and offsets of each class at its threshold."""
    if config.boxes is not None:
        for boxes, at in zip(boxes_of(scores, config), thresholds, strict=True):
            said = boxes.confidence >= at
            yield boxes.onset[said], boxes.offset[said]
        return
    curves = filtered(scores, config)
    upper = threshold(curves, thresholds)
    lows = by_class(config.hysteresis, scores.classes, key="hysteresis")
    for column, low in enumerate(lows):
        if low is None:
            yield _runs(upper[:, column], scores.boundaries)
            continue
        lower = threshold(curves[:, column], low)
        first, stop = _edges(lower)
        reached = np.append(0, np.cumsum(upper[:, column]))
        said = reached[stop] > reached[first]
        yield scores.boundaries[first[said]], scores.boundaries[stop[said]]


def _edges(decisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first frame of each run of positive ones, and the one after its last; decisions : bool (frames,)."""
    edges = np.diff(decisions.astype(np.int8), prepend=0, append=0)  # (frames + 1,)
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _runs(decisions: np.ndarray, boundaries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, stop = _edges(decisions)
    return boundaries[first], boundaries[stop]


def visible(onset: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """bool (events,): which still have a length in tables, which are written to the millisecond."""
    return np.round(offset, 3) > np.round(onset, 3)


def _joined(onset: np.ndarray, offset: np.ndarray, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Events of one class, sorted and apart, with gaps shorter than ``gap`` filled."""
    begins, ends = np.ones(len(onset), bool), np.ones(len(onset), bool)
    begins[1:] = ends[:-1] = onset[1:] - offset[:-1] > gap - MICROSECOND
    return onset[begins], offset[ends]


def _events(onset: np.ndarray, offset: np.ndarray, label: str) -> list[Event]:
    return [Event(on, off, label) for on, off in zip(onset.tolist(), offset.tolist(), strict=True)]
