"""Recordings, and extractions of one kind of features from them, that several test files share."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from avsed.features.bookkeeping import ExtractionResult
from avsed.features.extraction import FEW, extract_features
from avsed.features.logmel import LogMel, LogMelParameters
from avsed.features.sequence import Extractor
from avsed.features.store import FeatureStore, StoredFeatures

MANY = FEW + 6
SMALL = LogMel(LogMelParameters(rate=8000, window=512, hop=160, bands=16, highest=4000.0))


def write_clip(path: Path, *, seconds: float = 0.6, pitch: float = 440.0, silent_container: bool = False) -> Path:
    """An MP4 file with AAC sound, or with moving pictures only."""
    with av.open(str(path), "w") as container:
        if silent_container:
            pictures = container.add_stream("mpeg4", rate=10)
            pictures.width = pictures.height = 32
            for _ in range(5):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode())
            return path
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        samples = 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(16_000 * seconds)) / 16_000)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def settled(path: Path) -> Path:
    """A file as if written an hour ago."""
    then = time.time_ns() - 3_600_000_000_000
    os.utime(path, ns=(then, then))
    return path


def written(folder: Path) -> list[tuple[str, Path]]:
    """Recordings of different pitch and length, by their names."""
    for number in range(MANY):
        settled(write_clip(folder / f"{number:02d}.mp4", pitch=200.0 + 50 * number, seconds=0.4 + 0.02 * number))
    return [(path.name, path) for path in sorted(folder.iterdir())]


def stored_files(store: FeatureStore) -> list[Path]:
    return sorted(store.folder.glob("*/*/*.safetensors"))


def extract(
    clips: Sequence[tuple[str, Path]], extractor: Extractor, store: FeatureStore, **options: Any
) -> ExtractionResult:
    """An extraction with one extractor."""
    return extract_features(clips, {"only": extractor}, store, **options)


def files(result: ExtractionResult) -> tuple[StoredFeatures | None, ...]:
    return result.files["only"]


def loaded(result: ExtractionResult) -> list[np.ndarray]:
    return [stored.load().values for stored in files(result) if stored is not None]
