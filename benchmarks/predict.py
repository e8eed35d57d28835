"""`avsed predict` as a user runs it: a long recording, and the time to the first output for a short one.

    python benchmarks/predict.py [--run RUN] [--recording FILE] [--minutes 60] [--runs 5] [--video] [--device cpu]

Each measurement is a process of its own. Without ``--run``, the paper's network with random weights is saved and used:
it computes as much as a trained one. Without ``--recording``, an hour of noise and tones is written as AAC in mp4;
``--video`` writes recordings with pictures (320 × 240 at 15 fps), for systems with eyes. Shown:

* the long recording: seconds, how many times faster than real time, seconds of CPU, peak memory of the process;
* a clip of ten seconds cut from the same sound: seconds from the command's start to its output (median, quickest), and what
  they go into: Python's imports by package (``-X importtime``), and the rest. Files are in the file cache: one run before
  the timed ones is not counted.

CPU time is shown because other work on the machine stretches the seconds.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RATE = 44_100
CLIP_S = 10.0
TILE_S = 60.0  # the sound repeats itself after this much
SIDES = (240, 320)
FPS = 15


class Process(NamedTuple):
    """wall, cpu : seconds; peak : bytes of memory at most; errors : what it wrote on standard error"""

    wall: float
    cpu: float
    peak: float
    errors: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="folder of a training, or the file of a trained system")
    parser.add_argument("--recording", type=Path, help="the long recording")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the long recording that is written")
    parser.add_argument("--runs", type=int, default=5, help="cold starts timed")
    parser.add_argument("--video", action="store_true", help="write recordings with pictures")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # What is needed is made in a process of its own: Linux counts the memory of a process that starts another as the other's.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as maker:

            def made(function: Callable[..., Path], file: str, **more: Any) -> Path:
                return maker.submit(function, folder / file, **more).result()

            run = options.run or made(write_system, "system.safetensors")
            clip = made(write_recording, "clip.mp4", seconds=CLIP_S, pictures=options.video)
            recording = options.recording
            if recording is None:
                length = 60 * options.minutes
                recording = made(write_recording, "recording.mp4", seconds=length, pictures=options.video)
        cold_start(run, clip, runs=options.runs, device=options.device)
        long_recording(run, recording, device=options.device)


def cold_start(run: Path, clip: Path, *, runs: int, device: str) -> None:
    command = ["predict", str(run), str(clip), "--device", device]
    processes = [avsed(*command) for _ in range(runs + 1)][1:]
    walls, cpus = [process.wall for process in processes], [process.cpu for process in processes]
    print(f"a clip of {CLIP_S:.0f} s, from the start of the command to its end, {runs} runs:")
    print(
        f"  {statistics.median(walls):.2f} s ({min(walls):.2f}), CPU {statistics.median(cpus):.2f} s ({min(cpus):.2f})"
    )
    traced = avsed(*command, python=("-X", "importtime"))
    packages = import_times(traced.errors)
    named = ", ".join(f"{package} {seconds:.2f}" for package, seconds in packages.most_common(6))
    total = packages.total()
    print(
        f"  of {traced.wall:.2f} s with tracing, {total:.2f} s are imports ({named}), {traced.wall - total:.2f} s the rest"
    )


def long_recording(run: Path, recording: Path, *, device: str) -> None:
    from avsed.media import probe

    duration = probe(recording).duration or float("nan")
    process = avsed("predict", str(run), str(recording), "--device", device)
    print(
        f"{recording.name}, {duration / 60:.1f} min: {process.wall:.1f} s, {duration / process.wall:.0f} times real time, "
        f"CPU {process.cpu:.1f} s, peak memory {process.peak / 1e6:.0f} MB"
    )


def avsed(*arguments: str, python: tuple[str, ...] = ()) -> Process:
    """Run the command to its end, its output read and thrown away."""
    with tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *python, "-m", "avsed.cli", *arguments], stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)  # the memory of this process, not the largest of all so far
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        text = errors.read()
    if process.returncode:
        raise SystemExit(f"avsed {' '.join(arguments)} ended with {process.returncode}:\n{text}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Process(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, text)


def import_times(trace: str) -> Counter[str]:
    """Seconds that each package's own modules took, from the lines of ``-X importtime``."""
    packages: Counter[str] = Counter()
    for own, module in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", trace, re.MULTILINE):
        package = module.partition(".")[0]
        packages["standard library" if package in sys.stdlib_module_names else package] += int(own) / 1e6
    return packages


def write_system(path: Path) -> Path:
    """The paper's model for ten classes, not trained."""
    import torch

    from avsed.config import Config
    from avsed.features.extractors import describe
    from avsed.features.logmel import LogMel, log_mel
    from avsed.features.standardise import Standardiser
    from avsed.model.crnn import Crnn
    from avsed.system import System

    torch.manual_seed(0)
    config = Config()
    model = Crnn(config.model, classes=10, bands=config.features.bands).eval()
    noise = np.random.default_rng(0).normal(size=round(CLIP_S * config.features.rate)).astype(np.float32)
    spectra = log_mel(noise, config.features)
    standardiser = Standardiser(spectra.mean(0), np.ones(config.features.bands, np.float32))
    extractors = {"logmel": describe(LogMel(config.features))}
    System(config, tuple("abcdefghij"), standardiser, model, len(spectra), extractors).save(path)
    return path


def write_recording(path: Path, *, seconds: float, pictures: bool = False) -> Path:
    """Noise whose loudness swells, and a rising tone, over and over again; pictures whose brightness moves."""
    from avsed.media import write_clip

    t = np.arange(round(min(seconds, TILE_S) * RATE)) / RATE
    noise = np.random.default_rng(0).normal(size=len(t)) * (0.55 + 0.45 * np.sin(2 * np.pi * 0.7 * t))
    tile = (0.15 * noise + 0.2 * np.sin(2 * np.pi * 300 * t * (1 + 0.01 * t))).astype(np.float32)

    def images() -> Iterator[np.ndarray]:
        rows = np.linspace(0, 255, SIDES[0] + 255).astype(np.uint8)
        for number in range(round(seconds * FPS)):
            column = rows[number % 255 : number % 255 + SIDES[0], None, None]
            yield np.broadcast_to(column, (*SIDES, 3))

    count = round(seconds * RATE)
    samples = np.tile(tile, -(-count // len(tile)))[:count]
    write_clip(path, samples=samples, rate=RATE, images=images() if pictures else None, fps=FPS)
    return path


if __name__ == "__main__":
    main()
