"""A training step of the paper's model against a plain one, in turn, in one run.

    python benchmarks/training_step.py [--batch 48] [--threads 2] [--device cpu] [--precision fp32] [--runs 5] [--profile]
    python benchmarks/training_step.py --fusion    what pretrained features add to a step

The reference is written with PyTorch's own layers in their default layout: both networks in train mode, default Adam,
a moving average parameter by parameter. Printed: median seconds a step of each, and the ratio; with ``--profile`` also
what a step of ours spends its time on. On a GPU the data are random, of the real size, and lie there from the start.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from avsed.config import ModelConfig, TrainingConfig, load_config
from avsed.data.bank import FeatureBank, StreamBank
from avsed.features.sequence import FeatureSequence
from avsed.model.batch import Batch
from avsed.model.crnn import Crnn, parameter_count
from avsed.training.step import MeanTeacher


class Reference(nn.Module):
    """The paper's network, as plainly as PyTorch says it."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        channels = (1, 16, 32, 64, 128, 128, 128, 128)
        layers: list[nn.Module] = []
        for index in range(7):
            layers += [
                nn.Conv2d(channels[index], channels[index + 1], 3, padding=1, bias=False),
                nn.BatchNorm2d(channels[index + 1]),
                nn.ReLU(),
                nn.Dropout(0.33),
                nn.AvgPool2d((2, 2) if index < 2 else (1, 2)),
            ]
        self.cnn = nn.Sequential(*layers)
        self.gru = nn.GRU(128, 128, 2, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(256, classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.cnn(x[:, None]).squeeze(3).transpose(1, 2)
        frames = torch.sigmoid(self.linear(self.gru(x)[0]))
        return frames, (frames * frames).sum(1) / frames.sum(1)


def reference_step(device: torch.device) -> Callable[[torch.Tensor, torch.Tensor], None]:
    student = Reference().to(device)
    teacher = copy.deepcopy(student)
    optimiser = torch.optim.Adam(student.parameters())

    def step(x: torch.Tensor, tags: torch.Tensor) -> None:
        with torch.no_grad():
            frames_t, clips_t = teacher(x)
        frames, clips = student(x)
        loss = nn.functional.binary_cross_entropy(clips[: len(tags)], tags)
        loss = loss + 2 * (clips - clips_t).square().mean() + 2 * (frames - frames_t).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
                old.mul_(0.999).add_(new, alpha=0.001)

    return step


def compare_inputs(batch: int, device: torch.device, runs: int) -> None:
    """A step of our own with spectral input, and with VGGish's and VGG16's features beside it, from features on the device."""
    clips, dims = 2 * batch, {"logmel": 128, "vggish": 128, "vgg16": 4096}
    random = np.random.default_rng(0)

    def stream(name: str, rows: int, kind: type) -> StreamBank:
        values = random.standard_normal((rows, dims[name]), np.float32).astype(kind)
        times = np.arange(rows) * 1.0
        loads = [lambda: FeatureSequence(values, times, 0.0, float(rows))] * clips
        return StreamBank(
            loads, lambda _, s: (s.values, np.arange(s.rows)), dims=dims[name], device=device, rows=rows * clips
        )

    spectra = stream("logmel", 604, np.float32)
    pretrained = {"vggish": stream("vggish", 151, np.float16), "vgg16": stream("vgg16", 151, np.float16)}
    tags = torch.randint(0, 2, (batch // 2, 10), device=device).float()
    ways = {}
    for inputs, streams in (("spectral", {}), ("spectral+auditory+visual", pretrained)):
        config = load_config(None, [f"inputs={inputs}"])
        trainer = MeanTeacher(Crnn.configured(config, classes=10, dims=dims).to(device), config.training, seed=0)
        ways[inputs] = trainer, FeatureBank(spectra, streams, [604] * clips, time_pool=4)
    times: dict[str, list[tuple[float, float]]] = {inputs: [] for inputs in ways}
    for number in range(runs + 1):
        chosen = random.permutation(clips)[:batch]
        for inputs, (trainer, bank) in ways.items():
            began, busy = time.perf_counter(), time.process_time()
            trainer.step(number, bank.gather(chosen), tags)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:
                times[inputs].append((time.perf_counter() - began, time.process_time() - busy))
    one, all_three = times.values()
    seconds, cpu = (statistics.median(b[k] / a[k] for a, b in zip(one, all_three, strict=True)) for k in (0, 1))
    medians = [statistics.median(value for value, _ in own) for own in (one, all_three)]
    print(
        f"batch {batch}: spectral {medians[0]:.4f} s, all three {medians[1]:.4f} s, ratio {seconds:.2f} "
        f"(of processor time {cpu:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[48], help="clips of 604 × 128 in a step, half of them weak"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32", help="of ours, on a GPU")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument(
        "--fusion",
        action="store_true",
        help="instead: all three streams against the spectral one, batches gathered, too",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    print(
        f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, median of {options.runs} runs in turn"
    )
    if options.fusion:
        for batch in options.batch:
            compare_inputs(batch, device, options.runs)
        return
    for batch in options.batch:
        torch.manual_seed(0)
        x = torch.randn(batch, 604, 128, device=device)
        tags = torch.randint(0, 2, (batch // 2, 10), device=device).float()
        plain = reference_step(device)
        config = TrainingConfig(precision=options.precision)
        ours = MeanTeacher(Crnn(ModelConfig(), classes=10, bands=128).to(device), config, seed=0)
        assert parameter_count(Reference()) == parameter_count(ours.student)
        times: dict[str, list[float]] = {"reference": [], "avsed": []}
        for number in range(options.runs + 1):
            for name in times:
                began = time.perf_counter()
                plain(x, tags) if name == "reference" else ours.step(number, Batch(x), tags)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if number:  # the first of each warms up
                    times[name].append(time.perf_counter() - began)
        medians = {name: statistics.median(values) for name, values in times.items()}
        ratio = statistics.median(a / b for a, b in zip(times["reference"], times["avsed"], strict=True))
        print(
            f"batch {batch}: reference {medians['reference']:.4f} s, avsed {medians['avsed']:.4f} s, ratio {ratio:.2f}"
        )
        if options.profile:
            with torch.profiler.profile() as profile:
                ours.step(0, Batch(x), tags)
            key = "self_cpu_time_total" if device.type == "cpu" else "self_device_time_total"
            print(profile.key_averages().table(sort_by=key, row_limit=20, max_name_column_width=40))


if __name__ == "__main__":
    main()
