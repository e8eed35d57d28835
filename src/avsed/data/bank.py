"""Features of many clips, ready to be gathered into batches.

A bank that is *resident* keeps all rows on the device, so that no step waits for a file; one that *streams* reads each
batch's clips from the feature store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from avsed.device import each, upload
from avsed.features.sequence import FeatureSequence
from avsed.model.batch import Batch
from avsed.timeline import pooled_frames

Load = Callable[[], FeatureSequence]
Prepare = Callable[[int, FeatureSequence], tuple[np.ndarray, np.ndarray]]


class StreamBank:
    """One stream of features: what one extractor made of each clip.

    loads : one function a clip, which reads its features from the store; None for a clip that lacks the stream
    prepare : from a clip's number and its features to rows, float (rows, dims), and the row that each of its frames sees,
        int64 (frames,)
    dims : values in a row
    rows : to keep all rows on ``device``, their number; None to read them from the store for each batch
    """

    def __init__(
        self, loads: Sequence[Load | None], prepare: Prepare, *, dims: int, device: torch.device, rows: int | None
    ) -> None:
        self._loads, self._prepare, self.device, self.dims = loads, prepare, device, dims
        self.missing = np.array([load is None for load in loads])
        self._rows: torch.Tensor | None = None
        if rows is not None:
            self._keep(rows)

    def _keep(self, rows: int) -> None:
        """Move all rows to the device, one clip at a time, in the type of the first, or float32 if one is."""
        kept, places, count = torch.empty(0, self.dims, dtype=torch.float16, device=self.device), [], 0
        for clip in range(len(self._loads)):
            values, seen = (torch.from_numpy(array) for array in self._read(clip))
            if not count and len(values):
                kept = torch.empty(rows, self.dims, dtype=values.dtype, device=self.device)
            elif values.dtype.itemsize > kept.dtype.itemsize:
                kept = kept.to(values.dtype)
            kept[count : count + len(values)] = values
            places.append(seen + count)
            count += len(values)
        lengths = torch.tensor([len(seen) for seen in places])
        self._rows = kept  # (all rows, dims)
        self._places = torch.cat(places).to(self.device)  # (all frames,): the row of each
        self._spans = torch.stack([lengths.cumsum(0) - lengths, lengths]).to(
            self.device
        )  # (2, clips): first frame, frames

    def _read(self, clip: int) -> tuple[np.ndarray, np.ndarray]:
        load = self._loads[clip]
        if load is None:
            return np.zeros((0, self.dims), np.float16), np.zeros(0, np.int64)
        return self._prepare(clip, load())

    def gather(self, clips: torch.Tensor, length: int, *, full: bool) -> torch.Tensor:
        """float32 (clips, length, dims) on the device, zero past each clip's end.

        clips : int64 on the CPU; full : all of them have ``length`` frames
        """
        if self._rows is None:
            read = each(len(clips), lambda number: self._read(int(clips[number])))
            kinds = [torch.from_numpy(values).dtype for values, _ in read]
            batch = torch.empty(len(clips), length, self.dims, dtype=max(kinds, key=lambda kind: kind.itemsize))
            for row, (values, places) in zip(batch.numpy(), read, strict=True):
                row[: len(places)] = values[places]
                row[len(places) :] = 0
            return upload(batch, self.device).float()
        if not len(self._places):  # no clip has the stream
            return torch.zeros(len(clips), length, self.dims, device=self.device)
        starts, counts = self._spans[:, upload(clips, self.device), None]  # (clips, 1) each
        steps = torch.arange(length, device=self.device)
        real = steps < counts  # (clips, length)
        found = self._rows[self._places[(starts + steps) * real]].float()
        if not full:
            found *= real[:, :, None]
        return found


class FeatureBank:
    """Clips with all their streams.

    spectral : spectra, a row for each spectral frame; None for a network without spectral input
    pretrained : by extractor, a row for each model frame
    lengths : spectral frames of each clip (without spectral input: as many as it would have)
    time_pool : spectral frames in a model frame
    """

    def __init__(
        self,
        spectral: StreamBank | None,
        pretrained: Mapping[str, StreamBank],
        lengths: Sequence[int],
        *,
        time_pool: int,
    ) -> None:
        self._spectral, self._pretrained, self._pool = spectral, pretrained, time_pool
        self._lengths = torch.tensor(lengths, dtype=torch.int64)  # (clips,), on the CPU
        streams = [stream for stream in (spectral, *pretrained.values()) if stream is not None]
        self._device = streams[0].device
        self._present = torch.from_numpy(~np.stack([stream.missing for stream in streams], 1))  # (clips, streams)

    def __len__(self) -> int:
        return len(self._lengths)

    def gather(self, clips: np.ndarray) -> Batch:
        """A batch of clips, given by their indices."""
        index = torch.from_numpy(np.asarray(clips, np.int64))
        lengths = self._lengths[index]
        frames = pooled_frames(int(lengths.max()), self._pool)
        full = bool((lengths == frames * self._pool).all())
        present = self._present[index]
        whole = bool(present.all())
        return Batch(
            None if self._spectral is None else self._spectral.gather(index, frames * self._pool, full=full and whole),
            {name: bank.gather(index, frames, full=full and whole) for name, bank in self._pretrained.items()},
            None if full else lengths,
            None if bool(self._present.all()) else upload(present, self._device),
        )


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
