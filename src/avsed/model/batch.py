"""What the network takes: some clips, all their streams, on one grid of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch.nn.functional import pad

NONE: Mapping[str, torch.Tensor] = MappingProxyType({})


class Batch(NamedTuple):
    """Clips side by side, padded with zeros to a common length.

    spectra : float (clips, spectral frames, bands), standardised log-mel; None for a network without spectral input
    embeddings : by extractor, float (clips, model frames, dims): for each model frame the row that it sees
    lengths : int64 (clips,) *on the CPU*, real spectral frames of each clip, >= 1, or, without spectral input, as many as
        it would have; None if every clip fills the whole length
    present : bool (clips, streams), whether a clip has a stream, in the network's order; None if all have all
    """

    spectra: torch.Tensor | None
    embeddings: Mapping[str, torch.Tensor] = NONE
    lengths: torch.Tensor | None = None
    present: torch.Tensor | None = None

    @property
    def clips(self) -> int:
        """Number of clips."""
        return len(self._any)

    @property
    def device(self) -> torch.device:
        return self._any.device

    @property
    def _any(self) -> torch.Tensor:
        return self.spectra if self.spectra is not None else next(iter(self.embeddings.values()))

    def padded(self, length: int, time_pool: int) -> Batch:
        """The same clips with room for ``length`` model frames; all `lengths` are spelt out."""
        lengths = self.lengths
        if lengths is None:
            frames = self._any.shape[1] * (1 if self.spectra is not None else time_pool)
            lengths = torch.full((self.clips,), frames)
        spectra = None if self.spectra is None else _lengthened(self.spectra, length * time_pool)
        return Batch(spectra, {n: _lengthened(x, length) for n, x in self.embeddings.items()}, lengths, self.present)

    def model_frames(self, time_pool: int) -> int:
        """Frames of the model in the padded batch."""
        return self.spectra.shape[1] // time_pool if self.spectra is not None else self._any.shape[1]


def join(batches: Sequence[Batch], *, time_pool: int) -> Batch:
    """One batch of several with the same streams."""
    length = max(batch.model_frames(time_pool) for batch in batches)
    full = all(b.lengths is None and b.model_frames(time_pool) == length for b in batches)
    if not full:
        batches = [batch.padded(length, time_pool) for batch in batches]
    spectra = [b.spectra for b in batches if b.spectra is not None]
    lengths = [b.lengths for b in batches if b.lengths is not None]
    present = None
    if (some := next((b.present for b in batches if b.present is not None), None)) is not None:
        present = torch.cat(
            [some.new_ones(b.clips, some.shape[1]) if b.present is None else b.present for b in batches]
        )
    return Batch(
        torch.cat(spectra) if spectra else None,
        {name: torch.cat([b.embeddings[name] for b in batches]) for name in batches[0].embeddings},
        torch.cat(lengths) if lengths else None,
        present,
    )


def _lengthened(x: torch.Tensor, length: int) -> torch.Tensor:
    return pad(x, (0, 0, 0, length - x.shape[1]))
