"""What can be chosen about the network; nothing here imports PyTorch."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from avsed.sections import Section, Size


class ModelConfig(Section):
    """The sizes of the network (paper, Section 2.1)."""

    channels: tuple[Size, ...] = Field((16, 32, 64, 128, 128, 128, 128), description="channels of each convolution")
    pools: tuple[tuple[Size, Size], ...] = Field(
        ((2, 2), (2, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2)),
        description="average pooling (time, frequency) after each",
    )
    kernel: int = Field(3, ge=1, description="kernel size of the convolutions in both directions, odd")
    dropout: float = Field(0.33, ge=0, lt=1, description="dropout rate after each convolution's ReLU")
    hidden: int = Field(128, ge=1, description="hidden size of the GRU in each direction")
    layers: int = Field(2, ge=1, description="layers of the GRU")

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        if not self.channels or len(self.channels) != len(self.pools):
            raise ValueError(
                f"expected a number of channels and a pool for each convolution, got {len(self.channels)} and {len(self.pools)}"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"the kernel size must be odd, got {self.kernel}")
        return self

    @property
    def time_pool(self) -> int:
        """Spectral frames in one frame of the model (4 in the paper)."""
        return math.prod(pool[0] for pool in self.pools)

    @property
    def band_pool(self) -> int:
        """Mel bands that the pooling joins (128 in the paper)."""
        return math.prod(pool[1] for pool in self.pools)
