"""Small extractors with networks, and recordings written for a test, that several test files share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal

import av
import numpy as np
import torch
from torch import Tensor, nn

from avsed.features.pretrained import Prepared, of_pictures, regular_times
from avsed.features.sequence import extractor_key
from avsed.features.weights import Weights, file_hash
from avsed.media import Audio, Images

RATE = 16_000


def weights(file: str = "factor.pt") -> Weights:
    path = Path(os.environ["AVSED_WEIGHTS"]) / file
    return Weights(file, file, file_hash(path), path.stat().st_size, "none", "nobody", ("nothing",))


class Network(nn.Module):
    """Mean and peak of each item, or of each row of a whole clip; notes the sizes of its batches."""

    sizes: ClassVar[list[int]] = []

    def __init__(self, path: str | Path, *, whole: bool) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.load(path)["factor"])
        self.whole = whole

    def forward(self, items: Tensor) -> Tensor:
        self.sizes.append(len(items))
        flat = items.float().flatten(2 if self.whole else 1)
        return self.factor * torch.stack([flat.mean(-1), flat.amax(-1)], -1)


@dataclass(frozen=True)
class Fake:
    """What the ear and the eye share."""

    weights: Weights
    period: float = 0.1
    whole: bool = False
    fails_on: int = 0
    dims: int = field(default=2, init=False)
    version: int = field(default=1, init=False)
    name: str = field(default="fake", init=False)

    @property
    def parameters(self) -> dict[str, Any]:
        return {"weights": self.weights.sha256, "period": self.period, "whole": self.whole}

    @property
    def key(self) -> str:
        return extractor_key(self.name, self.version, self.parameters)

    def network(self, path: str | Path) -> nn.Module:
        return Network(path, whole=self.whole).eval()


@dataclass(frozen=True)
class Ear(Fake):
    modality: Literal["audio"] = field(default="audio", init=False)
    name: str = field(default="ear", init=False)
    rate: int = 8000

    def front(self, audio: Audio) -> Prepared:
        step = round(self.period * audio.rate)
        rows = len(audio.samples) // step
        if rows == self.fails_on:
            raise ZeroDivisionError("an extractor's own mistake")
        chunks = audio.samples[: rows * step].reshape(rows, step)
        times = audio.start + self.period * (np.arange(rows) + 0.5)
        return Prepared(chunks[None] if self.whole else chunks, times, audio.start, audio.stop)


@dataclass(frozen=True)
class Eye(Fake):
    modality: Literal["video"] = field(default="video", init=False)
    name: str = field(default="eye", init=False)
    size: int = 16
    fit: Literal["crop", "stretch"] = "crop"
    side: int = 16

    def wanted(self, begin: float, stop: float) -> np.ndarray:
        return regular_times(self.period, begin, stop)

    def front(self, images: Images, *, begin: float, stop: float) -> Prepared:
        return of_pictures(images, self.wanted(begin, stop), side=self.side, begin=begin, stop=stop)


def sine(seconds: float, pitch: float = 300.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(RATE * seconds)) / RATE)).astype(np.float32)


def write(
    path: Path, *, sound: np.ndarray | None = None, shown: Mapping[float, int] | None = None, late: float = 0.0
) -> Path:
    """A Matroska file: sound that begins ``late``, and grey pictures, brightness by the time at which each appears."""
    with av.open(str(path), "w") as container:
        ear = container.add_stream("pcm_s16le", rate=RATE, layout="mono") if sound is not None else None
        eye = container.add_stream("mpeg4", rate=1000) if shown is not None else None
        if eye is not None and shown is not None:
            eye.width, eye.height, eye.pix_fmt = 32, 24, "yuv420p"
            eye.options = {"qscale": "2"}
            for time, grey in shown.items():
                frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), grey, np.uint8), format="rgb24")
                frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
                container.mux(eye.encode(frame))
            container.mux(eye.encode())
        if ear is not None and sound is not None:
            for first in range(0, len(sound), 1600):
                part = (32767 * sound[None, first : first + 1600]).astype(np.int16)
                block = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                block.rate, block.pts, block.time_base = RATE, first + round(late * RATE), Fraction(1, RATE)
                container.mux(ear.encode(block))
            container.mux(ear.encode())
    then = path.stat().st_mtime - 3600  # what has just been written is not taken for known
    os.utime(path, (then, then))
    return path
