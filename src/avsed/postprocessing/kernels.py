"""Compiled loops of post-processing: the median of a sliding window, and sound event bounding boxes."""

from __future__ import annotations

import numpy as np

from avsed.compiling import compiled, inlined

NEAR = 1e-7  # seconds; places that are closer than that are one
FLOOR = 1e-3  # added to scores before they are divided, so that nothing is infinitely more than silence


@compiled
def sliding_median(curves, lengths, medians):  # type: ignore[no-untyped-def]
    """The median of ``lengths[c]`` frames around each frame, edges reflected again and again.

    curves, medians : float32 (frames, classes), at least one frame; lengths : int64 (classes,), odd
    """
    frames, classes = curves.shape
    for column in range(classes):
        length = lengths[column]
        half = length // 2
        window = np.empty(length, np.float32)  # sorted
        for count in range(length):
            _insert(window, count, count + 1, curves[_reflected(count - half, frames), column])
        medians[0, column] = window[half]
        for frame in range(1, frames):
            gone = curves[_reflected(frame - 1 - half, frames), column]
            _insert(window, np.searchsorted(window, gone), length, curves[_reflected(frame + half, frames), column])
            medians[frame, column] = window[half]


@inlined
def _insert(window, place, count, value):  # type: ignore[no-untyped-def]
    """Put a value in the place of another one and move it to where it belongs among the first ``count``, which are sorted."""
    while place + 1 < count and window[place + 1] < value:
        window[place] = window[place + 1]
        place += 1
    while place > 0 and window[place - 1] > value:
        window[place] = window[place - 1]
        place -= 1
    window[place] = value


@inlined
def _reflected(place, frames):  # type: ignore[no-untyped-def]
    """The frame that is seen at a place outside the clip: ``b a | a b | b a``."""
    place %= 2 * frames
    return place if place < frames else 2 * frames - 1 - place


@compiled
def boxes_of_curve(curve, boundaries, step, absolute, relative, onset, offset, confidence, count):  # type: ignore[no-untyped-def]
    """The boxes of one class; see `avsed.postprocessing.boxes` for what they are.

    curve : float32 (frames,); boundaries : float64 (frames + 1,), seconds, each more than `NEAR` after the last
    onset, offset, confidence : float64 (2 * frames + 3,), the first ``count[0]`` of which are written
    """
    frames, reach = len(curve), step / 2
    segments = (
        4 * frames + 6
    )  # in turn where the filtered curve rises and where it does not, the first one perhaps empty
    begin, area = np.empty(segments), np.empty(segments)
    low, high = np.empty(segments), np.empty(segments)
    last, time = 0, boundaries[0]
    begin[0], area[0], low[0], high[0] = time, 0.0, np.inf, 0.0
    left, centre, right = -1, 0, 0  # the frames under the beginning, the middle and the end of the filter
    while right < frames and boundaries[right + 1] - reach <= time + NEAR:
        right += 1
    while centre < frames:
        here = np.float64(curve[centre])
        before = np.float64(curve[left]) if left >= 0 else 0.0
        after = np.float64(curve[right]) if right < frames else 0.0
        if (before + after - 2 * here > 0) == (last % 2 == 1):  # the sign of the slope, exactly
            last += 1
            begin[last], area[last], low[last], high[last] = time, 0.0, np.inf, 0.0
        following = min(boundaries[centre + 1], boundaries[left + 1] + reach)
        if right < frames:
            following = min(following, boundaries[right + 1] - reach)
        if boundaries[centre + 1] <= following + NEAR:
            following = boundaries[centre + 1]
        area[last] += (following - time) * here
        low[last], high[last] = min(low[last], here), max(high[last], here)
        time = following
        while left < centre and boundaries[left + 1] + reach <= time + NEAR:
            left += 1
        while right < frames and boundaries[right + 1] - reach <= time + NEAR:
            right += 1
        if boundaries[centre + 1] <= time:
            centre += 1
    begin[last + 1] = time
    boxes, sum_ = 0, 0.0
    for event in range(1, last + 1, 2):
        gap, former = event - 1, event - 2
        if event > 1 and (
            max(high[former], high[event]) - low[gap] < absolute
            and (max(high[former], high[event]) + FLOOR) / (low[gap] + FLOOR) < relative
        ):
            boxes -= 1
            sum_ += area[gap] + area[event]
        else:
            onset[boxes], sum_ = begin[event], area[event]
        offset[boxes] = begin[event + 1]
        confidence[boxes] = sum_ / (offset[boxes] - onset[boxes])
        boxes += 1
    count[0] = boxes
