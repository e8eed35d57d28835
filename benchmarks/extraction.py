"""Extraction with a pretrained network, from video files to stored features, against the network alone.

    python benchmarks/extraction.py [--data FOLDER] [--clips 48] [--workers N] [--threads N] [--device cpu] [--rounds 2]

``--data`` : a folder of recordings, searched with all below it; without it, clips of ten seconds are made by rule
(H.264 of 224 × 168 pixels at 25 a second, AAC). For each eye, in turn, as often as ``--rounds`` says:

* alone: the network on the same pictures, decoded beforehand, in the same batches on the same threads;
* from files: `avsed.features.extraction.extract_features` into an empty store, with the start of its worker processes
  and from the moment at which the first clip was stored;
* one by one: a plain loop of PyTorch that gives the network one picture at a time.

Ratios are those of one round; printed are their medians, of seconds and of processor time (that of the workers with it).
Where the network has a thread on each core, the ratio of processor times is what that of seconds comes to on an idle
machine; other work stretches seconds unevenly. VGG16 looks at nine pictures of a clip instead of 151, so that decoding
costs it more, in proportion, than it does. Weights are random: they change no times.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from avsed.data.demo import Recipe, generate
from avsed.device import choose_device, describe, set_threads
from avsed.features.decoding_pass import decode_clip
from avsed.features.efficientnet_lite import EfficientNetLite, EfficientNetLite0
from avsed.features.embedding import Embedder
from avsed.features.extraction import extract_features
from avsed.features.store import FeatureStore
from avsed.features.threads import available_cores
from avsed.features.vgg16 import Vgg16, Vgg16Network
from avsed.features.weights import own

SAMPLE = 8
"""Clips whose pictures are held in memory, for the network alone."""

SINGLE = 48
"""Pictures that the plain loop looks at, at most."""


@dataclass(frozen=True)
class RandomLite0(EfficientNetLite0):
    def network(self, path: str | Path) -> nn.Module:
        return untrained(EfficientNetLite())


@dataclass(frozen=True)
class RandomVgg16(Vgg16):
    def network(self, path: str | Path) -> nn.Module:
        return untrained(Vgg16Network())


def untrained(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last).requires_grad_(False).eval()


class Round(NamedTuple):
    """Seconds a picture, ``cpu`` ones of processor time, and the share of the extraction in which the network waited."""

    alone: float
    alone_cpu: float
    files_cpu: float
    files: float
    steady: float
    single: float
    waiting: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of recordings")
    parser.add_argument("--clips", type=int, default=48, help="recordings used, evenly spread over the folder")
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes that decode")
    parser.add_argument("--threads", type=int, help="threads of the network on a CPU; default: one a core")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    set_threads(options.threads)
    device = choose_device(options.device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "none.pt").write_bytes(b"random")
        os.environ["AVSED_WEIGHTS"] = name
        weights = own("random", folder / "none.pt")
        if options.data is None:
            recipe = Recipe(clips=(("weak", options.clips),), duration=10.0, rate=44_100, fps=25, size=(168, 224))
            generate(folder / "clips", recipe, workers=available_cores())
        found = sorted(path for path in (options.data or folder / "clips/clips").rglob("*") if path.is_file())
        files = [found[i * len(found) // options.clips] for i in range(min(options.clips, len(found)))]
        print(
            f"{len(files)} recordings, {describe(device)}, {options.workers} workers, median of {options.rounds} rounds"
        )
        for eye in (RandomLite0(weights), RandomVgg16(weights, pool=64)):
            rounds = [
                measure(eye, files, folder / f"{eye.name}{n}", options.workers, device) for n in range(options.rounds)
            ]
            report(eye.name, rounds)


def report(name: str, rounds: Sequence[Round]) -> None:
    def ratio(over: str, under: str) -> float:
        return statistics.median(getattr(one, over) / getattr(one, under) for one in rounds)

    alone = statistics.median(one.alone for one in rounds)
    print(
        f"{name}: the network alone takes {1000 * alone:.1f} ms a picture, of one by one {ratio('alone', 'single'):.2f}"
    )
    waited = 100 * statistics.median(one.waiting for one in rounds)
    print(f"  from files {ratio('files', 'alone'):.3f} of that, {ratio('steady', 'alone'):.3f} from the first clip on")
    print(f"  in processor time {ratio('files_cpu', 'alone_cpu'):.3f}; the network waited {waited:.0f} % of the time")


def measure(
    eye: RandomLite0 | RandomVgg16, files: Sequence[Path], folder: Path, workers: int, device: torch.device
) -> Round:
    torch.manual_seed(0)
    network = eye.network("").to(device)
    store = FeatureStore(folder / "sample")
    prepared = [decode_clip(path, {"eye": eye}, store).prepared["eye"] for path in files[:: -(-len(files) // SAMPLE)]]

    def alone() -> np.ndarray:
        """Seconds, and those of processor time."""
        embedder = Embedder(eye, network, device)
        began = np.array([time.perf_counter(), processor_time()])
        for number, one in enumerate(prepared):
            embedder.add(number, one)
        embedder.finish()
        return (np.array([time.perf_counter(), processor_time()]) - began) / sum(len(one.inputs) for one in prepared)

    def single() -> float:
        pictures = np.concatenate([one.inputs for one in prepared])[:SINGLE]
        began = time.perf_counter()
        with torch.inference_mode():
            for picture in pictures:
                network(torch.from_numpy(picture[None]).to(device)).float().cpu().numpy()
        return (time.perf_counter() - began) / len(pictures)

    alone()  # warms up
    before, plain = alone(), single()
    stamps: list[tuple[float, int]] = []
    began, spent = time.perf_counter(), processor_time()
    result = extract_features(
        [(path.name, path) for path in files],
        {"eye": eye},
        FeatureStore(folder / "store"),
        workers=workers,
        device=device,
        progress=lambda done, *_: stamps.append((time.perf_counter(), done)),
    )
    seconds, spent = time.perf_counter() - began, processor_time() - spent
    rows = [stored.rows for stored in result.files["eye"] if stored is not None]
    after = alone()
    first = next(stamp for stamp in stamps if stamp[1])
    later = sum(rows) * (1 - first[1] / len(files))  # pictures of the clips that were stored after the first
    return Round(
        alone=(before[0] + after[0]) / 2,
        alone_cpu=(before[1] + after[1]) / 2,
        files_cpu=spent / sum(rows),
        files=seconds / sum(rows),
        steady=(stamps[-1][0] - first[0]) / later,
        single=plain,
        waiting=result.waiting,
    )


def processor_time() -> float:
    """Seconds of this process and of those that it started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
