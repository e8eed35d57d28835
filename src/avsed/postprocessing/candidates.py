"""What a post-processing says at every threshold, for metrics over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from avsed.metrics.candidates import Candidates, Curves, Said, curves_of_scores
from avsed.postprocessing.boxes import find_boxes
from avsed.postprocessing.decisions import in_frames, median_filter
from avsed.postprocessing.events import box_options, visible
from avsed.postprocessing.options import PostprocessingConfig, by_class
from avsed.scores import Scores, ScoreSequence

KEPT = 2**26  # bytes of frame scores of which everything is kept: what follows from noise takes thirty times as much
HELD = 2**30  # bytes of frame scores that are held at once otherwise


class Saying:
    """The events of each class for all thresholds: those of the median-filtered curves, or the boxes with their confidence.

    Thresholds have no part in it, nor have hysteresis, minimum gap and minimum duration, which work on what a threshold has left:
    where ``config.sweepable`` is false, `detect_events` says something else. It is made class by class and as often as it is
    iterated. Of many clips and classes, which take more than `KEPT`, it holds only as many classes at once as fit `HELD`, and goes
    through the scores for each such block.

    small : whether everything is kept

    labels : the classes to go through; one that the scores lack is never said
    clips : names of all clips, whose places the candidates carry; those without scores included

    Raises ConfigError if the configuration names classes that the scores lack, AnnotationError for a clip that is not among
    ``clips``, ScoresError if one has scores twice.
    """

    def __init__(
        self, scores: Sequence[Scores], config: PostprocessingConfig, *, labels: Sequence[str], clips: Sequence[str]
    ) -> None:
        self._scores, self._labels, self._clips = scores, tuple(labels), tuple(clips)
        self._classes = scores[0].classes if len(scores) else ()
        self._lengths: list[int | str] = by_class(config.median_filter, self._classes, key="median_filter")
        self._boxes = None if config.boxes is None else box_options(self._classes, config)
        if isinstance(scores, ScoreSequence):
            frames = sum(len(scores.boundaries(index)) - 1 for index in range(len(scores)))
        else:
            frames = sum(len(one.frames) for one in scores)
        self.small = 4 * frames * len(self._labels) <= KEPT
        self._block = len(self._labels) if self.small else max(1, HELD // max(1, 4 * frames))
        self._kept: list[Said] | None = None

    def __iter__(self) -> Iterator[Said]:
        if self._kept is not None:
            return iter(self._kept)
        if self.small:
            self._kept = [said.candidates() if isinstance(said, Curves) else said for said in self._made()]
            return iter(self._kept)
        return self._made()

    def _made(self) -> Iterator[Said]:
        known = [label for label in self._labels if label in self._classes]
        curves: Iterator[Curves] = iter(())
        if known:
            curves = curves_of_scores(
                self._scores, clips=self._clips, labels=known, block=self._block, take=self._filtered
            )
        for label in self._labels:
            if label not in self._classes:
                yield Candidates(np.empty(0, np.int64), *(np.empty(0) for _ in range(4)))
            elif self._boxes is None:
                yield next(curves)
            else:
                yield _boxes(next(curves), self._boxes[self._classes.index(label)])

    def _filtered(self, one: Scores, columns: Sequence[int]) -> np.ndarray:
        """float32 (frames, chosen classes)."""
        curves = one.frames[:, columns]
        if self._boxes is not None:
            return curves
        return median_filter(curves, [in_frames(self._lengths[column], one.boundaries) for column in columns])


def _boxes(curves: Curves, options: Mapping[str, Any]) -> Candidates:
    """The boxes of one class in all clips."""
    found = [(np.zeros(0, np.int64), *3 * [np.zeros(0)])]
    for place, row in enumerate(curves.clip):
        begin, end = curves.starts[place], curves.starts[place + 1]
        times = curves.boundaries[begin + place : end + place + 1]
        boxes = find_boxes(curves.values[begin:end], times, **options)
        there = visible(boxes.onset, boxes.offset)
        found.append((np.full(np.count_nonzero(there), row), *(column[there] for column in boxes)))
    clip, onset, offset, confidence = (np.concatenate(column) for column in zip(*found, strict=True))
    return Candidates(clip, onset, offset, np.full(len(clip), -np.inf), confidence)
