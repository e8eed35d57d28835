"""The convolution of the paper's blocks and of the gated ones."""

from __future__ import annotations

import torch
from torch import nn


class Convolution(nn.Conv2d):
    """A convolution without bias that keeps the size.

    `in_half` says whether training multiplies in bfloat16, between maps in single precision: for CPUs whose matrix units take
    that. On a GPU autocast does it, for all layers.
    """

    in_half = False

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float (clips, channels, frames, bands) -> the same shape, of the output's channels."""
        if self.in_half and self.training:
            return self._conv_forward(x.bfloat16(), self.weight.bfloat16(), None).to(x.dtype)
        return super().forward(x)
