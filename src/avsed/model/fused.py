"""The convolution block from convolution to pooling as one differentiable function, for training on a CPU.

It computes what `ConvolutionBlock` computes in training mode, in less time:

* channels-last memory, which the convolutions like best and in which a map is a plain matrix;
* normalisation, ReLU, dropout, mask and pooling in one pass of compiled code (`avsed.model.kernels`), which reads the convolution's
  output once; backward reads it twice, makes the same decisions again, and puts the gradient in its place;
* the work in pieces of some clips, each done by one thread from convolution to sums: threads meet twice a block instead of in every
  operator, where on a busy machine they wait for each other many times longer than they compute; and the allocator gives a piece's
  memory out again without asking the system for fresh pages.

What comes out is the same for any number of threads.

Where the block's convolution is `in_half`, its products are of bfloat16 values, and its output is kept as such until it is normalised;
the gradient of the output takes its place in the same form.

The dropout rate is stated in steps of 1/65536; what is kept is scaled by the actual rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avsed.device import each
from avsed.model import kernels

if TYPE_CHECKING:
    from avsed.model.crnn import ConvolutionBlock

PIECE = 1_250_000  # values of the convolution's output in a piece: 5 MB
PIECES = 4  # pieces of a small batch, for as many threads


def actual_rate(rate: float) -> float:
    """The dropout rate as 16 random bits can express it: the nearest multiple of 1/65536."""
    return round(rate * kernels.LEVELS) / kernels.LEVELS


def fused_block(x: torch.Tensor, mask: torch.Tensor | None, block: ConvolutionBlock) -> torch.Tensor:
    """What ``block`` computes in training mode, batch norm's running statistics updated.

    x : float32 (clips, channels, frames, bands) on the CPU, frames and bands multiples of the pooling
    mask : bool (clips, frames), True for each clip's real frames, which come first; None if all are real
    Returns float32 (clips, channels, frames / pooling, bands / pooling), in channels-last memory.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    return _Fused.apply(x, block.convolution.weight, block.norm.weight, block.norm.bias, mask, block)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
        mask: torch.Tensor | None,
        block: Any,
    ) -> torch.Tensor:
        clips, _, frames, bands = x.shape
        channels, (time, joined) = len(weight), block.pool.kernel_size
        kind = torch.bfloat16 if block.convolution.in_half else torch.float32
        weight = weight.detach().to(kind, memory_format=torch.channels_last)
        pieces = _pieces(clips, channels * frames * bands)

        def convolve(number: int) -> tuple[np.ndarray, np.ndarray]:
            with torch.no_grad():  # a thread has its own setting
                y = torch.conv2d(x[pieces[number]].to(kind), weight, padding=block.convolution.padding)
            flat, found = _rows(y), np.zeros((2, channels))
            kernels.add_statistics(flat, *found)
            return flat, found

        done = each(len(pieces), convolve)
        maps, sums = [flat for flat, _ in done], np.sum([found for _, found in done], axis=0)
        count = clips * frames * bands
        mean = sums[0] / count
        with np.errstate(over="ignore", invalid="ignore"):  # a training that diverges is told by its losses
            variance = np.maximum(sums[1] / count - mean * mean, 0.0)
        _update_running(block.norm, mean, variance * (count / max(1, count - 1)))
        deviation = 1.0 / np.sqrt(variance + block.norm.eps)
        scale = gamma.detach().double().numpy() * deviation
        shift = beta.detach().double().numpy() - scale * mean

        rate = actual_rate(block.dropout.p)
        key = torch.randint(2**32, (2,)).tolist() if rate else (0, 0)
        work = _Work(
            pieces,
            kernels.Shape(frames, channels, time, joined),
            scale=_tiled(scale, bands),
            shift=_tiled(shift, bands),
            key=(np.uint32(key[0]), np.uint32(key[1]), np.uint32(round(rate * kernels.LEVELS))),
            lengths=np.full(clips, frames) if mask is None else mask.sum(1).numpy(),
            factor=np.float32(1.0 / (time * joined * (1.0 - rate))),
        )
        result = torch.empty(clips, frames // time, bands // joined, channels)
        each(len(pieces), lambda number: work.run(kernels.activate, number, maps[number], result))
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, weight)
            ctx.maps, ctx.work, ctx.padding = maps, work, block.convolution.padding
            ctx.norm = scale, mean, deviation, count
        return result.permute(0, 3, 1, 2)  # (clips, channels, frames, bands), channels last

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        maps, work = ctx.maps, ctx.work
        scale, mean, deviation, count = ctx.norm
        bands = x.shape[3]
        gradient = gradient.permute(0, 2, 3, 1).contiguous()  # (clips, frames, bands, channels) of the pooled map

        def add(number: int) -> np.ndarray:
            sums = np.zeros((2, len(weight)))
            work.run(kernels.add_gradients, number, maps[number], gradient, *sums)
            return sums

        by_beta, by_product = np.sum(each(len(maps), add), axis=0)
        by_gamma = (by_product - mean * by_beta) * deviation
        # Batch norm: dy = scale · (dz − mean(dz) − normalised y · mean(dz · normalised y)), written as dz · scale + y · b + c.
        b = -scale * deviation * by_gamma / count
        c = -scale * by_beta / count - b * mean
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        wanted = [dx is not None, True, False]
        constants = _tiled(b, bands), _tiled(c, bands)

        def convolve_back(number: int) -> torch.Tensor:
            piece, y, maps[number] = work.pieces[number], maps[number], None  # freed as soon as used
            work.run(kernels.put_gradients, number, y, gradient, *constants)
            dy = torch.from_numpy(y).view(weight.dtype).view(-1, x.shape[2], bands, len(weight)).permute(0, 3, 1, 2)
            with torch.no_grad():
                found = torch.ops.aten.convolution_backward(
                    dy,
                    x[piece].to(weight.dtype),
                    weight,
                    None,
                    [1, 1],
                    list(ctx.padding),
                    [1, 1],
                    False,
                    [0, 0],
                    1,
                    wanted,
                )
                if dx is not None:
                    dx[piece] = found[0]
            return found[1].float()

        dweight = torch.stack(each(len(maps), convolve_back)).sum(0).contiguous(memory_format=torch.channels_last)
        ctx.maps = None
        return dx, dweight, torch.from_numpy(by_gamma).float(), torch.from_numpy(by_beta).float(), None, None


class _Work:
    """What the kernels of one block and step share, forward and backward."""

    def __init__(
        self,
        pieces: list[slice],
        shape: kernels.Shape,
        *,
        scale: np.ndarray,
        shift: np.ndarray,
        key: tuple[np.uint32, np.uint32, np.uint32],
        lengths: np.ndarray,
        factor: np.float32,
    ) -> None:
        self.pieces, self.shape = pieces, shape
        self._scale, self._shift, self._key, self._lengths, self._factor = scale, shift, key, lengths, factor

    def run(self, kernel: Callable[..., None], number: int, y: np.ndarray, pooled: torch.Tensor, *more: Any) -> None:
        """Run a kernel over a piece. pooled : the whole batch's pooled map, or its gradient."""
        piece = self.pieces[number]
        dropout = kernels.Dropout(*self._key, piece.start * (self.shape.rows // self.shape.time))
        there = pooled[piece].reshape(-1, *pooled.shape[2:]).numpy()  # (pooled rows, pooled bands, channels), a view
        lengths = self._lengths[piece]
        kernel(y, self._scale, self._shift, dropout, lengths, self.shape, self._factor, there, *more)


def _pieces(clips: int, values: int) -> list[slice]:
    """Slices of clips with about `PIECE` values each, at least one clip, and at least `PIECES` of them if there are as many clips."""
    size = max(1, min(-(-clips // PIECES), PIECE // values))
    return [slice(begin, min(begin + size, clips)) for begin in range(0, clips, size)]


def _rows(y: torch.Tensor) -> np.ndarray:
    """(clips, channels, frames, bands) in channels-last memory as a matrix (clips * frames, bands * channels), without a copy.

    bfloat16 as its bits, uint16.
    """
    rows = y.permute(0, 2, 3, 1).contiguous().view(y.shape[0] * y.shape[2], -1)
    return (rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows).numpy()


def _tiled(values: np.ndarray, bands: int) -> np.ndarray:
    return np.tile(values.astype(np.float32), bands)


def _update_running(norm: torch.nn.BatchNorm2d, mean: np.ndarray, variance: np.ndarray) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    weight = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(torch.from_numpy(mean).float(), weight)
    norm.running_var.lerp_(torch.from_numpy(variance).float(), weight)
