"""The convolution block from convolution to pooling as one differentiable function, for training on a CPU.

It computes what `ConvolutionBlock` computes in training mode, in less time:

* channels-last memory, which the convolutions like best and in which a map is a plain matrix;
* normalisation, ReLU, dropout, mask and pooling in one pass of compiled code (`avsed.model.kernels`), which reads the convolution's
  output once; backward reads it twice, makes the same decisions again, and puts the gradient in its place;
* the convolution's output in pieces, whose memory the allocator uses again without asking the system for fresh pages.

The dropout rate is stated in steps of 1/65536; what is kept is scaled by the actual rate.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avsed.model import kernels

if TYPE_CHECKING:
    from avsed.model.crnn import ConvolutionBlock

PIECE = 1_250_000  # values of the convolution's output made at once: 5 MB


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
        weight = weight.detach().contiguous(memory_format=torch.channels_last)
        pieces = _pieces(clips, channels * frames * bands)
        maps, sums = [], np.zeros((2, channels))
        for piece in pieces:
            y = torch.conv2d(x[piece], weight, padding=block.convolution.padding)  # (clips, channels, frames, bands)
            maps.append(_rows(y))
            sums += _summed(kernels.add_statistics, len(maps[-1]), channels, maps[-1])
        count = clips * frames * bands
        mean = sums[0] / count
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
        for number, flat in enumerate(maps):
            work.share(kernels.activate, number, flat, result)
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
        by_beta, by_product = np.sum([work.sum(kernels.add_gradients, n, y, gradient) for n, y in enumerate(maps)], 0)
        by_gamma = (by_product - mean * by_beta) * deviation
        # Batch norm: dy = scale · (dz − mean(dz) − normalised y · mean(dz · normalised y)), written as dz · scale + y · b + c.
        b = -scale * deviation * by_gamma / count
        c = -scale * by_beta / count - b * mean
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        dweight = torch.zeros_like(weight)
        for number, piece in enumerate(work.pieces):
            y, maps[number] = maps[number], None  # freed as soon as used
            work.share(kernels.put_gradients, number, y, gradient, _tiled(b, bands), _tiled(c, bands))
            dy = torch.from_numpy(y).view(-1, x.shape[2], bands, len(weight)).permute(0, 3, 1, 2)
            wanted = [dx is not None, True, False]
            found = torch.ops.aten.convolution_backward(
                dy, x[piece], weight, None, [1, 1], list(ctx.padding), [1, 1], False, [0, 0], 1, wanted
            )
            if dx is not None:
                dx[piece] = found[0]
            dweight += found[1]
        ctx.maps = None
        return dx, dweight, torch.from_numpy(by_gamma).float(), torch.from_numpy(by_beta).float(), None, None


class _Work:
    """What the kernels of one block and step share, forward and backward, and its division among threads."""

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

    def _arguments(self, number: int, y: np.ndarray, pooled: torch.Tensor) -> tuple[tuple[Any, ...], int]:
        piece = self.pieces[number]
        rows = self.shape.rows // self.shape.time
        dropout = kernels.Dropout(*self._key, piece.start * rows)
        there = pooled[piece].reshape(-1, *pooled.shape[2:]).numpy()  # (pooled rows, pooled bands, channels), a view
        lengths = self._lengths[piece]
        return (y, self._scale, self._shift, dropout, lengths, self.shape, self._factor, there), len(there)

    def share(self, kernel: Callable[..., None], number: int, y: np.ndarray, pooled: torch.Tensor, *more: Any) -> None:
        """Run a kernel over a piece's pooled rows."""
        given, rows = self._arguments(number, y, pooled)
        _divide(rows, lambda begin, end: kernel(*given, begin, end, *more))

    def sum(self, kernel: Callable[..., None], number: int, y: np.ndarray, pooled: torch.Tensor) -> np.ndarray:
        """What a kernel adds up over a piece's pooled rows: float64 (2, channels)."""
        given, rows = self._arguments(number, y, pooled)
        return _summed(kernel, rows, self.shape.channels, *given)


def _summed(kernel: Callable[..., None], rows: int, channels: int, *given: Any) -> np.ndarray:
    """The two sums of a kernel over a range of rows, each thread's added in order: float64 (2, channels)."""

    def part(begin: int, end: int) -> np.ndarray:
        sums = np.zeros((2, channels))
        kernel(*given, begin, end, sums[0], sums[1])
        return sums

    return np.sum(_divide(rows, part), axis=0)


def _divide(rows: int, work: Callable[[int, int], Any]) -> list[Any]:
    """Call ``work`` with consecutive ranges of rows, one for each of PyTorch's threads."""
    threads = torch.get_num_threads()
    edges = [rows * number // threads for number in range(threads + 1)]
    if threads == 1:
        return [work(0, rows)]
    others = [_pool(threads - 1).submit(work, *edges[number : number + 2]) for number in range(1, threads)]
    return [work(*edges[:2]), *(other.result() for other in others)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="avsed")


def _pieces(clips: int, values: int) -> list[slice]:
    """Slices of clips with about `PIECE` values each, at least one clip."""
    size = max(1, min(clips, PIECE // values))
    return [slice(begin, min(begin + size, clips)) for begin in range(0, clips, size)]


def _rows(y: torch.Tensor) -> np.ndarray:
    """(clips, channels, frames, bands) in channels-last memory as a matrix (clips * frames, bands * channels), without a copy."""
    return y.permute(0, 2, 3, 1).contiguous().view(y.shape[0] * y.shape[2], -1).numpy()


def _tiled(values: np.ndarray, bands: int) -> np.ndarray:
    return np.tile(values.astype(np.float32), bands)


def _update_running(norm: torch.nn.BatchNorm2d, mean: np.ndarray, variance: np.ndarray) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    weight = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(torch.from_numpy(mean).float(), weight)
    norm.running_var.lerp_(torch.from_numpy(variance).float(), weight)
