"""Mel spectra and chunks of them, as the front ends of the pretrained ears need them.

Networks hear well only what they were trained on, so every ear has its own rate, window, scale and logarithm; what they
share is here: a short-time transform with a bank of filters, the mel scale, and the rule for sound that is too short.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from avsed.media import Audio

PIECE = 64
"""Frames transformed at a time: their spectra stay in the processor's cache, whatever the length of the recording."""

GROUP = 12
"""Mel bands summed by one matrix product: little of it is zeros, and it is too small for BLAS to start threads for it."""


def hann(length: int, *, periodic: bool) -> np.ndarray:
    """Hann window, float64 (length,): one period of a raised cosine; a symmetric one (not periodic) ends on zero."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length if periodic else length - 1))


def to_mel(hertz: np.ndarray) -> np.ndarray:
    """Mel of a frequency on the scale of HTK, which Kaldi and Google's VGGish share: 1127 ln(1 + f / 700)."""
    return 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)


def from_mel(mel: np.ndarray) -> np.ndarray:
    """Hertz of a mel, the inverse of `to_mel`."""
    return 700.0 * np.expm1(np.asarray(mel, np.float64) / 1127.0)


def mel_edges(bands: int, lowest: float, highest: float) -> np.ndarray:
    """float64 (bands + 2,), mel: equal steps; band b rises from edge b to edge b + 1 and falls to edge b + 2."""
    low, high = to_mel(np.array([lowest, highest]))
    return np.linspace(low, high, bands + 2)


def line_frequencies(rate: int, size: int) -> np.ndarray:
    """float64 (size // 2 + 1,), Hz: the lines of a transform of ``size`` samples."""
    return np.arange(size // 2 + 1) * (rate / size)


def triangles(lines: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Triangular filters of height 1, in whatever unit lines and edges share (mel as in Kaldi and VGGish, or hertz).

    lines : float (lines,); edges : float (bands + 2,), increasing
    Returns float64 (bands, lines); a band much narrower than the lines are apart may be all zeros.
    """
    edges = edges[:, None]
    rising = (lines - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - lines) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling))


@dataclass(frozen=True, eq=False)
class MelSpectrum:
    """A short-time Fourier transform whose magnitudes (or powers) are summed in mel bands.

    window : float64 (w,), w <= size
    size : samples of the transform; frames are filled up with zeros behind the window
    hop : samples from one frame to the next
    power : exponent of the magnitudes, 1 or 2
    filters : float64 (bands, size // 2 + 1)
    """

    window: np.ndarray
    size: int
    hop: int
    power: int
    filters: np.ndarray

    def __post_init__(self) -> None:
        assert self.window.ndim == 1 and len(self.window) <= self.size and self.power in (1, 2)
        assert self.filters.shape[1:] == (self.size // 2 + 1,), self.filters.shape

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Mel spectrum of all frames that lie in the signal: frame i begins with sample ``i * hop``; nothing is padded.

        signal : float (n,), n >= w; computed in float64, in which the quiet bands beside a loud tone are not noise
        Returns float64 (1 + (n - w) // hop, bands).
        """
        frames = np.lib.stride_tricks.sliding_window_view(signal, len(self.window))[:: self.hop]  # (frames, w)
        mel = np.zeros((len(frames), len(self.filters)))
        for first in range(0, len(frames), PIECE):
            spectra = np.abs(np.fft.rfft(frames[first : first + PIECE] * self.window, self.size))  # (piece, lines)
            if self.power == 2:
                np.square(spectra, out=spectra)
            for lines, bands, weights in self._groups:
                mel[first : first + PIECE, bands] = spectra[:, lines] @ weights
        return mel

    @cached_property
    def _groups(self) -> list[tuple[slice, slice, np.ndarray]]:
        """The filters in groups of neighbouring bands: lines covered, bands, weights (lines, bands)."""
        groups = []
        for first in range(0, len(self.filters), GROUP):
            bands = slice(first, first + GROUP)
            covered = np.flatnonzero(self.filters[bands].any(0))
            if len(covered):
                lines = slice(int(covered[0]), int(covered[-1]) + 1)
                groups.append((lines, bands, np.ascontiguousarray(self.filters[bands, lines].T)))
        return groups


def sound(audio: Audio, *, rate: int, shortest: int, ear: str) -> np.ndarray:
    """The samples of a recording, filled up with zeros behind its end where it is shorter than ``shortest`` samples.

    ear : whose front end asks, for messages
    Returns float32 (max(n, shortest),).

    Raises ValueError if the sound is empty, not finite or not at ``rate``.
    """
    samples = audio.samples
    if audio.rate != rate:
        raise ValueError(f"{ear} wants sound at {rate} samples per second, got {audio.rate}")
    if samples.dtype != np.float32:
        raise ValueError(f"{ear} wants float32 samples, got {samples.dtype}")
    if not len(samples):
        raise ValueError(f"{ear} needs at least one sample, got none")
    if not np.isfinite(samples).all():
        raise ValueError("the samples hold values that are not finite numbers")
    return np.pad(samples, (0, max(0, shortest - len(samples))))


def row_times(audio: Audio, *, rows: int, first: float, period: float, shortest: int) -> np.ndarray:
    """Centres of what the rows of a recording see; float64 (rows,), seconds from the recording's beginning.

    first : seconds from the first sample to the centre of row 0; period : seconds from one row to the next
    shortest : samples; the one row of a shorter recording stands at the middle of the sound, for the rest is zeros
    """
    if len(audio.samples) < shortest:
        assert rows == 1, rows
        return np.array([audio.start + audio.duration / 2])
    return audio.start + first + period * np.arange(rows)


def chunks(spectrum: np.ndarray, length: int, hop: int) -> np.ndarray:
    """Overlapping chunks of a spectrum, those that lie wholly in it; what they share is not copied.

    spectrum : (frames, bands), frames >= length
    Returns a view (1 + (frames - length) // hop, length, bands); not marked read-only, which PyTorch would warn of.
    """
    windows = np.lib.stride_tricks.sliding_window_view(spectrum, length, axis=0, writeable=True)
    return windows[::hop].transpose(0, 2, 1)
