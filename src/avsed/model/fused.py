"""The convolution block from convolution to pooling as one differentiable function, for training on a CPU.

It computes what `ConvolutionBlock` computes in training mode, in less time:

* channels-last memory, which the convolutions like best and in which a map is a plain matrix of (positions, channels);
* everything after the convolution runs piece by piece, each small enough to stay in the processor's cache;
* dropout masks are made eight at a time in 64-bit integers: one random byte a value, compared inside the word;
* backward recomputes what is cheap (normalisation, ReLU, the mask's expansion) from the convolution's output and the mask's bytes.

A byte quantises the dropout rate to 1/256 (0.33 becomes 84/256 = 0.328); what is kept is scaled by the actual rate, so that the
expectation is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from avsed.model.crnn import ConvolutionBlock

PIECE = 1_250_000  # values of the convolution's output handled at once: 5 MB, about what stays in cache between passes
BYTE = 256
ONES = 0x0101010101010101
HIGH = -0x7F7F7F7F7F7F7F80  # 0x8080808080808080 as a signed 64-bit integer
LOW = 0x7F7F7F7F7F7F7F7F


def actual_rate(rate: float) -> float:
    """The dropout rate as bytes can express it: the nearest multiple of 1/256."""
    return round(rate * BYTE) / BYTE


def keep_bytes(count: int, rate: float) -> torch.Tensor:
    """Random bytes whose highest bit says whether a value is kept, packed eight in an integer.

    count : values needed; rate : dropout rate in [0, 1)
    Returns int64 (ceil(count / 8),); the highest bit of each byte is set with probability 1 − `actual_rate`.
    """
    drop = round(rate * BYTE)  # a random byte r in 0..255 is kept if r >= drop
    words = torch.empty(-(-count // 8), dtype=torch.int64)
    words.random_(-(2**63), None)
    # r >= drop for each byte at once. With r = 128 h + l: (l + 128 - drop % 128) has its high bit set iff l >= drop % 128.
    low = torch.bitwise_and(words, LOW).add_((128 - drop % 128) * ONES if drop % 128 else HIGH)
    return torch.bitwise_and(words, low) if drop >= 128 else torch.bitwise_or(words, low)


def keep_mask(words: torch.Tensor, count: int, out: torch.Tensor) -> torch.Tensor:
    """Expand `keep_bytes` to one 32-bit integer a value: all ones for kept, zero for dropped.

    Each 32-bit word holds four decisions; they are dealt to the four quarters of ``out``, so that every pass is over
    contiguous memory (which value gets which byte does not matter).

    out : int32, at least ``count`` rounded up to a multiple of 8
    Returns int32 (count,), a view of ``out``.
    """
    quarters = words.view(torch.int32)
    size = len(quarters)
    for byte in range(4):
        part = out[byte * size : (byte + 1) * size]
        torch.bitwise_left_shift(quarters, 24 - 8 * byte, out=part)
        part.bitwise_right_shift_(31)  # arithmetic: the sign fills the word
    return out[:count]


def fused_block(x: torch.Tensor, mask: torch.Tensor | None, block: ConvolutionBlock) -> torch.Tensor:
    """What ``block`` computes in training mode, batch norm's running statistics updated.

    x : float32 (clips, channels, frames, bands) on the CPU, frames and bands multiples of the pooling
    mask : bool (clips, frames), True for real frames, or None
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
        pool = block.pool.kernel_size
        channels = len(weight)
        outputs, sums, squares = (
            [],
            torch.zeros(channels, dtype=torch.float64),
            torch.zeros(channels, dtype=torch.float64),
        )
        weight = weight.detach().contiguous(memory_format=torch.channels_last)
        pieces = list(_pieces(clips, channels * frames * bands))
        space = _Workspace(pieces[0], channels * frames * bands)
        for piece in pieces:
            y = torch.conv2d(x[piece], weight, padding=block.convolution.padding)  # (clips, channels, frames, bands)
            flat = _rows(y)
            sums += flat.sum(0)
            squares += torch.mul(flat, flat, out=space.like(flat)).sum(0)
            outputs.append(flat)
        count = clips * frames * bands
        mean = sums / count
        variance = (squares / count - mean * mean).clamp_min_(0)
        norm = block.norm
        if norm.track_running_stats:
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean.float(), norm.momentum)
            norm.running_var.lerp_((variance * (count / max(1, count - 1))).float(), norm.momentum)
        deviation = (variance + norm.eps).rsqrt()
        scale = (gamma.double() * deviation).float()
        shift = (beta.double() - gamma.double() * deviation * mean).float()

        rate = actual_rate(block.dropout.p)
        result = torch.empty(clips, frames // pool[0], bands // pool[1], channels)
        kept = []
        for piece, flat in zip(pieces, outputs, strict=True):
            z = torch.addcmul(shift, flat, scale, out=space.like(flat)).relu_()
            if rate:
                words = keep_bytes(flat.numel(), rate)
                z.view(torch.int32).view(-1).bitwise_and_(keep_mask(words, flat.numel(), space.mask))
                kept.append(words)
            z = z.view(-1, frames, bands, channels)
            if mask is not None:
                z *= mask[piece, :, None, None]
            _pool(z, pool, result[piece])
        result *= 1.0 / (pool[0] * pool[1] * (1.0 - rate))
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, weight, scale, shift, mean.float(), deviation.float())
            ctx.outputs, ctx.kept, ctx.mask, ctx.pieces = outputs, kept, mask, pieces
            ctx.shape, ctx.pool, ctx.rate, ctx.padding = (
                (clips, frames, bands, channels),
                pool,
                rate,
                block.convolution.padding,
            )
        return result.permute(0, 3, 1, 2)  # (clips, channels, frames, bands), channels last

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, scale, shift, mean, deviation = ctx.saved_tensors
        clips, frames, bands, channels = ctx.shape
        pool, outputs = ctx.pool, ctx.outputs
        gradient = gradient.permute(0, 2, 3, 1).contiguous()  # (clips, frames, bands, channels) of the pooled map
        gradient = gradient * (1.0 / (pool[0] * pool[1] * (1.0 - ctx.rate)))
        space = _Workspace(ctx.pieces[0], channels * frames * bands)
        by_beta, by_product = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
        active = []
        for number, (piece, flat) in enumerate(zip(ctx.pieces, outputs, strict=True)):
            dz = torch.empty_like(flat)
            _unpool(gradient[piece], pool, dz.view(-1, frames, bands, channels))
            if ctx.mask is not None:
                dz.view(-1, frames, bands, channels).mul_(ctx.mask[piece, :, None, None])
            if ctx.rate:
                dz.view(torch.int32).view(-1).bitwise_and_(keep_mask(ctx.kept[number], flat.numel(), space.mask))
            z = torch.addcmul(shift, flat, scale, out=space.like(flat))
            torch.ops.aten.threshold_backward.grad_input(dz, z, 0, grad_input=dz)
            by_beta += dz.sum(0)
            by_product += torch.mul(dz, flat, out=z).sum(0)
            active.append(dz)
        by_gamma = (by_product - mean.double() * by_beta) * deviation.double()
        # Batch norm: dy = scale · (dz − mean(dz) − normalised y · mean(dz · normalised y)), written as dz · a + y · b + c.
        count = clips * frames * bands
        b = (-scale.double() * deviation.double() * by_gamma / count).float()
        c = (-scale.double() * by_beta / count).float() - b * mean
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        dweight = torch.zeros_like(weight)
        for number, piece in enumerate(ctx.pieces):
            flat, dz = outputs[number], active[number]
            outputs[number] = active[number] = flat.new_empty(0)  # freed as soon as used
            dy = dz.mul_(scale).addcmul_(flat, b).add_(c).view(-1, frames, bands, channels).permute(0, 3, 1, 2)
            found = torch.ops.aten.convolution_backward(
                dy,
                x[piece],
                weight,
                None,
                [1, 1],
                list(ctx.padding),
                [1, 1],
                False,
                [0, 0],
                1,
                [dx is not None, True, False],
            )
            if dx is not None:
                dx[piece] = found[0]
            dweight += found[1]
        ctx.outputs = ctx.kept = None
        return dx, dweight, by_gamma.float(), by_beta.float(), None, None


class _Workspace:
    """Memory that every piece of a block uses again, so that no pass touches fresh pages."""

    def __init__(self, piece: slice, values: int) -> None:
        size = (piece.stop - piece.start) * values
        self._values = torch.empty(size)
        self.mask = torch.empty(-(-size // 8) * 8, dtype=torch.int32)

    def like(self, flat: torch.Tensor) -> torch.Tensor:
        return self._values[: flat.numel()].view_as(flat)


def _pieces(clips: int, values: int) -> Iterator[slice]:
    """Slices of clips with about `PIECE` values each, at least one clip; the first is the largest."""
    size = max(1, min(clips, PIECE // values))
    return (slice(begin, min(begin + size, clips)) for begin in range(0, clips, size))


def _rows(y: torch.Tensor) -> torch.Tensor:
    """(clips, channels, frames, bands) in channels-last memory as a matrix (positions, channels), without a copy."""
    return y.permute(0, 2, 3, 1).contiguous().view(-1, y.shape[1])


def _pool(z: torch.Tensor, pool: tuple[int, int], out: torch.Tensor) -> None:
    """Sums over windows of (frames, bands). z : (clips, frames, bands, channels); out : its pooled shape."""
    windows = [z[:, i :: pool[0], j :: pool[1]] for i in range(pool[0]) for j in range(pool[1])]
    torch.add(windows[0], windows[1], out=out) if len(windows) > 1 else out.copy_(windows[0])
    for window in windows[2:]:
        out += window


def _unpool(gradient: torch.Tensor, pool: tuple[int, int], out: torch.Tensor) -> None:
    """Each window of ``out`` gets its pooled value's gradient."""
    for i in range(pool[0]):
        for j in range(pool[1]):
            out[:, i :: pool[0], j :: pool[1]] = gradient
