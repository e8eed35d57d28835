"""Sound event bounding boxes: events that have one confidence, whatever the threshold.

Conventions
-----------
The frame scores of a class are a curve that is constant within each frame and zero outside the clip. A step filter of length T
says at each moment how much higher the scores of the next T/2 seconds are, on average, than those of the last T/2. Where its
output is highest an event may begin, where it is lowest one may end: a box is a longest stretch over which the output does not
rise. Its extrema lie where the beginning, the middle or the end of the filter passes a frame's boundary, so boxes begin and end
on boundaries, or T/2 beside them.

Two boxes are joined, with what is between them, if the highest score in either exceeds the lowest one between them by less than
``absolute`` and by less than the factor ``relative`` (both scores plus 0.001). A box's confidence is the mean score inside; its
event is said at every threshold up to it.

The output's slope is proportional to (score under the filter's beginning) + (under its end) - 2 (under its middle), so that it is
known exactly where it rises; the output itself is never computed.

Source: Ebbers, Germain, Wichern and Le Roux, *Sound Event Bounding Boxes*, Interspeech 2024 (cSEBBs). Equal to their package ``sebbs``
1.0.2, but for what it does not mean: it takes every clip to begin at 0, and loses the last stretch of a clip whose end grows when it is
rounded to 8 decimals.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

MOMENT = 1e-6  # seconds; shorter frames are none: they are what the clip's end has left


class Boxes(NamedTuple):
    """The boxes of one class in one clip, in their order; they do not overlap.

    onset, offset : float64 (boxes,), seconds; confidence : float64 (boxes,), in [0, 1]
    """

    onset: np.ndarray
    offset: np.ndarray
    confidence: np.ndarray


def find_boxes(
    curve: np.ndarray, boundaries: np.ndarray, *, step: float, absolute: float | None, relative: float | None
) -> Boxes:
    """The boxes of one class in one clip.

    curve : float32 (frames,), in [0, 1]
    boundaries : float64 (frames + 1,), seconds, non-decreasing
    step : length of the filter, seconds, > 0; absolute, relative : when boxes are joined, None for no such condition
    """
    from avsed.postprocessing.kernels import boxes_of_curve

    real = np.diff(boundaries) > MOMENT
    if not real.all():
        curve, boundaries = curve[real], np.append(boundaries[:-1][real], boundaries[-1:])
    most = 2 * len(curve) + 3
    onset, offset, confidence, count = np.empty(most), np.empty(most), np.empty(most), np.zeros(1, np.int64)
    if len(curve):
        limits = (math.inf if limit is None else limit for limit in (absolute, relative))
        boxes_of_curve(np.ascontiguousarray(curve), boundaries, step, *limits, onset, offset, confidence, count)
    return Boxes(onset[: count[0]], offset[: count[0]], confidence[: count[0]])
