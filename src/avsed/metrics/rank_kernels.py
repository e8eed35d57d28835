"""Compiled loops of the ranking scores: one walk down the order of clips for each resample.

weights : int64 (resamples, clips); clips : int64 (places,), the clip at each place, best first; tagged : bool (places,);
ends : bool (places,), whether the next place has a lower value; out : float64 (resamples,)
"""

from __future__ import annotations

import numpy as np

from avsed.compiling import compiled


@compiled
def average_precision(weights, clips, tagged, ends, out):  # type: ignore[no-untyped-def]
    """Mean precision at the places of tagged clips; NaN without any."""
    for r in range(len(weights)):
        above, right, before, total = 0, 0, 0, 0.0
        for place in range(len(clips)):
            weight = weights[r, clips[place]]
            above += weight
            if tagged[place]:
                right += weight
            if ends[place] and right > before:
                total += (right - before) * (right / above)
                before = right
        out[r] = total / right if right > 0 else np.nan


@compiled
def roc_area(weights, clips, tagged, ends, out):  # type: ignore[no-untyped-def]
    """Share of (tagged, other) pairs in the right order, equals counting half; NaN without any pair."""
    for r in range(len(weights)):
        tags, others, ordered = 0, 0, 0.0  # of the places so far; pairs in order
        own_tags, own_others = 0, 0  # of the places with this value
        for place in range(len(clips)):
            weight = weights[r, clips[place]]
            if tagged[place]:
                own_tags += weight
            else:
                own_others += weight
            if ends[place]:
                ordered += own_others * (tags + 0.5 * own_tags)
                tags += own_tags
                others += own_others
                own_tags, own_others = 0, 0
        pairs = float(tags) * float(others)
        out[r] = ordered / pairs if pairs > 0 else np.nan
