"""Pretrained features beside the spectral ones (paper, Section 3).

::

    CNN output      (clips, frames, 128) ───────────────────────────────────┐
    one extractor   (clips, frames, dims) ─ linear → ReLU → dropout ─ size ─┼─ concatenated ─▶ GRU
    another         (clips, frames, dims) ─ linear → ReLU → dropout ─ size ─┘

Where a clip lacks a stream, a learned vector may stand in its place in every frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from avsed.features.options import LOGMEL
from avsed.model.batch import Batch


class Reduced(NamedTuple):
    """dims : values in a row of an extractor; size : to how many they are reduced."""

    dims: int
    size: int


class Fusion(nn.Module):
    """Lays what the streams say of a frame side by side.

    spectral : values of the CNN's output, None without spectral input
    pretrained : the extractors, in the order in which they follow the spectral part
    learned : vectors are learned for absent streams
    """

    def __init__(
        self, spectral: int | None, pretrained: Mapping[str, Reduced], *, dropout: float, learned: bool
    ) -> None:
        super().__init__()
        sizes = ({} if spectral is None else {LOGMEL: spectral}) | {n: shape.size for n, shape in pretrained.items()}
        if not sizes:
            raise ValueError("a network needs spectral input, pretrained features, or both")
        self.streams = tuple(sizes)
        self.dims = sum(sizes.values())
        self.layers = nn.ModuleDict({name: nn.Linear(*shape) for name, shape in pretrained.items()})
        self.dropout = nn.Dropout(dropout)
        self.absent = nn.ParameterDict({name: torch.zeros(size) for name, size in sizes.items()} if learned else {})

    def forward(self, spectral: torch.Tensor | None, batch: Batch) -> torch.Tensor:
        """spectral : float (clips, frames, CNN's dims) or None -> float (clips, frames, dims)."""
        parts = [] if spectral is None else [spectral]
        for name, layer in self.layers.items():
            parts.append(self.dropout(torch.relu(layer(batch.embeddings[name]))))
        if batch.present is not None:
            if not self.absent:
                raise ValueError("clips lack streams, but the network has learned nothing to put in their place")
            there = batch.present[:, :, None, None].unbind(1)  # (clips, 1, 1) for each stream
            parts = [
                torch.where(has, part, self.absent[name])
                for name, part, has in zip(self.streams, parts, there, strict=True)
            ]
        return torch.cat(parts, 2) if len(parts) > 1 else parts[0]


def hide(batch: Batch, streams: int, rate: float) -> Batch:
    """The batch with some clips' streams hidden at random, so that the network learns to do without; none loses all it has.

    streams : of the network; rate : how often each is hidden
    """
    shape = (batch.clips, streams)
    there = batch.present if batch.present is not None else torch.ones(shape, dtype=torch.bool, device=batch.device)
    kept = there & (torch.rand(shape, device=batch.device) >= rate)
    return batch._replace(present=torch.where(kept.any(1, keepdim=True), kept, there))
