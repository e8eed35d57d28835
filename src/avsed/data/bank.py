"""Features of many clips, ready to be gathered into batches.

A bank that is *resident* keeps all standardised frames in one tensor on the device, so that no step waits for a file; one
that *streams* reads each batch's clips from the feature store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from avsed.device import upload
from avsed.features.sequence import FeatureSequence
from avsed.features.standardise import Standardiser
from avsed.timeline import pooled_frames

Load = Callable[[], FeatureSequence]


class FeatureBank:
    """Standardised feature frames of clips.

    loads : one function a clip, which reads its features from the store
    standardiser : applied to every clip's frames
    lengths : number of frames of each clip
    multiple : batches are padded with zeros to a multiple of so many frames
    resident : keep all frames on ``device``
    """

    def __init__(
        self,
        loads: Sequence[Load],
        lengths: Sequence[int],
        *,
        standardiser: Standardiser,
        multiple: int,
        device: torch.device,
        resident: bool,
    ) -> None:
        self._loads, self._standardiser, self._multiple, self._device = loads, standardiser, multiple, device
        self._lengths = torch.tensor(lengths, dtype=torch.int64)  # (clips,), on the CPU
        starts = torch.cumsum(self._lengths, 0) - self._lengths
        self._places = torch.stack([starts, self._lengths]).to(device)  # (2, clips): first frame and number of frames
        self._rows: torch.Tensor | None = None
        if resident:
            rows = torch.empty(int(self._lengths.sum()), standardiser.dims)
            for index in range(len(loads)):
                start = int(starts[index])
                rows[start : start + lengths[index]] = self._read(index)
            self._rows = rows.to(device)

    def __len__(self) -> int:
        return len(self._loads)

    @property
    def longest(self) -> int:
        """Frames of the longest clip."""
        return int(self._lengths.max())

    def _read(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self._standardiser.apply(self._loads[index]().values))

    def gather(self, clips: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A batch of clips, given by their indices.

        Returns float32 (clips, length, dims) on the device, zero past each clip's end, and the number of real frames
        int64 (clips,) on the CPU, or None if every clip fills the whole length.
        """
        index = torch.from_numpy(np.asarray(clips, np.int64))
        lengths = self._lengths[index]
        length = pooled_frames(int(lengths.max()), self._multiple) * self._multiple
        full = bool((lengths == length).all())
        if self._rows is None:
            batch = torch.zeros(len(index), length, self._standardiser.dims)
            for row, clip in enumerate(index.tolist()):
                frames = self._read(clip)
                batch[row, : len(frames)] = frames
            return upload(batch, self._device), None if full else lengths
        starts, counts = self._places[:, upload(index, self._device), None]  # (clips, 1) each
        steps = torch.arange(length, device=self._device)
        real = steps < counts  # (clips, length)
        batch = self._rows[(starts + steps) * real]  # (clips, length, dims)
        if not full:
            batch *= real[:, :, None]
        return batch, None if full else lengths


class ShuffledStream:
    """An endless stream of clip indices: every clip once, in random order, then all again in another order.

    A function of the step alone, so that an interrupted training goes on with the same batches.

    clips : number of clips, >= 1
    batch : clips in a step
    seed : seeds of the order, such as (training's seed, number of the stream)
    """

    def __init__(self, clips: int, batch: int, *, seed: tuple[int, ...]) -> None:
        if clips < 1:
            raise ValueError("a stream needs at least one clip")
        self._clips, self._batch, self._seed = clips, batch, seed
        self._orders: dict[int, np.ndarray] = {}

    def batch(self, step: int) -> np.ndarray:
        """int64 (batch,): the clips of step ``step`` (0, 1, …)."""
        places = np.arange(step * self._batch, (step + 1) * self._batch)
        rounds = places // self._clips
        self._orders = {r: order for r, order in self._orders.items() if r >= rounds.min(initial=0)}
        return np.array([self._order(int(r))[p] for r, p in zip(rounds, places % self._clips, strict=True)], np.int64)

    def _order(self, number: int) -> np.ndarray:
        if number not in self._orders:
            self._orders[number] = np.random.default_rng([*self._seed, number]).permutation(self._clips)
        return self._orders[number]
