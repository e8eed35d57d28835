"""A bidirectional GRU as one differentiable function a layer, for a CPU.

It computes what `torch.nn.GRU` computes, in less time where batches are small: PyTorch runs some twenty operators a frame and direction,
each of which takes longer to start than to compute. Here the products with the input, which need no order, are one matrix product a layer
and direction, and the recurrence is a compiled loop (`avsed.model.recurrent_kernels`) over some clips and one direction at a time, each
in one thread. Clips of different lengths need no packing: a clip's state is zero past its end.

What comes out is the same for any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

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
        ways = [tuple(weight.detach() for weight in weights[own : own + 4]) for own in (0, 4)]
        orders = (np.arange(frames), np.arange(frames)[::-1].copy())
        gates, inner, matrices, biases = [], [], [], []
        for to_gates, to_hidden, bias, bias_hidden in ways:
            # The hidden state's biases of reset and update stand beside the input's; the new value's is under the reset gate.
            joined = bias + torch.cat((bias_hidden[: 2 * hidden], bias.new_zeros(hidden)))
            gates.append(torch.addmm(joined, x.view(clips * frames, -1), to_gates.T).view(clips, frames, -1).numpy())
            inner.append(np.empty((clips, frames, hidden), np.float32))
            matrices.append(to_hidden.T.contiguous().numpy())
            biases.append(bias_hidden[2 * hidden :].contiguous().numpy())
        out = torch.empty(clips, frames, 2 * hidden)
        halves = [half.numpy() for half in out.split(hidden, 2)]
        pieces = _pieces(clips)

        def work(number: int) -> None:
            way, piece = pieces[number]
            kernels.run(
                gates[way][piece], inner[way][piece], matrices[way], biases[way], lengths[piece], orders[way], halves[way][piece]
            )  # fmt: skip

        each(len(pieces), work)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, out, *weights)
            ctx.kept = gates, inner, lengths, orders
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, out, *weights = ctx.saved_tensors
        gates, inner, lengths, orders = ctx.kept
        ctx.kept = None  # replaced below
        clips, frames, _ = x.shape
        hidden = weights[1].shape[1]
        halves, given = ([half.numpy() for half in whole.detach().split(hidden, 2)] for whole in (out, gradient))
        matrices = [weights[own].detach().contiguous().numpy() for own in (1, 5)]
        pieces = _pieces(clips)

        def work(number: int) -> None:
            way, piece = pieces[number]
            kernels.run_back(
                gates[way][piece], inner[way][piece], matrices[way], lengths[piece], orders[way], halves[way][piece], given[way][piece]
            )  # fmt: skip

        each(len(pieces), work)
        flat = x.view(clips * frames, -1)
        dx = torch.zeros_like(flat) if ctx.needs_input_grad[0] else None
        found: list[torch.Tensor] = []
        for way in (0, 1):
            by_gates = torch.from_numpy(gates[way]).view(clips * frames, -1)
            by_new = torch.from_numpy(inner[way]).view(clips * frames, -1)
            before = torch.zeros(clips, frames, hidden)  # the state that each frame began with
            own = out[:, :, way * hidden : (way + 1) * hidden]
            if way == 0:
                before[:, 1:] = own[:, :-1]
            else:
                before[:, :-1] = own[:, 1:]
            by_hidden = torch.cat((by_gates[:, : 2 * hidden], by_new), 1)
            found += [
                by_gates.T @ flat,
                by_hidden.T @ before.view(clips * frames, -1),
                by_gates.sum(0),
                by_hidden.sum(0),
            ]
            if dx is not None:
                dx.addmm_(by_gates, weights[4 * way].detach())
        return (None if dx is None else dx.view_as(x), None, *found)


def _pieces(clips: int) -> list[tuple[int, slice]]:
    """Directions (0, 1) and slices of clips."""
    return [(way, slice(begin, begin + CLIPS)) for begin in range(0, clips, CLIPS) for way in (0, 1)]
