"""How fast features that do not fit into memory come from the store: random batches of clips, against the disk itself.

Run ``python benchmarks/streaming.py [--clips N] [--batch N] [--folder FOLDER]``. It writes N clips of 151 × 4096 values in
half precision (1.24 MB each, VGG16's features of ten seconds), and reads batches of random clips as a training does: from
the page cache, then each with its files dropped from it first. Beside them, the same files read whole as bytes, dropped in
the same way: what the disk and the system give. Medians of MB/s; dropping works on Linux only.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from avsed.data.bank import StreamBank
from avsed.features.sequence import FeatureSequence
from avsed.features.store import FeatureStore, StoredFeatures
from avsed.features.vgg16 import Vgg16

ROWS, DIMS = 151, 4096
BYTES = 2 * ROWS * DIMS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=800)
    parser.add_argument("--batch", type=int, default=48, help="clips in a step")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="where the clips are written for the time being")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        files = write(FeatureStore(folder), arguments.clips)
        for file in files:
            file.path.read_bytes()
        bank = StreamBank(
            [file.load for file in files],
            lambda _, sequence: (sequence.values, np.arange(sequence.rows)),
            dims=DIMS,
            device=torch.device("cpu"),
            rows=None,
        )
        random = np.random.default_rng(0)
        batches = [random.permutation(len(files))[: arguments.batch] for _ in range(arguments.steps)]

        def gathered(batch: np.ndarray) -> None:
            bank.gather(torch.from_numpy(batch), ROWS, full=True)

        def raw(batch: np.ndarray) -> None:
            for clip in batch:
                files[clip].path.read_bytes()

        print(
            f"{arguments.clips} clips, {arguments.clips * BYTES / 1e6:.0f} MB; batches of {arguments.batch}; MB/s, medians"
        )
        for name, way in (("batches", gathered), ("bytes alone", raw)):
            warm, cold = (rate(way, files, batches, drop=drop) for drop in (False, True))
            print(f"  {name + ':':<13} warm {warm:7.0f}   cold {cold:7.0f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


def write(store: FeatureStore, clips: int) -> list[StoredFeatures]:
    """Random features of so many clips."""
    random, times = np.random.default_rng(1), np.arange(ROWS) * 0.0662
    eye = Vgg16()
    values = random.random((ROWS, DIMS), np.float32).astype(np.float16)
    return [
        store.save(eye, f"{clip:064x}", FeatureSequence(np.roll(values, clip, 0), times, 0.0, 10.0), source="random")
        for clip in range(clips)
    ]


def rate(
    way: Callable[[np.ndarray], None], files: Sequence[StoredFeatures], batches: Sequence[np.ndarray], *, drop: bool
) -> float:
    """Median MB/s of reading batches; drop : their files leave the page cache first."""
    rates = []
    for batch in batches:
        if drop:
            for clip in batch:
                with files[clip].path.open("rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        way(batch)
        rates.append(len(batch) * BYTES / 1e6 / (time.perf_counter() - began))
    return statistics.median(rates)


if __name__ == "__main__":
    main()
