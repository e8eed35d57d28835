"""From scores to what people read: tags with their probabilities, and events in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avsed.annotations import Event
from avsed.config import PostprocessingConfig
from avsed.postprocessing.decisions import median_filter, threshold
from avsed.scores import Scores


def events_from_decisions(decisions: np.ndarray, boundaries: np.ndarray, classes: Sequence[str]) -> list[Event]:
    """Every run of positive frames is one event, from its first frame's beginning to its last frame's end.

    decisions : bool (frames, classes)
    boundaries : float64 (frames + 1,), seconds
    Returns events sorted by onset, then offset, then label; runs without a millisecond, in which tables are written, are left out:
    frames cut away by the clip's end.
    """
    edges = np.diff(np.pad(decisions.astype(np.int8), ((1, 1), (0, 0))), axis=0)  # (frames + 1, classes)
    events = []
    for column, label in enumerate(classes):
        onsets = boundaries[np.flatnonzero(edges[:, column] == 1)]
        offsets = boundaries[np.flatnonzero(edges[:, column] == -1)]
        events += [
            Event(float(on), float(off), label)
            for on, off in zip(onsets, offsets, strict=True)
            if round(off, 3) > round(on, 3)
        ]
    return sorted(events)


def detect_events(scores: Scores, config: PostprocessingConfig) -> list[Event]:
    """The events of one clip: threshold, median filter, runs. Events are not gated by the clip's tags."""
    decisions = median_filter(threshold(scores.frames, config.threshold), config.median_filter)
    return events_from_decisions(decisions, scores.boundaries, scores.classes)


def detect_tags(scores: Scores, config: PostprocessingConfig) -> frozenset[str]:
    """The tags of one clip: the classes whose clip probability reaches the threshold."""
    return frozenset(np.array(scores.classes)[threshold(scores.tags, config.threshold)].tolist())
