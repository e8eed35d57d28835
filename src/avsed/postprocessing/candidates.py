"""What a post-processing says at every threshold, for metrics over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from avsed.errors import ScoresError
from avsed.metrics.candidates import Candidates, Curves, Said
from avsed.metrics.inputs import check_clips
from avsed.postprocessing.boxes import find_boxes
from avsed.postprocessing.decisions import in_frames, median_filter
from avsed.postprocessing.events import visible
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
        self._boxes = None if config.boxes is None else _box_options(self._classes, config)
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
        index = {clip: row for row, clip in enumerate(self._clips)}
        for begin in range(0, len(self._labels), self._block):
            labels = self._labels[begin : begin + self._block]
            columns = [self._classes.index(label) for label in labels if label in self._classes]
            held = [(one.clip, self._filtered(one, columns), one.boundaries) for one in self._scores]
            check_clips(index, {clip: None for clip, _, _ in held})
            held.sort(key=lambda own: index[own[0]])
            rows = np.array([index[clip] for clip, _, _ in held], np.int64)
            if (twice := np.flatnonzero(np.diff(rows) == 0)).size:
                raise ScoresError(f"{self._clips[rows[twice[0]]]}: scores are given twice")
            starts = np.concatenate([[0], np.cumsum([curves.shape[1] for _, curves, _ in held])]).astype(np.int64)
            times = np.concatenate([boundaries for _, _, boundaries in held]) if held else np.empty(0)
            place = 0
            for label in labels:
                if label not in self._classes:
                    yield Candidates(np.empty(0, np.int64), *(np.empty(0) for _ in range(4)))
                    continue
                values = np.concatenate([curves[place] for _, curves, _ in held])
                place += 1
                if self._boxes is None:
                    yield Curves(rows, starts, values, times)
                else:
                    yield _boxes(rows, starts, values, times, self._boxes[self._classes.index(label)])

    def _filtered(self, one: Scores, columns: Sequence[int]) -> np.ndarray:
        """float32 (chosen classes, frames)."""
        curves = one.frames[:, columns]
        if self._boxes is None:
            curves = median_filter(curves, [in_frames(self._lengths[column], one.boundaries) for column in columns])
        return np.ascontiguousarray(curves.T)


def _boxes(
    rows: np.ndarray, starts: np.ndarray, values: np.ndarray, times: np.ndarray, options: dict[str, float]
) -> Candidates:
    """The boxes of one class in all clips; times : boundaries of all clips, one more a clip than values"""
    found = [(np.zeros(0, np.int64), *3 * [np.zeros(0)])]
    for place, row in enumerate(rows):
        begin, end = starts[place], starts[place + 1]
        boxes = find_boxes(values[begin:end], times[begin + place : end + place + 1], **options)
        there = visible(boxes.onset, boxes.offset)
        found.append((np.full(np.count_nonzero(there), row), *(column[there] for column in boxes)))
    clip, onset, offset, confidence = (np.concatenate(column) for column in zip(*found, strict=True))
    return Candidates(clip, onset, offset, np.full(len(clip), -np.inf), confidence)


def _box_options(classes: Sequence[str], config: PostprocessingConfig) -> list[dict[str, float]]:
    """The options of each class."""
    names = "step", "absolute", "relative"
    columns = [by_class(getattr(config.boxes, name), classes, key=f"boxes.{name}") for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
