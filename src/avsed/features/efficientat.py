"""EfficientAT: MobileNetV3s that learned AudioSet's 527 classes from a large transformer, in eight widths.

Two kinds of embedding: from the last feature map before time is averaged away, one row every 0.32 s from one pass over
the clip; or pooled over a sliding window. The network itself is in `avsed.features.mobilenet`.

Source: F. Schmid, K. Koutini and G. Widmer, *Efficient large-scale audio tagging via transformer-to-CNN knowledge
distillation*, ICASSP 2023; front end as in github.com/fschmid56/EfficientAT (MIT).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from avsed.errors import WeightsError
from avsed.features.mobilenet import REDUCTION, FrameEmbedding, MobileNet, PooledEmbedding, last_channels
from avsed.features.pretrained import Prepared
from avsed.features.sequence import extractor_key
from avsed.features.spectrum import (
    MelSpectrum,
    chunks,
    hann,
    line_frequencies,
    mel_edges,
    row_times,
    sound,
    to_mel,
    triangles,
)
from avsed.features.weights import Weights, fill, state

if TYPE_CHECKING:
    from avsed.media import Audio

VERSION = 1
"""Rises whenever the numbers change."""

RATE, SIZE, WINDOW, HOP = 32_000, 1024, 800, 320  # samples a second, of the transform, the window and the hop
BANDS, LOWEST, HIGHEST = 128, 0.0, 15_000.0  # Kaldi mel bands, Hz
PRE_EMPHASIS = 0.97

Size = Literal["mn01", "mn02", "mn04", "mn05", "mn10", "mn20", "mn30", "mn40"]

WIDTHS: dict[Size, float] = {
    "mn01": 0.1,
    "mn02": 0.2,
    "mn04": 0.4,
    "mn05": 0.5,
    "mn10": 1.0,
    "mn20": 2.0,
    "mn30": 3.0,
    "mn40": 4.0,
}
"""What the channels of MobileNetV3-Large are multiplied by."""

FILES: dict[Size, tuple[str, str, int]] = {
    "mn01": ("mn01_as_mAP_298.pt", "", 0),
    "mn02": ("mn02_as_mAP_378.pt", "", 0),
    "mn04": ("mn04_as_mAP_432.pt", "899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c", 4_066_513),
    "mn05": ("mn05_as_mAP_443.pt", "", 0),
    "mn10": ("mn10_as_mAP_471.pt", "0bd7dc2443af498c289a2e739f02ebb515d6aa3fd3ab9db539c86123ae368a4e", 19_708_753),
    "mn20": ("mn20_as_mAP_478.pt", "", 0),
    "mn30": ("mn30_as_mAP_482.pt", "", 0),
    "mn40": ("mn40_as_mAP_484.pt", "", 0),
}
"""Published files (the number is the mean average precision on AudioSet, %): SHA-256 and bytes, where they are known."""

RELEASE = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1"

PUBLISHED: dict[Size, Weights] = {
    size: Weights(
        name=f"efficientat-{size}",
        file=file,
        sha256=sha256,
        size=length,
        licence="MIT",
        source="Schmid, Koutini and Widmer, Efficient large-scale audio tagging via transformer-to-CNN knowledge "
        "distillation, ICASSP 2023",
        pretrained_on=("ImageNet-1k", "AudioSet"),
        url=f"{RELEASE}/{file}",
    )
    for size, (file, sha256, length) in FILES.items()
    if sha256
}
WEIGHTS = tuple(PUBLISHED.values())


@dataclass(frozen=True)
class EfficientAT:
    """An AudioSet network as an extractor (`avsed.features.pretrained.AuditoryExtractor`).

    weights : what the network is filled with
    size : of the network, the one of the weights; mn10 is MobileNetV3-Large
    embedding : ``frames``, from the last feature map, or ``pooled``, over a sliding window
    chunk, step : length of the window, >= 32, and from one to the next, >= 1, in frames of 10 ms; for pooled ones only

    Frames: 10 s give 32 rows, row j centred at 0.32 j s, which is the middle of its field of view (595 frames, 5.95 s,
    most of it faint; through squeeze and excitation, a trace of the whole clip). One pass a clip.
    Pooled: 10 s give 57 rows of 0.96 s, the first centred at 0.475 s; only whole windows count, so that less than a
    step of sound at the end is in none. All windows are cut from one log-mel map of the recording; the original embeds
    pieces of sound one by one, and so reflects them at their edges, two frames deep.
    Sound too short for one row (0.32 s; a window) is filled up with zeros behind its end; its one row stands in the
    middle of the sound.

    Raises ValueError if published weights of another size are given, or a number is out of range.
    """

    weights: Weights = PUBLISHED["mn04"]
    size: Size = "mn04"
    embedding: Literal["frames", "pooled"] = "frames"
    chunk: int = 96
    step: int = 16
    name: str = field(default="efficientat", init=False)
    version: int = field(default=VERSION, init=False)
    modality: Literal["audio"] = field(default="audio", init=False)
    rate: int = field(default=RATE, init=False)

    def __post_init__(self) -> None:
        if self.weights in WEIGHTS and self.weights != PUBLISHED.get(self.size):
            raise ValueError(f"the weights {self.weights.name} are not of size {self.size}: take published(size)")
        if self.chunk < REDUCTION or self.step < 1:
            raise ValueError(f"need chunk >= {REDUCTION} and step >= 1, got {self.chunk} and {self.step}")

    @property
    def parameters(self) -> dict[str, Any]:
        values: dict[str, Any] = {"weights": self.weights.sha256, "size": self.size, "embedding": self.embedding}
        return values if self.whole else values | {"chunk": self.chunk, "step": self.step}

    @property
    def key(self) -> str:
        return extractor_key(self.name, self.version, self.parameters)

    @property
    def dims(self) -> int:
        return last_channels(WIDTHS[self.size])

    @property
    def period(self) -> float:
        return (REDUCTION if self.whole else self.step) * HOP / RATE

    @property
    def whole(self) -> bool:
        return self.embedding == "frames"

    def front(self, audio: Audio) -> Prepared:
        """The log-mel map, (1, frames, 128), or windows of it, (rows, chunk, 128).

        Raises ValueError if the sound is empty, not finite or not at 32 kHz.
        """
        shortest = (REDUCTION if self.whole else self.chunk) * HOP
        spectrum = log_mel(sound(audio, rate=RATE, shortest=shortest, ear=self.name))
        if self.whole:
            inputs, rows, first = spectrum[None], -(-len(spectrum) // REDUCTION), 0.0
        else:
            inputs = chunks(spectrum, self.chunk, self.step)
            rows, first = len(inputs), (self.chunk - 1) / 2 * HOP / RATE
        times = row_times(audio, rows=rows, first=first, period=self.period, shortest=shortest)
        return Prepared(inputs, times, audio.start, audio.stop)

    def network(self, path: str | Path) -> nn.Module:
        """(items, frames, 128) to (items, rows, dims) or (items, dims). Raises WeightsError if the file does not fit."""
        with torch.device("meta"):  # nothing is spent on initial values
            network = MobileNet(WIDTHS[self.size])
        fill(network, state(path), path)
        return (FrameEmbedding(network) if self.whole else PooledEmbedding(network)).eval()


def published(size: Size) -> Weights:
    """The published weights of a size. Raises WeightsError for a size whose file has no hash that is known here."""
    if size not in PUBLISHED:
        raise WeightsError(
            f"no hash is known of the published weights of {size}: download {RELEASE}/{FILES[size][0]} and give that "
            f"file as weights of your own, or take one of {', '.join(PUBLISHED)}"
        )
    return PUBLISHED[size]


def log_mel(samples: np.ndarray) -> np.ndarray:
    """The input that the networks were trained on: pre-emphasis, power in Kaldi's mel bands, logarithm, scaled.

    samples : float32 (n,), n > 513, at 32 kHz; not normalised. Pre-emphasis leaves n − 1 of them, whose edges are
    reflected. Returns float32 (1 + (n - 1) // 320, 128), about −1.4 for silence; frame i is centred on sample 320 i.
    """
    sharpened = samples[1:] - PRE_EMPHASIS * samples[:-1].astype(np.float64)
    mel = _spectrum()(np.pad(sharpened, SIZE // 2, mode="reflect"))
    return ((np.log(mel + 1e-5) + 4.5) / 5.0).astype(np.float32)


@functools.cache
def _spectrum() -> MelSpectrum:
    filters = triangles(to_mel(line_frequencies(RATE, SIZE)), mel_edges(BANDS, LOWEST, HIGHEST))
    window = np.pad(hann(WINDOW, periodic=False), (SIZE - WINDOW) // 2)  # in the middle of the transform
    return MelSpectrum(window, SIZE, HOP, 2, filters)
