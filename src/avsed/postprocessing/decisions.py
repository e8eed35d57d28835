"""From probabilities to decisions, frame by frame (paper, Section 2.2): a median filter and thresholds.

The paper thresholds first and filters the decisions. The median of an odd number of scores reaches a threshold exactly if most of
them do, so filtering the scores first gives the same decisions, and one filtered curve serves every threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from avsed.postprocessing.options import seconds_of


def threshold(probabilities: np.ndarray, at: float | Sequence[float]) -> np.ndarray:
    """Decide for each probability: at least ``at`` means that the class sounds.

    probabilities : float (..., classes), in [0, 1]
    at : of all classes, or of each; compared in the precision of the probabilities
    Returns bool, the same shape.
    """
    return probabilities >= np.asarray(at, probabilities.dtype)


def median_filter(curves: np.ndarray, length: int | Sequence[int]) -> np.ndarray:
    """The median of ``length`` frames around each one, for each class by itself; of decisions, what most of them say.

    The edges are reflected (``b a | a b c``); a clip shorter than half the filter is reflected again and again.

    curves : float32 or bool (frames, classes)
    length : odd number of frames, >= 1, of all classes or of each
    Returns the same shape and type.

    Raises ValueError if a length is even or less than 1.
    """
    lengths = np.broadcast_to(np.asarray(length, np.int64), curves.shape[1:])
    if np.any(lengths < 1) or np.any(lengths % 2 == 0):
        raise ValueError(f"a median filter needs an odd length of at least 1, got {length}")
    if len(curves) == 0 or np.all(lengths == 1):
        return curves.copy()
    from avsed.postprocessing.kernels import sliding_median

    medians = np.empty(curves.shape, np.float32)
    sliding_median(np.ascontiguousarray(curves, np.float32), np.ascontiguousarray(lengths), medians)
    return medians.astype(curves.dtype)


def in_frames(length: int | str, boundaries: np.ndarray) -> int:
    """A filter's length in frames, an odd number.

    length : frames, or seconds such as ``0.5 s``, of which the nearest odd number of frames is taken, the larger of two
    boundaries : float64 (frames + 1,), seconds; the longest frame is taken for a whole one, as edges may be cut
    """
    if isinstance(length, int):
        return length
    seconds = seconds_of(length)
    assert seconds is not None
    period = float(np.diff(boundaries).max(initial=0.0))
    if period == 0:
        return 1
    return 2 * math.floor(round(seconds / period, 6) / 2) + 1
