"""From probabilities to decisions, frame by frame (paper, Section 2.2): threshold, then a median filter."""

from __future__ import annotations

import numpy as np


def threshold(probabilities: np.ndarray, at: float) -> np.ndarray:
    """Decide for each probability: at least ``at`` means that the class sounds.

    probabilities : float, any shape, in [0, 1]
    Returns bool, the same shape.
    """
    return probabilities >= at


def median_filter(decisions: np.ndarray, length: int) -> np.ndarray:
    """The majority of ``length`` decisions around each frame, for each class by itself.

    The edges are reflected (``b a | a b c``); a clip shorter than half the filter is reflected again and again.

    decisions : bool (frames, classes)
    length : odd number of frames, >= 1
    Returns bool (frames, classes).

    Raises ValueError if ``length`` is even or less than 1.
    """
    if length < 1 or length % 2 == 0:
        raise ValueError(f"a median filter needs an odd length of at least 1, got {length}")
    if len(decisions) == 0 or length == 1:
        return decisions.copy()
    half = length // 2
    padded = np.pad(
        decisions.astype(np.int64), ((half, half), (0, 0)), mode="symmetric"
    )  # (frames + 2 * half, classes)
    sums = np.cumsum(np.pad(padded, ((1, 0), (0, 0))), axis=0)
    return (sums[length:] - sums[:-length]) > half  # (frames, classes)
