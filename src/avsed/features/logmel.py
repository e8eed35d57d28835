"""The paper's spectral input: the logarithm of 128 mel bands, about 60 frames a second (Section 4.2).

The transform is computed in float64 (in float32, the quiet bands beside a loud tone would be rounding noise), in pieces
of frames that are shared out to a few threads: for the paper's window by compiled loops (`avsed.features.kernels`), for
any other by numpy.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from avsed.features.sequence import FeatureSequence, extractor_key
from avsed.features.threads import allowed_threads, at_once
from avsed.timeline import spectral_frames

if TYPE_CHECKING:
    from avsed.features.kernels import Filters
    from avsed.media import Audio

VERSION = 1
"""Rises whenever the numbers change, so that stored features of an older version are not taken for new ones."""

PIECE = 76
"""Frames in a piece, an eighth of ten seconds: two or four threads get equal shares."""

AT_ONCE = 2**17
"""Samples that numpy transforms at a time: for more than this megabyte, the system would make fresh memory each time."""

MOST_THREADS = 4
"""More would gain little: ten seconds take them less than a millisecond, of which starting threads is a good part."""


class LogMelParameters(BaseModel):
    """How a log-mel map is made. The defaults are the paper's: 10 s give 604 frames of 128 bands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: int = Field(default=22_100, gt=0, description="samples per second that sound is resampled to")
    window: int = Field(default=2048, ge=2, multiple_of=2, description="samples in a (periodic Hann) window")
    hop: int = Field(default=366, ge=1, description="samples from one frame to the next")
    bands: int = Field(default=128, ge=1, description="mel bands")
    lowest: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="lower edge of the first band, Hz")
    highest: float = Field(default=11_050.0, gt=0, allow_inf_nan=False, description="upper edge of the last band, Hz")
    floor: float = Field(
        default=1e-5, gt=0, allow_inf_nan=False, description="smaller mel magnitudes count as this much"
    )

    @model_validator(mode="after")
    def _fits(self) -> LogMelParameters:
        if self.hop > self.window:
            raise ValueError(f"the hop ({self.hop}) must not exceed the window ({self.window}), or sound is lost")
        if not self.lowest < self.highest <= self.rate / 2:
            raise ValueError(
                f"mel bands need lowest < highest <= rate / 2, got {self.lowest} Hz, {self.highest} Hz and "
                f"{self.rate / 2} Hz"
            )
        edges = mel_edges(self) / (self.rate / self.window)  # in units of the spectrum's lines
        empty = np.flatnonzero(np.floor(edges[:-2]) + 1 >= edges[2:])
        if len(empty):
            raise ValueError(
                f"{self.bands} mel bands are too narrow for a window of {self.window} samples: band {empty[0]} holds "
                "no line of the spectrum; take fewer bands or a longer window"
            )
        return self


@dataclass(frozen=True)
class LogMel:
    """The log-mel map as an extractor.

    settings : what the map is like
    """

    settings: LogMelParameters = field(default_factory=LogMelParameters)
    name: str = field(default="logmel", init=False)
    version: int = field(default=VERSION, init=False)
    modality: Literal["audio"] = field(default="audio", init=False)

    @property
    def parameters(self) -> dict[str, Any]:
        return self.settings.model_dump(mode="json")

    @property
    def key(self) -> str:
        return extractor_key(self.name, self.version, self.parameters)

    @property
    def rate(self) -> int:
        return self.settings.rate

    @property
    def dims(self) -> int:
        return self.settings.bands

    @property
    def period(self) -> float:
        return self.settings.hop / self.settings.rate

    def extract(self, audio: Audio) -> FeatureSequence:
        """The log-mel map of a whole recording, not standardised.

        Raises ValueError if the sound is empty, not finite or at another rate.
        """
        if audio.rate != self.rate:
            raise ValueError(f"the log-mel map wants sound at {self.rate} samples per second, got {audio.rate}")
        values = log_mel(audio.samples, self.settings, threads=allowed_threads())
        return FeatureSequence.regular(
            values, self.settings, begin=audio.start, duration=len(audio.samples) / audio.rate
        )


def log_mel(samples: np.ndarray, parameters: LogMelParameters, *, threads: int = 1) -> np.ndarray:
    """Log-mel map of a signal: peak-normalised, zero-padded by half a window, Hann, magnitude, mel, ln(max(x, floor)).

    samples : float32 (n,), n >= 1, at ``parameters.rate``; silence stays zero
    threads : at most so many share the work, and no more than `MOST_THREADS`; the result is the same to the last bit
    Returns float32 (n // hop + 1, bands), in [ln(floor), about 6].

    Raises ValueError if there are no samples, or values that are not finite numbers.
    """
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise ValueError(f"a log-mel map needs float32 samples of shape (n,), got {samples.dtype} {samples.shape}")
    if not len(samples):
        raise ValueError("a log-mel map needs at least one sample, got none")
    peak = max(samples.max(), -samples.min())
    if not np.isfinite(peak):
        raise ValueError("the samples hold values that are not finite numbers")
    result = np.empty((spectral_frames(len(samples), parameters.hop), parameters.bands), np.float32)
    pieces = range(0, len(result), PIECE)
    waiting = iter(pieces)

    def fill() -> None:
        for first in waiting:  # each thread takes the next
            _fill(result, first, samples, peak if peak > 0 else np.float32(1), parameters)

    at_once(fill, threads=min(threads, MOST_THREADS, len(pieces)))
    return result


def _fill(result: np.ndarray, first: int, samples: np.ndarray, peak: np.floating, parameters: LogMelParameters) -> None:
    """Compute the piece of the log-mel map that begins with frame ``first``; peak : what the samples are divided by."""
    from avsed.features import kernels  # numba, which takes a while to import

    window, hop = parameters.window, parameters.hop
    piece = result[first : first + PIECE]  # (rows, bands)
    begin = first * hop - window // 2
    stop = begin + (len(piece) - 1) * hop + window
    inside = slice(max(begin, 0), min(stop, len(samples)))
    signal = np.zeros(stop - begin, np.float32)
    np.divide(samples[inside], peak, out=signal[inside.start - begin : inside.stop - begin])
    if window == kernels.WINDOW:
        kernels.mel_of_sound(signal, hop, _hann(window), _filters(parameters), piece)
    else:
        frames = np.lib.stride_tricks.sliding_window_view(signal, window)[::hop]  # (rows, window)
        few = max(1, AT_ONCE // window)
        for some in (slice(k, k + few) for k in range(0, len(piece), few)):
            spectra = np.fft.rfft(frames[some] * _hann(window)).astype(np.complex64)  # (few, lines)
            kernels.mel_of_magnitudes(np.abs(spectra), _filters(parameters), piece[some])
    np.maximum(piece, np.float32(parameters.floor), out=piece)
    np.log(piece, out=piece)


@functools.lru_cache(maxsize=8)
def mel_filterbank(parameters: LogMelParameters) -> np.ndarray:
    """Triangular mel filters of unit area (Slaney's scale and norm).

    Returns float64 (bands, window // 2 + 1), read-only: weights of the lines of a magnitude spectrum.

    Source: M. Slaney, Auditory Toolbox, Technical Report 1998-010, Interval Research, 1998.
    """
    edges = mel_edges(parameters)[:, None]
    lines = np.arange(parameters.window // 2 + 1) * (parameters.rate / parameters.window)
    rising = (lines - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - lines) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))
    filters.flags.writeable = False
    return filters


def mel_edges(parameters: LogMelParameters) -> np.ndarray:
    """float64 (bands + 2,), Hz: band b rises from edge b to edge b + 1 and falls to edge b + 2."""
    lowest, highest = _mel(np.array([parameters.lowest, parameters.highest]))
    return _hertz(np.linspace(lowest, highest, parameters.bands + 2))


# Slaney's scale: 15 mel a kilohertz below 1 kHz, above it 27 mel for each factor of 6.4.
_MEL_PER_HERTZ, _BREAK_HERTZ, _BREAK_MEL, _LOG_STEP = 3 / 200, 1000.0, 15.0, np.log(6.4) / 27


def _mel(hertz: np.ndarray) -> np.ndarray:
    high = _BREAK_MEL + np.log(np.maximum(hertz, _BREAK_HERTZ) / _BREAK_HERTZ) / _LOG_STEP
    return np.where(hertz < _BREAK_HERTZ, hertz * _MEL_PER_HERTZ, high)


def _hertz(mel: np.ndarray) -> np.ndarray:
    high = _BREAK_HERTZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel / _MEL_PER_HERTZ, high)


@functools.lru_cache(maxsize=8)
def _hann(window: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)


@functools.lru_cache(maxsize=8)
def _filters(parameters: LogMelParameters) -> Filters:
    """The filter bank without its zeros."""
    from avsed.features.kernels import Filters

    filters = mel_filterbank(parameters)
    covered = filters > 0  # (bands, lines)
    return Filters(covered.argmax(1), covered.sum(1).cumsum(), filters[covered].astype(np.float32))
