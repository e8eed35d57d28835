"""Other encoders in the places of the paper's: gated convolutions, and a transformer or conformer over the frames.

::

    GatedBlock          conv 3×3 → batch norm ─┬─ linear ──┐
                                               └─ sigmoid ─× → dropout → (mask) → average pool
    AttentionEncoder    linear ─ dropout ─ layers × block ─▶ (clips, frames, width)
      transformer         x + attention,  x + feed-forward; a layer norm after the last block
      conformer           x + ½ feed-forward, x + attention, x + convolution, x + ½ feed-forward; a layer norm after each block

Every part of a block begins with a layer norm ("pre-norm"). Attention knows how far apart two frames are, by rotation of queries
and keys, and nothing of where they stand in a clip, so that windows of a long recording are like any other clip. Padding is no key
of the attention, zero to the convolution, and no part of batch norm's statistics.

Sources: Xu, Kong, Wang and Plumbley, ICASSP 2018 (gated convolutions); Vaswani et al., NeurIPS 2017 (attention); Gulati et al.,
Interspeech 2020 (conformer); Su et al., "RoFormer", 2021 (rotation). `docs/encoders.md` says where this is not as there.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from avsed.device import upload
from avsed.model.convolution import Convolution
from avsed.model.options import AttentionConfig
from avsed.model.pooling import real_frames

LONGEST = 10_000.0  # frames: the slowest rotation turns once in 2π times as many (Vaswani et al., Section 3.5)


class GatedBlock(nn.Module):
    """Convolution to twice the channels → batch norm → one half times the sigmoid of the other → dropout → (mask) → average pool."""

    def __init__(self, inputs: int, outputs: int, *, pool: tuple[int, int], kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolution = Convolution(inputs, 2 * outputs, kernel)
        self.norm = nn.BatchNorm2d(2 * outputs)
        self.dropout = nn.Dropout(dropout)
        self.pool = nn.AvgPool2d(pool)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """x : float (clips, channels, frames, bands); mask : bool (clips, frames) or None -> the pooled map."""
        x = self.dropout(functional.glu(self.norm(self.convolution(x)), dim=1))
        if mask is not None:
            x = x * mask[:, None, :, None]
        return self.pool(x)


class Places:
    """Which frames of a padded batch are real, in the two forms that blocks need.

    mask : bool (clips, frames); index : int64 (real frames,), their rows in the flattened batch
    """

    def __init__(self, frames: torch.Tensor, length: int, device: torch.device) -> None:
        """frames : int64 (clips,) on the CPU, where the index is made: on a GPU its size would have to be waited for."""
        mask = real_frames(frames, length)
        self.mask = upload(mask, device)
        self.index = upload(mask.flatten().nonzero().squeeze(1), device)


class SelfAttention(nn.Module):
    """Multi-head self-attention with relative positions."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        self.heads, self.rate = config.heads, config.dropout
        self.norm = nn.LayerNorm(config.width)
        self.inputs = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, places: Places | None) -> torch.Tensor:
        """float (clips, frames, width) -> the same shape."""
        clips, frames, width = x.shape
        parts = self.inputs(self.norm(x)).view(clips, frames, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # each (clips, heads, frames, width / heads)
        heard = functional.scaled_dot_product_attention(
            rotate(queries),
            rotate(keys),
            values,
            attn_mask=None if places is None else places.mask[:, None, None],
            dropout_p=self.rate if self.training else 0.0,
        )
        return self.dropout(self.output(heard.transpose(1, 2).reshape(clips, frames, width)))


def rotate(x: torch.Tensor) -> torch.Tensor:
    """Turn each pair of values by an angle that grows with the frame's number, so that products depend on distances alone.

    x : float (..., frames, dims), dims even; pair i is the values i and dims / 2 + i, turned by frame · 10000^(−2i / dims)
    Returns the same shape and type (Su et al., 2021, Equation 34).
    """
    frames, dims = x.shape[-2:]
    pairs = torch.arange(dims // 2, device=x.device, dtype=torch.float32)
    angles = torch.arange(frames, device=x.device)[:, None] * LONGEST ** (-2 * pairs / dims)  # (frames, dims / 2)
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    one, other = x.chunk(2, -1)
    return torch.cat((one * cosine - other * sine, other * cosine + one * sine), -1)


class FeedForward(nn.Sequential):
    """Two linear layers with Swish between them, frame by frame."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__(
            nn.LayerNorm(config.width),
            nn.Linear(config.width, config.feedforward),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feedforward, config.width),
            nn.Dropout(config.dropout),
        )


class ConvolutionModule(nn.Module):
    """Gated pointwise convolution → depthwise convolution over time → batch norm → Swish → pointwise convolution."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        width, kernel = config.width, config.kernel
        self.before = nn.LayerNorm(width)
        self.gated = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, places: Places | None) -> torch.Tensor:
        """float (clips, frames, width) -> the same shape."""
        x = functional.glu(self.gated(self.before(x)), dim=2)
        if places is not None:
            x = x * places.mask[:, :, None]
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.output(functional.silu(self._normalised(x, places))))

    def _normalised(self, x: torch.Tensor, places: Places | None) -> torch.Tensor:
        """Batch norm over the real frames; padding becomes zero."""
        rows = x.flatten(0, 1)  # (clips * frames, width)
        norm = self.norm
        real = rows if places is None else rows[places.index]
        if len(real) > 1 or not norm.training:
            found = norm(real)
        else:  # one frame has no variance
            found = functional.batch_norm(
                real, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        if places is None:
            return found.view_as(x)
        return found.new_zeros(rows.shape).index_copy(0, places.index, found).view_as(x)


class TransformerBlock(nn.Module):
    """Self-attention and feed-forward layers, each added to what it was given."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        self.attention, self.feedforward = SelfAttention(config), FeedForward(config)

    def forward(self, x: torch.Tensor, places: Places | None) -> torch.Tensor:
        """float (clips, frames, width) -> the same shape."""
        x = x + self.attention(x, places)
        return x + self.feedforward(x)


class ConformerBlock(nn.Module):
    """Self-attention and convolution between two half steps of feed-forward layers (Gulati et al., Equation 1)."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        self.first, self.attention = FeedForward(config), SelfAttention(config)
        self.convolution, self.second = ConvolutionModule(config), FeedForward(config)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x: torch.Tensor, places: Places | None) -> torch.Tensor:
        """float (clips, frames, width) -> the same shape."""
        x = x + 0.5 * self.first(x)
        x = x + self.attention(x, places)
        x = x + self.convolution(x, places)
        return self.norm(x + 0.5 * self.second(x))


class AttentionEncoder(nn.Module):
    """A transformer or conformer over the frames of each clip.

    inputs : values of a frame; conformer : which of the two
    """

    def __init__(self, inputs: int, config: AttentionConfig, *, conformer: bool) -> None:
        super().__init__()
        block = ConformerBlock if conformer else TransformerBlock
        self.input = nn.Linear(inputs, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(block(config) for _ in range(config.layers))
        self.norm = nn.Identity() if conformer else nn.LayerNorm(config.width)
        self.dims = config.width

    def forward(self, x: torch.Tensor, frames: torch.Tensor | None) -> torch.Tensor:
        """x : float (clips, frames, inputs); frames : int64 (clips,) on the CPU, or None -> float (clips, frames, dims)."""
        places = None if frames is None else Places(frames, x.shape[1], x.device)
        x = self.dropout(self.input(x))
        for block in self.blocks:
            x = block(x, places)
        return self.norm(x)
