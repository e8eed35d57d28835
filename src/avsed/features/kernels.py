"""Compiled loops of the log-mel map: from sound to mel magnitudes one frame at a time, which never leaves the cache.

The Fourier transform is written out for the paper's window alone, 2048 samples. As every distance between values is known when it is
compiled, all of its loops are vectorised, and it takes half the time of numpy's.

Shapes, in all functions: z, y : float64 (2048,), 1024 complex numbers, real parts before imaginary ones; magnitudes : float32
(lines,), of a spectrum; mel : float32 (rows, bands).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avsed.compiling import compiled, inlined

WINDOW = 2048
HALF, QUARTER = WINDOW // 2, WINDOW // 8  # complex numbers in the transform, and in a quarter of it


class Filters(NamedTuple):
    """Mel bands by the lines that they cover.

    firsts : int64 (bands,), the first line of each; ends : int64 (bands,), behind its last weight; weights : float32, those of
    band 0, then of band 1, ...
    """

    firsts: np.ndarray
    ends: np.ndarray
    weights: np.ndarray


def _turns(numbers: np.ndarray) -> np.ndarray:
    """exp(-2πi · n / 1024), its square and its cube for each number n; flat, each the real parts before the imaginary ones."""
    turns = np.exp(-2j * np.pi / HALF * np.outer([1, 2, 3], numbers))
    return np.stack([turns.real, turns.imag], 1).ravel()


_TURNS = _turns(np.arange(QUARTER))
_TURNS_OF_FOUR = _turns(np.arange(QUARTER) // 4 * 4)  # the same for four values in a row
_HALF_TURNS = _turns(np.arange(HALF // 2) / 2)[:HALF]  # exp(-2πi · n / 2048), for n below 512


@compiled
def mel_of_sound(signal, hop, hann, filters, mel):  # type: ignore[no-untyped-def]
    """Mel magnitudes of the frames of 2048 samples that begin every ``hop`` samples.

    signal : float32 (n,), n >= (rows - 1) · hop + 2048; hann : float64 (2048,)
    """
    z, y = np.empty(WINDOW), np.empty(WINDOW)
    powers, magnitudes = np.empty(HALF, np.float32), np.empty(HALF + 1, np.float32)
    for row in range(len(mel)):
        frame = signal[row * hop : row * hop + WINDOW]
        for k in range(HALF):  # even samples as real, odd ones as imaginary parts
            z[k] = frame[2 * k] * hann[2 * k]
            z[k + HALF] = frame[2 * k + 1] * hann[2 * k + 1]
        _transform(z, y)
        _magnitudes(y, powers, magnitudes)
        _mel(magnitudes, filters, mel[row])


@compiled
def mel_of_magnitudes(magnitudes, filters, mel):  # type: ignore[no-untyped-def]
    """The same from spectra that are already there; magnitudes : float32 (rows, lines)."""
    for row in range(len(mel)):
        _mel(magnitudes[row], filters, mel[row])


@inlined
def _transform(z, y):  # type: ignore[no-untyped-def]
    """The Fourier transform of z's 1024 complex numbers, into y; z serves as working memory.

    Five steps of radix 4 that leave everything in order.
    Source: Stockham's transform, e.g. C. Van Loan, Computational Frameworks for the Fast Fourier Transform, SIAM, 1992, Section 1.7.
    """
    _step(z, y, 1)
    _step_of_four(y, z)
    _step(z, y, 16)
    _step(y, z, 64)
    _step(z, y, 256)


@inlined
def _step(x, y, run):  # type: ignore[no-untyped-def]
    """One step of the transform, from x to y; run : so many values that share their turn are side by side."""
    for p in range(QUARTER // run):
        for q in range(run):
            _four(x, q + run * p, y, q + 4 * run * p, run, _TURNS, run * p)


@inlined
def _step_of_four(x, y):  # type: ignore[no-untyped-def]
    """The same with runs of 4, too short for a loop: computed in place, then the runs are put where they belong."""
    for p in range(QUARTER):
        _four(x, p, x, p, QUARTER, _TURNS_OF_FOUR, p)
    for p in range(QUARTER // 4):
        for part in range(8):  # four quarters of the real, four of the imaginary parts
            i, o = 4 * p + QUARTER * part, 16 * p + 4 * (part % 4) + HALF * (part // 4)
            a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
            y[o], y[o + 1], y[o + 2], y[o + 3] = a, b, c, d


@inlined
def _four(x, i, y, o, gap, turns, t):  # type: ignore[no-untyped-def]
    """The transform of four numbers of x, a quarter apart from place i on, to places ``gap`` apart in y from o on, each turned."""
    j = i + HALF
    a, b, c, d = x[i], x[i + QUARTER], x[i + 2 * QUARTER], x[i + 3 * QUARTER]
    ai, bi, ci, di = x[j], x[j + QUARTER], x[j + 2 * QUARTER], x[j + 3 * QUARTER]
    even, eveni, differ, differi = a + c, ai + ci, a - c, ai - ci
    odd, oddi, turned, turnedi = b + d, bi + di, bi - di, d - b  # turned : -i (b - d)
    y[o], y[o + HALF] = even + odd, eveni + oddi
    _put(differ + turned, differi + turnedi, y, o + gap, turns, t)
    _put(even - odd, eveni - oddi, y, o + 2 * gap, turns, t + 2 * QUARTER)
    _put(differ - turned, differi - turnedi, y, o + 3 * gap, turns, t + 4 * QUARTER)


@inlined
def _put(real, imaginary, y, o, turns, t):  # type: ignore[no-untyped-def]
    """Put a number, multiplied by its turn."""
    y[o] = real * turns[t] - imaginary * turns[t + QUARTER]
    y[o + HALF] = real * turns[t + QUARTER] + imaginary * turns[t]


@inlined
def _magnitudes(z, powers, magnitudes):  # type: ignore[no-untyped-def]
    """Magnitudes of the spectrum of 2048 real samples, whose even and odd ones are the two parts of what z is the transform of.

    powers : float32 (1024,), working memory. Single precision suffices from here on, and its square roots are much quicker.
    """
    middle = HALF // 2
    for k in range(1, middle):
        # Twice what line k is of the even samples' spectrum, and of the odd ones'.
        even, eveni = z[k] + z[HALF - k], z[k + HALF] - z[WINDOW - k]
        odd, oddi = z[k + HALF] + z[WINDOW - k], z[HALF - k] - z[k]
        turned = odd * _HALF_TURNS[k] - oddi * _HALF_TURNS[k + middle]
        turnedi = odd * _HALF_TURNS[k + middle] + oddi * _HALF_TURNS[k]
        powers[k] = (even + turned) ** 2 + (eveni + turnedi) ** 2
        powers[k + middle] = (even - turned) ** 2 + (eveni - turnedi) ** 2  # of line 1024 - k
    for k in range(1, middle):
        magnitudes[k] = np.float32(0.5) * np.sqrt(powers[k])
    for k in range(1, middle):
        magnitudes[k + middle] = np.float32(0.5) * np.sqrt(powers[HALF - k])
    magnitudes[0], magnitudes[HALF] = abs(z[0] + z[HALF]), abs(z[0] - z[HALF])
    magnitudes[middle] = np.sqrt(z[middle] ** 2 + z[middle + HALF] ** 2)


@inlined
def _mel(magnitudes, filters, mel):  # type: ignore[no-untyped-def]
    """Weighted sums of magnitudes; mel : float32 (bands,)."""
    begin = 0
    for band in range(len(mel)):
        weights = filters.weights[begin : filters.ends[band]]
        lines = magnitudes[filters.firsts[band] :][: len(weights)]  # slices, so that no place can be negative
        total = np.float32(0)
        for k in range(len(weights)):
            total += lines[k] * weights[k]
        mel[band] = total
        begin = filters.ends[band]
