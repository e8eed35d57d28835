"""Compiled loops of the fast training path: everything between one convolution and the next that is no matrix product.

A map in channels-last memory is a matrix: a row for each frame, with ``bands * channels`` values side by side. Whole rows are handled
at once, so that every inner loop is long, free of branches and vectorised, and pooling adds rows, then bands.

Random numbers come from a counter: which values dropout keeps follows from the key and a value's place alone, however the work is
divided, and backward makes the same decisions again instead of storing them.

Shapes, in all functions: y : (rows, bands * channels), float32 or the bits of bfloat16 as uint16; scale, shift : float32 (bands *
channels,), the channels' values repeated for each band; pooled : float32 (pooled rows, pooled bands, channels).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types, uint32
from numba.extending import overload

from avsed.compiling import compiled, inlined

FLUSH = 64  # rows summed in single precision before their sums are added in double precision
LEVELS = 65_536  # a random number has 16 bits: dropout rates are multiples of 1/65536


class Shape(NamedTuple):
    """rows : frames of a clip; channels; time, bands : frames and bands that are pooled into one."""

    rows: int
    channels: int
    time: int
    bands: int


class Dropout(NamedTuple):
    """first, second : uint32, the key; drop : uint32, of 65,536 values so many are dropped; offset : pooled rows before y's first."""

    first: np.uint32
    second: np.uint32
    drop: np.uint32
    offset: int


@inlined
def _random(words, place, dropout):  # type: ignore[no-untyped-def]
    """Fill ``words`` with the random numbers of a place (an integer hash with full avalanche, two rounds, keyed in each)."""
    base = uint32(uint32(place * len(words)) + dropout.first)
    for k in range(len(words)):
        x = uint32(base + uint32(k))
        x = uint32(x ^ uint32(x >> uint32(16)))
        x = uint32(x * uint32(0x7FEB352D))
        x = uint32(x ^ dropout.second)
        x = uint32(x ^ uint32(x >> uint32(15)))
        x = uint32(x * uint32(0x846CA68B))
        words[k] = uint32(x ^ uint32(x >> uint32(16)))


@inlined
def _next(words, row, time, dropout):  # type: ignore[no-untyped-def]
    """Random bits for one more row: two rows share a word, the even one its lower, the odd one its upper half."""
    if dropout.drop:
        if time % 2 == 0:
            _random(words, row + (time // 2), dropout)
        else:
            for k in range(len(words)):
                words[k] = uint32(words[k] >> uint32(16))


def _read(row, buffer):  # type: ignore[no-untyped-def]
    """A row as float32: itself, or its values in the buffer (float32, as long)."""


def _write(values, row):  # type: ignore[no-untyped-def]
    """Put float32 values into a row; to the nearest bfloat16, the even one of two."""


@overload(_read)
def _read_as(row, buffer):  # type: ignore[no-untyped-def]
    def expand(row, buffer):  # type: ignore[no-untyped-def]
        bits = buffer.view(np.uint32)
        for k in range(len(row)):
            bits[k] = uint32(uint32(row[k]) << uint32(16))
        return buffer

    return expand if row.dtype == types.uint16 else lambda row, buffer: row


@overload(_write)
def _write_as(values, row):  # type: ignore[no-untyped-def]
    def shorten(values, row):  # type: ignore[no-untyped-def]
        bits = values.view(np.uint32)
        for k in range(len(row)):
            odd = uint32(uint32(bits[k] >> uint32(16)) & uint32(1))
            row[k] = uint32(uint32(bits[k] + uint32(0x7FFF) + odd) >> uint32(16))

    def copy(values, row):  # type: ignore[no-untyped-def]
        for k in range(len(row)):
            row[k] = values[k]

    return shorten if row.dtype == types.uint16 else copy


@compiled
def add_statistics(y, sums, squares):  # type: ignore[no-untyped-def]
    """Add the rows of y, and their squares, to ``sums`` and ``squares``, float64 (channels,)."""
    width, channels = y.shape[1], len(sums)
    plain, squared, buffer = np.zeros(width, np.float32), np.zeros(width, np.float32), np.empty(width, np.float32)
    for row in range(len(y)):
        values = _read(y[row], buffer)
        for k in range(width):
            plain[k] += values[k]
            squared[k] += values[k] * values[k]
        if row % FLUSH == FLUSH - 1 or row == len(y) - 1:
            _add_by_channel(plain, sums, channels)
            _add_by_channel(squared, squares, channels)


@compiled
def _add_by_channel(values, sums, channels):  # type: ignore[no-untyped-def]
    for row in values.reshape(-1, channels):
        for c in range(channels):
            sums[c] += row[c]
    values[:] = 0


@compiled
def activate(y, scale, shift, dropout, lengths, shape, factor, pooled):  # type: ignore[no-untyped-def]
    """pooled = factor · sum over each window of the ReLU of y · scale + shift, where dropout keeps it and the clip has not ended.

    lengths : int64 (clips,), real rows of each clip
    """
    width = y.shape[1]
    words, z, buffer = np.zeros(width, np.uint32), np.empty(width, np.float32), np.empty(width, np.float32)
    windows, rows = z.reshape(-1, shape.bands, shape.channels), shape.rows // shape.time  # rows : pooled, of a clip
    for place in range(len(pooled)):
        z[:] = 0
        for time in range(shape.time):
            _next(words, (dropout.offset + place) * ((shape.time + 1) // 2), time, dropout)
            if (place % rows) * shape.time + time < lengths[place // rows]:
                values = _read(y[place * shape.time + time], buffer)
                for k in range(width):
                    v = values[k] * scale[k] + shift[k]
                    if v < np.float32(0):
                        v = np.float32(0)
                    if uint32(words[k] & uint32(0xFFFF)) < dropout.drop:
                        v = np.float32(0)
                    z[k] += v
        target = pooled[place]
        for band in range(target.shape[0]):
            for c in range(shape.channels):
                target[band, c] = windows[band, 0, c]
            for part in range(1, shape.bands):
                for c in range(shape.channels):
                    target[band, c] += windows[band, part, c]
            for c in range(shape.channels):
                target[band, c] *= factor


@inlined
def _spread(gradient, factor, windows):  # type: ignore[no-untyped-def]
    """Each band of a window gets factor · the window's gradient."""
    for band in range(windows.shape[0]):
        for part in range(windows.shape[1]):
            for c in range(windows.shape[2]):
                windows[band, part, c] = gradient[band, c] * factor


@compiled
def add_gradients(y, scale, shift, dropout, lengths, shape, factor, gradient, sums, products):  # type: ignore[no-untyped-def]
    """Add what batch norm's backward needs of dz, the gradient before the ReLU: Σ dz and Σ dz · y, float64 (channels,).

    gradient : like pooled
    """
    width = y.shape[1]
    words, z, buffer = np.zeros(width, np.uint32), np.empty(width, np.float32), np.empty(width, np.float32)
    plain, product = np.zeros(width, np.float32), np.zeros(width, np.float32)
    windows, rows = z.reshape(-1, shape.bands, shape.channels), shape.rows // shape.time
    for place in range(len(gradient)):
        _spread(gradient[place], factor, windows)
        for time in range(shape.time):
            _next(words, (dropout.offset + place) * ((shape.time + 1) // 2), time, dropout)
            if (place % rows) * shape.time + time < lengths[place // rows]:
                values = _read(y[place * shape.time + time], buffer)
                for k in range(width):
                    dz = z[k]
                    if values[k] * scale[k] + shift[k] <= np.float32(0):
                        dz = np.float32(0)
                    if uint32(words[k] & uint32(0xFFFF)) < dropout.drop:
                        dz = np.float32(0)
                    plain[k] += dz
                    product[k] += dz * values[k]
        if place % FLUSH == FLUSH - 1 or place == len(gradient) - 1:
            _add_by_channel(plain, sums, shape.channels)
            _add_by_channel(product, products, shape.channels)


@compiled
def put_gradients(y, scale, shift, dropout, lengths, shape, factor, gradient, by_y, constant):  # type: ignore[no-untyped-def]
    """Put the convolution's gradient in y's place: dz · scale + y · by_y + constant (float32, like scale)."""
    width = y.shape[1]
    words, z, buffer = np.zeros(width, np.uint32), np.empty(width, np.float32), np.empty(width, np.float32)
    result = np.empty(width, np.float32)
    windows, rows = z.reshape(-1, shape.bands, shape.channels), shape.rows // shape.time
    for place in range(len(gradient)):
        _spread(gradient[place], factor, windows)
        for time in range(shape.time):
            _next(words, (dropout.offset + place) * ((shape.time + 1) // 2), time, dropout)
            row = y[place * shape.time + time]
            values = _read(row, buffer)
            if (place % rows) * shape.time + time < lengths[place // rows]:
                for k in range(width):
                    dz = z[k] * scale[k]
                    if values[k] * scale[k] + shift[k] <= np.float32(0):
                        dz = np.float32(0)
                    if uint32(words[k] & uint32(0xFFFF)) < dropout.drop:
                        dz = np.float32(0)
                    result[k] = dz + values[k] * by_y[k] + constant[k]
            else:
                for k in range(width):
                    result[k] = values[k] * by_y[k] + constant[k]
            _write(result, row)
