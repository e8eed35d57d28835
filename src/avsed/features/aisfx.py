"""aisfx: an ear that comes with pip alone, trained to sort libraries of sound effects.

Four double convolutions over one log-mel map of the whole clip. The original takes the maximum over time; here the map
before it is the feature, 512 values every 186 ms.

Source: A. B. Ma and A. Lerch, *Representation learning for the automatic indexing of sound effects libraries*, ISMIR
2022 (weights: CC BY 4.0); layout of network, spectrum and tensors as in the package aisfx 0.1.2, of which only the
checkpoint is used.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from avsed.errors import WeightsError
from avsed.features.pretrained import Prepared
from avsed.features.sequence import extractor_key
from avsed.features.spectrum import (
    MelSpectrum,
    from_mel,
    hann,
    line_frequencies,
    mel_edges,
    row_times,
    sound,
    triangles,
)
from avsed.features.weights import Weights, Wheel, file_hash, fill, state

if TYPE_CHECKING:
    from avsed.media import Audio

VERSION = 1
"""Rises whenever the numbers change."""

RATE, SIZE, HOP = 44_100, 2048, 1024  # samples a second, of the window and the hop
BANDS, LOWEST, HIGHEST = 96, 0.0, 22_050.0  # mel bands, Hz
SCALE, LARGEST = 10_000.0, 9.457798957824707  # log10(1 + SCALE x) / LARGEST; the largest value of its training data
CHANNELS = (64, 128, 256, 512)
"""Of the four blocks; all but the last end with a 2×2 max pool."""
DIMS = CHANNELS[-1]
REDUCTION = 8
"""Frames that one row stands for: three pools of 2."""
SHORTEST = (REDUCTION - 1) * HOP
"""Samples of which the centred transform makes as many frames as a row needs: 7,168, or 163 ms."""

CHECKPOINT = "499ea75909c932a2f94c35fa722fa4fabc5bcb7e84917209cc5f7402627b7eb5"
"""SHA-256 of the checkpoint in the wheel."""


def convert(checkpoint: Path, path: Path) -> None:
    """Write the embedding network of the published checkpoint as safetensors; its classifiers are left out.

    The checkpoint is a pickle of a state dict and a table of sound libraries: only tensors, numpy numbers and their
    types are let in, and only from the file with the known hash.

    Raises WeightsError, naming the file, if it is another one or cannot be read.
    """
    import _codecs

    from safetensors.torch import save_file

    if (found := file_hash(checkpoint)) != CHECKPOINT:
        raise WeightsError(f"{checkpoint}: has SHA-256 {found}, but the checkpoint of aisfx 0.1.2 has {CHECKPOINT}")
    number = np.int64(0).__reduce__()[0]  # whatever unpickles numbers in this version of numpy
    numbers: list[Any] = [(number, "numpy.core.multiarray.scalar"), np.dtype, np.dtypes.Int64DType, _codecs.encode]
    with torch.serialization.safe_globals(numbers):
        tensors, _ = torch.load(checkpoint, map_location="cpu", weights_only=True)
    save_file({name: tensor for name, tensor in tensors.items() if name.startswith("embedding_net.")}, path)


PUBLISHED = Weights(
    name="aisfx",
    file="aisfx-0.1.2.safetensors",
    sha256="e5c83a8ebfe038374ea9a29b3f1660b40b9cddbea7fc43551a2d1a4bd0072ae3",  # of what `convert` makes
    size=18_764_960,
    licence="CC BY 4.0",
    source="Ma and Lerch, Representation learning for the automatic indexing of sound effects libraries, ISMIR 2022",
    pretrained_on=("sound effects libraries (UCS)",),
    wheel=Wheel(
        package="aisfx",
        version="0.1.2",
        sha256="bfe219950715af179e9a1653e7117cc1852baef267cd6596c42cad74afe1d194",
        member="aisfx/models/checkpoint.pth",
    ),
    convert=convert,
)
WEIGHTS = (PUBLISHED,)


@dataclass(frozen=True)
class Aisfx:
    """aisfx as an extractor (`avsed.features.pretrained.AuditoryExtractor`).

    weights : what the network is filled with

    10 s give 431 frames and 53 rows; row j pools frames 8j to 8j + 7 and is centred between them, at
    (8j + 3.5) · 1024 / 44100 s; its field of view is about 1.6 s. The up to 7 frames behind the last whole eight are
    pooled into no row. Sound too short for 8 frames, 163 ms, is filled up with zeros behind its end; its one row stands
    in the middle of the sound. Nothing is peak-normalised: the original does so, but embeddings are better without.
    """

    weights: Weights = PUBLISHED
    name: str = field(default="aisfx", init=False)
    version: int = field(default=VERSION, init=False)
    modality: Literal["audio"] = field(default="audio", init=False)
    rate: int = field(default=RATE, init=False)
    dims: int = field(default=DIMS, init=False)
    period: float = field(default=REDUCTION * HOP / RATE, init=False)
    whole: bool = field(default=True, init=False)

    @property
    def parameters(self) -> dict[str, Any]:
        return {"weights": self.weights.sha256}

    @property
    def key(self) -> str:
        return extractor_key(self.name, self.version, self.parameters)

    def front(self, audio: Audio) -> Prepared:
        """The log-mel map: float32 (1, frames, 96).

        Raises ValueError if the sound is empty, not finite or not at 44.1 kHz.
        """
        spectrum = log_mel(sound(audio, rate=RATE, shortest=SHORTEST, ear=self.name))
        rows, first = len(spectrum) // REDUCTION, (REDUCTION - 1) / 2 * HOP / RATE
        times = row_times(audio, rows=rows, first=first, period=self.period, shortest=SHORTEST)
        return Prepared(spectrum[None], times, audio.start, audio.stop)

    def network(self, path: str | Path) -> nn.Module:
        """(items, frames, 96) to (items, frames // 8, 512). Raises WeightsError if the file does not fit."""
        with torch.device("meta"):  # nothing is spent on initial values
            network = AisfxNetwork()
        return fill(network, state(path), path)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """The input that the network was trained on: power in HTK mel bands, log10(1 + 10000 x), in about [0, 1].

    samples : float32 (n,), n >= 1, at 44.1 kHz
    Returns float32 (n // 1024 + 1, 96), 0 for silence; frame i is centred on sample 1024 i.
    """
    mel = _spectrum()(np.pad(samples, SIZE // 2))
    return (np.log10(SCALE * mel + 1.0) / LARGEST).astype(np.float32)


@functools.cache
def _spectrum() -> MelSpectrum:
    filters = triangles(line_frequencies(RATE, SIZE), from_mel(mel_edges(BANDS, LOWEST, HIGHEST)))
    return MelSpectrum(hann(SIZE, periodic=True), SIZE, HOP, 2, filters / filters.sum(1, keepdims=True))


class AisfxNetwork(nn.Module):
    """Four blocks of two convolutions; the names of the tensors are the published ones."""

    def __init__(self) -> None:
        super().__init__()
        widths = zip((1, *CHANNELS), CHANNELS, strict=False)
        self.embedding_net = nn.ModuleDict(
            {f"conv_block{number}": DoubleConvolution(*pair) for number, pair in enumerate(widths, 1)}
        )

    def forward(self, spectra: Tensor) -> Tensor:
        """Log-mel maps (items, frames, 96) to (items, frames // 8, 512); at least 8 frames."""
        maps = spectra[:, None]
        for number, block in enumerate(self.embedding_net.values(), 1):
            maps = block(maps)
            if number < len(CHANNELS):
                maps = nn.functional.max_pool2d(maps, 2)
        return maps.mean(3).transpose(1, 2)  # from (items, 512, frames // 8, 12)


class DoubleConvolution(nn.Module):
    """Twice convolution 3×3, batch norm, ReLU."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.bn1(self.conv1(maps)).relu()
        return self.bn2(self.conv2(maps)).relu()
