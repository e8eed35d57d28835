"""What a training learns from, and which of it each step sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from avsed.data.bank import FeatureBank, ShuffledStream
from avsed.device import upload
from avsed.model.batch import Batch, join
from avsed.training.options import TrainingConfig

WEAK, UNLABELLED, STRONG = 0, 1, 2  # number of each stream, a part of its seed


@dataclass(frozen=True)
class StrongClips:
    """Clips with events.

    features : of the clips
    tags : float32 (clips, classes), 0 or 1, on the device
    targets : of each clip, bool (model frames, classes), on the CPU
    """

    features: FeatureBank
    tags: torch.Tensor
    targets: Sequence[np.ndarray]


@dataclass(frozen=True)
class TrainingClips:
    """What a training learns from: features of weak and unlabelled clips, the weak clips' tags, and clips with events.

    tags : float32 (weak clips, classes), 0 or 1, on the device
    """

    weak: FeatureBank
    tags: torch.Tensor
    unlabelled: FeatureBank | None
    strong: StrongClips | None = None


class Step(NamedTuple):
    """What a step learns from.

    batch : weak, strong and unlabelled clips, in this order
    tags : float32 (weak and strong clips, classes), on the device
    targets : float32 (strong clips, model frames, classes), on the device, zero past a clip's end; None if there are none
    """

    batch: Batch
    tags: torch.Tensor
    targets: torch.Tensor | None


class Batches:
    """The batches of a training; each is a function of seed and step alone.

    time_pool : spectral frames in a model frame
    """

    def __init__(self, clips: TrainingClips, config: TrainingConfig, *, seed: int, time_pool: int) -> None:
        self._clips, self._pool = clips, time_pool

        def stream(bank: FeatureBank | None, size: int, number: int) -> ShuffledStream | None:
            return None if bank is None or not size else ShuffledStream(len(bank), size, seed=(seed, number))

        self._weak = ShuffledStream(len(clips.weak), config.weak_batch, seed=(seed, WEAK))
        self._strong = stream(clips.strong.features if clips.strong else None, config.strong_batch, STRONG)
        self._unlabelled = stream(clips.unlabelled, config.unlabelled_batch, UNLABELLED)

    def __call__(self, number: int) -> Step:
        """The batch of step ``number`` (0, 1, …)."""
        clips = self._clips
        weak = self._weak.batch(number)
        parts = [clips.weak.gather(weak)]
        tags = [clips.tags[_on(clips.tags, weak)]]
        chosen = None
        if clips.strong is not None and self._strong is not None:
            chosen = self._strong.batch(number)
            parts.append(clips.strong.features.gather(chosen))
            tags.append(clips.strong.tags[_on(clips.strong.tags, chosen)])
        if clips.unlabelled is not None and self._unlabelled is not None:
            parts.append(clips.unlabelled.gather(self._unlabelled.batch(number)))
        batch = join(parts, time_pool=self._pool) if len(parts) > 1 else parts[0]
        targets = None if chosen is None else self._targets(chosen, batch.model_frames(self._pool))
        return Step(batch, torch.cat(tags) if len(tags) > 1 else tags[0], targets)

    def _targets(self, chosen: np.ndarray, length: int) -> torch.Tensor:
        strong = self._clips.strong
        assert strong is not None, "there are strong clips"
        targets = torch.zeros(len(chosen), length, strong.tags.shape[1], dtype=torch.bool)
        for row, clip in enumerate(chosen.tolist()):
            own = torch.from_numpy(strong.targets[clip])
            targets[row, : len(own)] = own
        return upload(targets, strong.tags.device).float()


def _on(values: torch.Tensor, index: np.ndarray) -> torch.Tensor:
    """An index on the device of what it is of."""
    return upload(torch.from_numpy(index), values.device)
