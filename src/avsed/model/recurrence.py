"""A bidirectional GRU as one differentiable function a layer, for a CPU.

It computes what `torch.nn.GRU` computes, in less time where batches are small: PyTorch runs some twenty operators a frame and direction,
each of which takes longer to start than to compute. Here the products with the input, which need no order, are one matrix product, and the
recurrence is a compiled loop (`avsed.model.recurrent_kernels`). The work is divided into pieces, some clips and one direction each, which
one thread does from beginning to end. Clips of different lengths need no packing: a clip's state is zero past its end.

What comes out is the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from avsed.device import each
from avsed.model import recurrent_kernels as kernels

CLIPS = 8  # of a piece


def recur(x: torch.Tensor, frames: torch.Tensor | None, gru: nn.GRU) -> torch.Tensor:
    """What ``gru`` computes of clips, from a state of zeros.

    x : float32 (clips, frames, inputs) on the CPU
    frames : int64 (clips,), real frames of each; None if all are real
    gru : bidirectional, batch_first, with biases, no dropout between its layers
    Returns float32 (clips, frames, 2 · hidden), zero past a clip's end.
    """
    lengths = np.full(len(x), x.shape[1]) if frames is None else frames.numpy()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for layer in range(gru.num_layers):
        both = [getattr(gru, f"{name}_l{layer}{way}") for way in ("", "_reverse") for name in names]
        x = _Layer.apply(x.contiguous(), lengths, *both)
    return x


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, lengths: np.ndarray, *weights: torch.Tensor) -> torch.Tensor:
        clips, frames, _ = x.shape
        hidden = weights[1].shape[1]
        orders = (np.arange(frames), np.arange(frames)[::-1].copy())
        ways = []
        for to_gates, to_hidden, bias, bias_hidden in _by_way(weights):
            # The hidden state's biases of reset and update stand beside the input's; the new value's is under the reset gate.
            joined = bias + torch.cat((bias_hidden[: 2 * hidden], bias.new_zeros(hidden)))
            ways.append(
                (to_gates.T, joined, to_hidden.T.contiguous().numpy(), bias_hidden[2 * hidden :].contiguous().numpy())
            )
        out = torch.empty(clips, frames, 2 * hidden)
        pieces = _pieces(clips)

        def work(number: int) -> tuple[np.ndarray, np.ndarray]:
            way, piece = pieces[number]
            to_gates, joined, matrix, bias = ways[way]
            own = x[piece].detach()
            with torch.no_grad():  # a thread has its own setting
                gates = torch.addmm(joined, own.view(-1, own.shape[2]), to_gates).view(len(own), frames, -1).numpy()
            inner = np.empty((len(own), frames, hidden), np.float32)
            kernels.run(gates, inner, matrix, bias, lengths[piece], orders[way], _half(out[piece], way))
            return gates, inner

        kept = each(len(pieces), work)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, out, *weights)
            ctx.kept = kept, lengths, orders
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, out, *weights = ctx.saved_tensors
        if ctx.kept is None:
            raise RuntimeError("the gradients of a recurrence can be asked for once: they replace what they need")
        kept, lengths, orders = ctx.kept
        ctx.kept = None
        frames, hidden = x.shape[1], weights[1].shape[1]
        pieces, ways = _pieces(len(x)), _by_way(weights)
        matrices = [to_hidden.contiguous().numpy() for _, to_hidden, _, _ in ways]

        def work(number: int) -> list[torch.Tensor]:
            (way, piece), (gates, inner) = pieces[number], kept[number]
            own = out[piece].detach()
            given = _half(gradient[piece].detach(), way)
            kernels.run_back(gates, inner, matrices[way], lengths[piece], orders[way], _half(own, way), given)
            by_gates = torch.from_numpy(gates).view(-1, 3 * hidden)
            by_hidden = torch.cat((by_gates[:, : 2 * hidden], torch.from_numpy(inner).view(-1, hidden)), 1)
            before = torch.zeros(len(own), frames, hidden)  # the state that each frame began with
            if way == 0:
                before[:, 1:] = own[:, :-1, :hidden]
            else:
                before[:, :-1] = own[:, 1:, hidden:]
            with torch.no_grad():
                heard = x[piece].reshape(-1, x.shape[2])
                found = [by_gates.T @ heard, by_hidden.T @ before.view(-1, hidden), by_gates.sum(0), by_hidden.sum(0)]
                return [*found, by_gates @ ways[way][0]] if ctx.needs_input_grad[0] else found

        done = each(len(pieces), work)
        found = [
            sum(parts[1:], parts[0]) for way in (0, 1) for parts in zip(*(own[:4] for own in done[way::2]), strict=True)
        ]
        dx = None
        if ctx.needs_input_grad[0]:
            both = (one[4].add_(other[4]) for one, other in zip(done[::2], done[1::2], strict=True))
            dx = torch.cat(list(both)).view_as(x)
        return dx, None, *found


def _by_way(weights: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, ...]]:
    """The weights of each direction: for the input and the hidden state, and their biases."""
    return [tuple(weight.detach() for weight in weights[first : first + 4]) for first in (0, 4)]


def _half(both: torch.Tensor, way: int) -> np.ndarray:
    """float32 (clips, frames, hidden), a view: the part of a direction."""
    return both.chunk(2, 2)[way].numpy()


def _pieces(clips: int) -> list[tuple[int, slice]]:
    """Directions (0, 1) of slices of clips."""
    return [(way, slice(begin, begin + CLIPS)) for begin in range(0, clips, CLIPS) for way in (0, 1)]
