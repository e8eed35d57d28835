"""Clips with several streams of features, on the frames of the model.

The model's frames follow the spectral ones (`avsed.timeline.pooled_grid`), of which a clip of n seconds has as many with a
log-mel map as without. All streams of a clip share one time frame: that of its sound or, if it has none, its pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch

from avsed.annotations import Event
from avsed.config import Config
from avsed.data.bank import FeatureBank, Prepare, StreamBank
from avsed.features.options import LOGMEL
from avsed.features.sequence import FeatureSequence
from avsed.features.standardise import Standardiser
from avsed.timeline import FrameGrid, frames_of_event, pooled_grid, rows_of_frames, spectral_frames


class Features(Protocol):
    """One stream of a clip, in memory or in the store: rows, the seconds [begin, stop) it is of, and how to load it."""

    @property
    def rows(self) -> int: ...

    @property
    def begin(self) -> float: ...

    @property
    def stop(self) -> float: ...

    def load(self) -> FeatureSequence:
        """The features themselves."""
        ...


Streams = Mapping[str, Features]
"""Of one clip, by extractor: those that it has, at least one."""


def spectral_length(clip: Streams, config: Config) -> int:
    """Frames of a clip's log-mel map, or as many as it would have."""
    if LOGMEL in clip:
        return clip[LOGMEL].rows
    begin, stop = _span(clip, config)
    return spectral_frames(round((stop - begin) * config.features.rate), config.features.hop)


def clip_grid(clip: Streams, config: Config) -> FrameGrid:
    """The model's frames in a clip, which are also those of its scores."""
    begin, stop = _span(clip, config)
    return pooled_grid(
        frames=spectral_length(clip, config),
        pool=config.model.time_pool,
        hop=config.features.hop,
        rate=config.features.rate,
        duration=stop - begin,
        begin=begin,
    )


def make_bank(
    clips: Sequence[Streams],
    config: Config,
    *,
    dims: Mapping[str, int],
    standardiser: Standardiser | None,
    device: torch.device,
    resident: bool,
) -> FeatureBank:
    """The bank of clips for the network that a configuration describes.

    dims : values in a row of each stream; standardiser : of the log-mel map, where the network takes it
    """

    def standardised(_: int, sequence: FeatureSequence) -> tuple[np.ndarray, np.ndarray]:
        assert standardiser is not None, "a network with spectral input has a standardiser"
        return standardiser.apply(sequence.values), np.arange(sequence.rows)

    def aligned(number: int, sequence: FeatureSequence) -> tuple[np.ndarray, np.ndarray]:
        rows = rows_of_frames(sequence.times, clip_grid(clips[number], config), config.fusion.alignment)
        return sequence.values, rows

    def stream(name: str, prepare: Prepare) -> StreamBank:
        own = [clip.get(name) for clip in clips]
        rows = sum(features.rows for features in own if features is not None)
        loads = [None if features is None else features.load for features in own]
        return StreamBank(loads, prepare, dims=dims[name], device=device, rows=rows if resident else None)

    return FeatureBank(
        stream(LOGMEL, standardised) if config.spectral else None,
        {name: stream(name, aligned) for name in config.reduced},
        [spectral_length(clip, config) for clip in clips],
        time_pool=config.model.time_pool,
    )


def frame_targets(events: Iterable[Event], grid: FrameGrid, labels: Sequence[str]) -> np.ndarray:
    """Which classes sound in which of a clip's frames (`avsed.timeline.frames_of_event`): bool (frames, classes)."""
    targets = np.zeros((grid.count, len(labels)), bool)
    for event in events:
        targets[frames_of_event(grid, event.onset, event.offset), labels.index(event.label)] = True
    return targets


def _span(clip: Streams, config: Config) -> tuple[float, float]:
    """Seconds at which a clip begins and ends."""
    first = next(clip[name] for name in config.streams if name in clip)
    return first.begin, first.stop
