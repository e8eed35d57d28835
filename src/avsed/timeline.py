"""Frames and seconds: the only place that turns one into the other.

Ranges are half-open, ``[start, stop)``, in seconds from the beginning of the recording. A grid of frames looks like this
(period p, start s; the first and the last frame are cut to the clip)::

    boundary    0        1        2        3
                |--------|--------|--------|
    seconds     s       s+p     s+2p     s+3p
    centre          0        1        2
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class FrameGrid:
    """``count`` equally long frames, cut to the recording.

    start : seconds at which frame 0 would begin if it were not cut; may be negative
    period : seconds from one frame to the next, > 0
    count : number of frames, >= 0
    stop : seconds at which the recording ends; boundaries are cut to [max(0, begin), stop]
    begin : seconds at which the recording's sound begins, usually 0
    """

    start: float
    period: float
    count: int
    stop: float
    begin: float = 0.0

    def __post_init__(self) -> None:
        if not (self.period > 0 and self.count >= 0 and self.stop >= self.begin):
            raise ValueError(f"a frame grid needs period > 0, count >= 0 and stop >= begin, got {self}")

    @property
    def boundaries(self) -> np.ndarray:
        """float64 (count + 1,), seconds, non-decreasing: frame j spans [boundaries[j], boundaries[j + 1])."""
        return np.clip(self.start + self.period * np.arange(self.count + 1), self.begin, self.stop)

    @property
    def centres(self) -> np.ndarray:
        """float64 (count,), seconds: the middle of each whole (uncut) frame."""
        return self.start + self.period * (np.arange(self.count) + 0.5)


def spectral_frames(samples: int, hop: int) -> int:
    """Number of frames of a centred short-time transform: ``samples // hop + 1`` (221,000 samples, hop 366 -> 604)."""
    return samples // hop + 1


def pooled_frames(frames: int, pool: int) -> int:
    """Number of frames after pooling ``pool`` of them into one, the last one perhaps from fewer (604, 4 -> 151)."""
    return -(-frames // pool)


def pooled_grid(*, frames: int, pool: int, hop: int, rate: int, duration: float, begin: float = 0.0) -> FrameGrid:
    """The time grid of a network that pools ``pool`` frames of a centred transform into one.

    Spectral frame i is centred on sample ``i * hop``, so output frame j spans spectral frames 4j .. 4j+3 and hence
    ``[(4j - 1/2), (4j + 7/2)) * hop / rate`` seconds (for pool 4), cut to the clip.

    frames : number of *spectral* frames
    rate : samples per second
    duration : seconds of sound; begin : seconds at which the sound begins
    """
    period = pool * hop / rate
    return FrameGrid(
        start=begin - 0.5 * hop / rate,
        period=period,
        count=pooled_frames(frames, pool),
        stop=begin + duration,
        begin=begin,
    )


def nearest_frames(times: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """For each of ``times`` the index of the nearest of the increasing ``centres``, edge values held.

    times : float (n,), seconds; centres : float (m,), increasing, m >= 1
    Returns int64 (n,) in [0, m). A tie goes to the earlier one.
    """
    if len(centres) == 0:
        raise ValueError("nearest_frames needs at least one centre")
    right = np.clip(np.searchsorted(centres, times), 1, max(1, len(centres) - 1))
    left = right - 1
    right = np.minimum(right, len(centres) - 1)
    return np.where(np.abs(times - centres[left]) <= np.abs(centres[right] - times), left, right)


def rows_of_frames(times: np.ndarray, grid: FrameGrid, alignment: Literal["time", "index"]) -> np.ndarray:
    """For each frame of a grid the row of a feature sequence that it sees; int64 (count,).

    times : float64 (rows,), centre of each row, seconds
    alignment : ``time`` for the row nearest to the frame's centre; ``index`` for the row of the frame's own number, the
        last one held, which is what the paper probably did: right only as far as rows and frames keep step
    """
    if alignment == "index":
        return np.minimum(np.arange(grid.count), len(times) - 1)
    return nearest_frames(grid.centres, times)


def frames_of_event(grid: FrameGrid, onset: float, offset: float) -> slice:
    """The frames that an event is in: those between the frame boundaries nearest to its onset and to its offset.

    So every frame counts that it covers by more than a half, and neither onsets nor offsets are moved to one side; an event that
    would lose all its frames so has the one that its middle lies in. Of an event outside the recording the slice is empty.

    onset, offset : seconds, onset <= offset
    """
    boundaries = grid.boundaries
    if grid.count == 0 or onset >= boundaries[-1] or offset <= boundaries[0]:
        return slice(0, 0)
    first, stop = nearest_frames(np.array([onset, offset]), boundaries).tolist()
    if first == stop:
        middle = np.searchsorted(boundaries, (onset + offset) / 2, side="right") - 1
        first = int(np.clip(middle, 0, grid.count - 1))
        stop = first + 1
    return slice(first, stop)


def format_seconds(seconds: float) -> str:
    """``12.3 s``, ``4 min 05 s`` or ``1 h 02 min``, for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = math.floor(seconds + 0.5)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
