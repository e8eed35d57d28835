"""What can be chosen about the network; nothing here imports PyTorch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from avsed.sections import Section, Size


class AttentionConfig(Section):
    """The sizes of a transformer or conformer in the place of the GRU; see `avsed.model.encoders`."""

    layers: int = Field(3, ge=1, description="blocks one after another")
    width: int = Field(144, ge=2, description="values of a frame between blocks, an even number for each head")
    heads: int = Field(4, ge=1, description="heads of the self-attention")
    feedforward: int = Field(576, ge=1, description="hidden values of the feed-forward layers")
    kernel: int = Field(7, ge=1, description="frames that the conformer's depthwise convolution sees, odd")
    dropout: float = Field(0.1, ge=0, le=0.99, description="dropout rate of every part of a block")

    @model_validator(mode="after")
    def _fits(self) -> AttentionConfig:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"the width must be a multiple of twice the heads, got {self.width} values and {self.heads} heads"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"the kernel must be odd, got {self.kernel}")
        return self


class ModelConfig(Section):
    """The network; the defaults are the paper's (Section 2.1)."""

    convolution: Literal["paper", "gated"] = Field(
        "paper", description="what follows a convolution's batch norm: a ReLU, or a gate of as many channels"
    )
    channels: tuple[Size, ...] = Field((16, 32, 64, 128, 128, 128, 128), description="channels of each convolution")
    pools: tuple[tuple[Size, Size], ...] = Field(
        ((2, 2), (2, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2)),
        description="average pooling (time, frequency) after each",
    )
    kernel: int = Field(3, ge=1, description="kernel size of the convolutions in both directions, odd")
    dropout: float = Field(0.33, ge=0, le=0.99, description="dropout rate after each convolution's ReLU or gate")
    sequence: Literal["gru", "transformer", "conformer"] = Field(
        "gru", description="what joins the frames of a clip; hidden and layers are the GRU's, attention the others'"
    )
    hidden: int = Field(128, ge=1, description="hidden size of the GRU in each direction")
    layers: int = Field(2, ge=1, description="layers of the GRU")
    attention: AttentionConfig = AttentionConfig()

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
