"""Compiled loops of the GRU's fast path: what depends on the frame before, and no more.

All clips of a piece go from frame to frame together, so that each row of the weights is read once for several clips. Every inner loop
runs over the gates of a clip, long, free of branches and vectorised; the two exponentials are polynomials for that reason.

Shapes, in both functions: gates : float32 (clips, frames, 3 · hidden), in PyTorch's order reset, update, new; inner, and out or its
gradient : float32 (clips, frames, hidden); lengths : int64 (clips,), real frames of each clip; order : int64 (frames,), the frames in
the direction of the network.
"""

from __future__ import annotations

import numpy as np

from avsed.compiling import compiled, inlined

SHARE = 4  # rows of a matrix that are added at once


@inlined
def _exponential(x):  # type: ignore[no-untyped-def]
    """e to the x, to about 1e-7 of it: 2 to a whole number times a polynomial (Taylor's, to the sixth power) of what is left."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    whole = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    # ln 2 in two parts, the first of which has few digits, so that the product is exact.
    rest = x - whole * np.float32(0.693359375)
    rest = rest - whole * np.float32(-2.12194440e-4)
    y = np.float32(1 / 720) * rest + np.float32(1 / 120)
    y = y * rest + np.float32(1 / 24)
    y = y * rest + np.float32(1 / 6)
    y = y * rest + np.float32(1 / 2)
    y = y * rest + np.float32(1.0)
    y = y * rest + np.float32(1.0)
    return y * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined
def _add_products(values, matrix, sums):  # type: ignore[no-untyped-def]
    """sums += values @ matrix, a pair of clips at a time; values : float32 (clips, inner), matrix : float32 (inner, width)."""
    inner, width = matrix.shape
    whole = inner - inner % SHARE
    for first in range(0, len(values) - 1, 2):
        for k in range(0, whole, SHARE):
            a, b, c, d = matrix[k], matrix[k + 1], matrix[k + 2], matrix[k + 3]
            one, other = values[first, k : k + SHARE], values[first + 1, k : k + SHARE]
            p, q, r, s = one[0], one[1], one[2], one[3]
            t, u, v, w = other[0], other[1], other[2], other[3]
            above, below = sums[first], sums[first + 1]
            for j in range(width):
                above[j] += p * a[j] + q * b[j] + r * c[j] + s * d[j]
                below[j] += t * a[j] + u * b[j] + v * c[j] + w * d[j]
    if len(values) % 2:
        last = len(values) - 1
        for k in range(0, whole, SHARE):
            a, b, c, d = matrix[k], matrix[k + 1], matrix[k + 2], matrix[k + 3]
            one = values[last, k : k + SHARE]
            p, q, r, s = one[0], one[1], one[2], one[3]
            above = sums[last]
            for j in range(width):
                above[j] += p * a[j] + q * b[j] + r * c[j] + s * d[j]
    for row in range(len(values)):
        for k in range(whole, inner):
            p, a, above = values[row, k], matrix[k], sums[row]
            for j in range(width):
                above[j] += p * a[j]


@compiled
def run(gates, inner, matrix, bias, lengths, order, out):  # type: ignore[no-untyped-def]
    """The recurrence of one direction.

    gates : what the input gives each gate, biases included; replaced by the gates
    inner : gets what the hidden state gives the new value before the reset gate
    matrix : float32 (hidden, 3 · hidden), the transposed weights; bias : float32 (hidden,), of the new value
    out : gets the hidden states, zero past a clip's end
    """
    clips, hidden = len(gates), len(matrix)
    state, sums = np.zeros((clips, hidden), np.float32), np.empty((clips, 3 * hidden), np.float32)
    for frame in order:
        sums[:] = 0
        _add_products(state, matrix, sums)
        for clip in range(clips):
            own, there, found = gates[clip, frame], state[clip], sums[clip]
            kept, target = inner[clip, frame], out[clip, frame]
            if frame >= lengths[clip]:
                there[:] = 0
                target[:] = 0
                continue
            for j in range(2 * hidden):
                own[j] = np.float32(1.0) / (np.float32(1.0) + _exponential(-(own[j] + found[j])))
            for j in range(hidden):
                kept[j] = found[2 * hidden + j] + bias[j]
                before = own[2 * hidden + j] + own[j] * kept[j]
                new = np.float32(1.0) - np.float32(2.0) / (_exponential(np.float32(2.0) * before) + np.float32(1.0))
                own[2 * hidden + j] = new
                there[j] = new + own[hidden + j] * (there[j] - new)
                target[j] = there[j]


@compiled
def run_back(gates, inner, matrix, lengths, order, out, gradient):  # type: ignore[no-untyped-def]
    """The gradients of `run`.

    gates, inner : what `run` left there; replaced by the gradients of what the input gives each gate, and of the new value's hidden part
    matrix : float32 (3 · hidden, hidden), the weights
    order : as `run` had it; out : what `run` gave; gradient : of it
    """
    clips, hidden = len(gates), matrix.shape[1]
    carried, wanted = np.zeros((clips, hidden), np.float32), np.zeros((clips, 3 * hidden), np.float32)
    nothing = np.zeros(hidden, np.float32)
    for place in range(len(order) - 1, -1, -1):
        frame = order[place]
        for clip in range(clips):
            own, kept, there, told = gates[clip, frame], inner[clip, frame], carried[clip], wanted[clip]
            if frame >= lengths[clip]:
                own[:] = 0
                kept[:] = 0
                there[:] = 0
                told[:] = 0
                continue
            before = out[clip, order[place - 1]] if place else nothing
            given = gradient[clip, frame]
            for j in range(hidden):
                reset, update, new = own[j], own[hidden + j], own[2 * hidden + j]
                whole = there[j] + given[j]
                by_new = whole * (np.float32(1.0) - update) * (np.float32(1.0) - new * new)
                by_reset = by_new * kept[j] * reset * (np.float32(1.0) - reset)
                by_update = whole * (before[j] - new) * update * (np.float32(1.0) - update)
                there[j] = whole * update
                kept[j] = by_new * reset
                own[j], own[hidden + j], own[2 * hidden + j] = by_reset, by_update, by_new
                told[j], told[hidden + j], told[2 * hidden + j] = by_reset, by_update, kept[j]
        _add_products(wanted, matrix, carried)
