"""Several trainings on one device: in turn in one process, in processes of their own, or stacked.

    python benchmarks/seeds.py [--seeds 1 2 4] [--batch 12] [--inputs spectral] [--threads 2] [--steps 8] [--device cpu]
    python benchmarks/seeds.py --layers        what a step is made of: the GRU's frames, and convolutions joined in groups

Whole steps of the paper's network (student, teacher, Adam, moving average) on random clips of 604 × 128 that lie on the device; half of
a batch is weakly labelled. Printed for k seeds: steps per second of all together, that in times of one training's, seconds of processor
time a step, and memory: of the process, or of all processes. k processes share the threads. All ways of a round run after each other,
``--rounds`` rounds; medians of their ratios.

``--layers`` measures, by itself, how long a frame of the GRU's recurrence takes, forward and backward, which bounds a single training on
a GPU; and each convolution of k seeds one after the other against one convolution in k groups, which is what a stacked network would run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import psutil
import torch
from torch import nn

from avsed.config import Config, ModelConfig, load_config
from avsed.data.bank import FeatureBank, StreamBank
from avsed.features.sequence import FeatureSequence
from avsed.model.crnn import Crnn, RecurrentEncoder
from avsed.training.batches import Batches, TrainingClips
from avsed.training.step import MeanTeacher

FRAMES, POOL = 604, 4
DIMS = {"logmel": 128, "vggish": 128, "vgg16": 4096}
CLASSES = 10


@dataclass
class Timed:
    """Of some steps: seconds on the clock, and of processor time; bytes of memory."""

    seconds: float
    cpu: float
    memory: float


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def configuration(batch: int, inputs: str, precision: str) -> Config:
    half = batch // 2
    given = {"inputs": inputs, "training.weak_batch": half, "training.unlabelled_batch": batch - half}
    return load_config(None, [f"{key}={value}" for key, value in {**given, "training.precision": precision}.items()])


def make_clips(config: Config, count: int, device: torch.device) -> TrainingClips:
    """Random features of so many weak and so many unlabelled clips, on the device."""
    random = np.random.default_rng(0)

    def stream(name: str) -> StreamBank:
        rows = FRAMES if name == "logmel" else FRAMES // POOL
        kind = np.float32 if name == "logmel" else np.float16
        values = random.standard_normal((rows, DIMS[name]), np.float32).astype(kind)
        own = FeatureSequence(values, np.arange(rows) * 1.0, 0.0, float(rows))
        return StreamBank(
            [lambda: own] * count, lambda _, s: (s.values, np.arange(s.rows)), dims=DIMS[name], device=device, rows=rows * count
        )  # fmt: skip

    def bank() -> FeatureBank:
        spectral = stream("logmel") if config.spectral else None
        return FeatureBank(spectral, {n: stream(n) for n in config.reduced}, [FRAMES] * count, time_pool=POOL)

    tags = torch.from_numpy(random.integers(0, 2, (count, CLASSES)).astype(np.float32)).to(device)
    return TrainingClips(bank(), tags, bank())


class InTurn:
    """Trainings that differ by their seeds, a step of each in turn."""

    def __init__(self, config: Config, seeds: int, *, clips: int, device: torch.device) -> None:
        data = make_clips(config, clips, device)
        self._device, self._number = device, 0
        self._own: list[tuple[MeanTeacher, Batches]] = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            network = Crnn.configured(config, classes=CLASSES, dims=DIMS).to(device)
            trainer = MeanTeacher(network, config.training, seed=seed)
            self._own.append((trainer, Batches(data, config.training, seed=seed, time_pool=POOL)))
        self.run(2)

    def run(self, steps: int) -> Timed:
        began, busy = time.perf_counter(), time.process_time()
        for _ in range(steps):
            for trainer, batches in self._own:
                trainer.step(self._number, *batches(self._number))
            self._number += 1
        synchronise(self._device)
        return Timed(time.perf_counter() - began, time.process_time() - busy, psutil.Process().memory_info().rss)


class Processes:
    """Trainings in processes of their own, which begin their steps together."""

    def __init__(self, count: int, words: list[str]) -> None:
        command = [sys.executable, __file__, "--child", *words]
        self._own = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        for process in self._own:
            self._line(process)

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("a process has ended: see the message above")
        return line

    def run(self, steps: int) -> Timed:
        for process in self._own:
            assert process.stdin is not None
            print(steps, file=process.stdin, flush=True)
        found = [Timed(**json.loads(self._line(process))) for process in self._own]
        return Timed(max(own.seconds for own in found), sum(own.cpu for own in found), sum(own.memory for own in found))

    def close(self) -> None:
        for process in self._own:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def serve(trainings: InTurn) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(vars(trainings.run(int(line)))), flush=True)


def compare(options: argparse.Namespace, device: torch.device) -> None:
    config = configuration(options.batch, options.inputs, options.precision)

    def words(threads: int) -> list[str]:
        given = ("batch", "inputs", "precision", "clips", "device")
        return [f"--{name}={getattr(options, name)}" for name in given] + [f"--threads={threads}"]

    alone = InTurn(config, 1, clips=options.clips, device=device)
    for seeds in options.seeds:
        ways: dict[str, InTurn | Processes] = {"alone": alone}
        if seeds > 1:
            ways["in turn"] = InTurn(config, seeds, clips=options.clips, device=device)
        ways["processes"] = Processes(seeds, words(max(1, options.threads // seeds)))
        found: dict[str, list[Timed]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, some in ways.items():
                found[way].append(some.run(options.steps))
        for way, own in found.items():
            count = 1 if way == "alone" else seeds
            rate = statistics.median(count * options.steps / one.seconds for one in own)
            pairs = zip(own, found["alone"], strict=True)
            times = statistics.median(count * first.seconds / one.seconds for one, first in pairs)
            cpu = statistics.median(one.cpu / count / options.steps for one in own)
            memory = max(one.memory for one in own)
            print(
                f"{seeds:2} seeds, {way:9}: {rate:8.2f} steps/s, {times:5.2f} times one alone, "
                f"{cpu:7.3f} CPU s a step, {memory / 1e9:5.2f} GB",
                flush=True,
            )
        if isinstance(ways["processes"], Processes):
            ways["processes"].close()


def median_of(work: Callable[[], object], device: torch.device, runs: int) -> float:
    """Median seconds, after a warm-up."""
    taken = []
    for number in range(runs + 2):
        began = time.perf_counter()
        work()
        synchronise(device)
        if number >= 2:
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def layers(options: argparse.Namespace, device: torch.device) -> None:
    model, frames = ModelConfig(), FRAMES // POOL
    batch, runs = options.batch, options.rounds * options.steps

    def trained(module: nn.Module, *given: torch.Tensor | None) -> Callable[[], object]:
        def work() -> None:
            module.zero_grad()
            module(*given).square().mean().backward()

        return work

    for name, fused in (("PyTorch's", False), *((("compiled", True),) if device.type == "cpu" else ())):
        encoder = RecurrentEncoder(128, model).to(device)
        encoder.fused = fused
        x = torch.randn(batch, frames, 128, device=device, requires_grad=True)
        with torch.no_grad():
            forward = median_of(partial(encoder, x, None), device, runs)
        whole = median_of(trained(encoder, x, None), device, runs)
        print(
            f"GRU, {name}: forward {1e6 * forward / frames / model.layers:.1f} µs a frame and layer ({1000 * forward:.2f} ms), "
            f"with backward {1000 * whole:.2f} ms"
        )
    channels, time_, bands = (1, *model.channels), FRAMES, 128
    for seeds in (k for k in options.seeds if k > 1):
        time_, bands = FRAMES, 128
        sums = [0.0, 0.0]
        for number, pool in enumerate(model.pools):
            inputs, outputs = channels[number], channels[number + 1]
            form = {"memory_format": torch.channels_last}
            apart = [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, device=device).to(**form) for _ in range(seeds)
            ]
            joined = nn.Conv2d(seeds * inputs, seeds * outputs, 3, padding=1, groups=seeds, bias=False, device=device)
            x = torch.randn(batch, seeds * inputs, time_, bands, device=device).to(**form).requires_grad_()
            parts = [part.detach().contiguous(**form).requires_grad_() for part in x.chunk(seeds, 1)]
            works = [trained(module, part) for module, part in zip(apart, parts, strict=True)]
            one = median_of(lambda works=works: [work() for work in works], device, options.rounds)
            other = median_of(trained(joined.to(**form), x), device, options.rounds)
            sums = [sums[0] + one, sums[1] + other]
            print(
                f"{seeds} seeds, convolution {inputs} → {outputs}: {1000 * one:.1f} ms apart, {1000 * other:.1f} ms in groups"
            )
            time_, bands = time_ // pool[0], bands // pool[1]
        print(f"{seeds} seeds, all convolutions: in groups {sums[1] / sums[0]:.2f} times as long as apart", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batch", type=int, default=12, help="clips in a step of one training")
    parser.add_argument("--inputs", default="spectral", help="spectral, auditory+visual, …")
    parser.add_argument("--clips", type=int, default=100, help="weak clips, and unlabelled ones, on the device")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8, help="of each training in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32", help="on a GPU")
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if options.child:
        config = configuration(options.batch, options.inputs, options.precision)
        return serve(InTurn(config, 1, clips=options.clips, device=device))
    print(f"torch {torch.__version__}, {device}, {options.threads} threads, batch {options.batch}, {options.inputs}")
    return layers(options, device) if options.layers else compare(options, device)


if __name__ == "__main__":
    main()
