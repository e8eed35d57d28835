"""One training in several processes: real ones, started by torchrun, against a single one.

As a program, this file is what each of the processes does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from holding import Holds
from runs import SMALL, clips, train_loop, weights
from safetensors.torch import load_file, save_file
from test_strong import AUGMENTED
from waiting import PATIENCE, end, until

from avsed import commands
from avsed.cli.app import app
from avsed.config import TrainingConfig
from avsed.data.demo import LABELS, Recipe, generate
from avsed.errors import AvsedError, ConfigError
from avsed.model.batch import Batch
from avsed.model.crnn import Crnn
from avsed.run import Run
from avsed.training import distributed, shares
from avsed.training.batches import Batches, StrongClips, TrainingClips
from avsed.training.checkpoint import load_checkpoint
from avsed.training.loop import Interrupted
from avsed.training.step import MeanTeacher

PLAIN = TrainingConfig(steps=10, weak_batch=1, unlabelled_batch=2, fused=False)
CASES = {
    "strong": PLAIN.model_copy(
        update={"weak_batch": 4, "strong_batch": 3, "unlabelled_batch": 4, "augmentation": AUGMENTED}
    ),
    "no labels": PLAIN,  # the second of two processes has one clip, without labels
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def training_clips() -> TrainingClips:
    """Clips of different lengths, some of them with events."""
    data, random = clips(), np.random.default_rng(1)
    strong = clips(weak=6)
    targets = [random.random((8, 3)) < 0.3 for _ in range(6)]
    ends = [-(-int(length) // 4) for length in strong.weak._lengths]
    targets = [target[:end] for target, end in zip(targets, ends, strict=True)]
    return TrainingClips(data.weak, data.tags, data.unlabelled, StrongClips(strong.weak, strong.tags, targets))


def trainer(config: TrainingConfig) -> MeanTeacher:
    """Batch norm with fixed statistics and no dropout: what is left to differ is rounding."""
    torch.manual_seed(1)
    one = MeanTeacher(
        Crnn(SMALL.model_copy(update={"dropout": 0.0}), classes=3, bands=8),
        config,
        seed=1,
        deviation=np.ones(8, np.float32),
    )
    for module in (*one.student.modules(), *one.teacher.modules()):
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    return one


def trained(config: TrainingConfig) -> dict[str, torch.Tensor]:
    """The networks after ten steps, the losses of each, and the mean gradients, to whose size Adam is blind."""
    one = trainer(config)
    batches = Batches(training_clips(), config, seed=1, time_pool=4)
    losses = torch.stack([torch.stack(one.step(number, *batches(number))[:4]) for number in range(10)])
    found = {**weights(one), "losses": losses}
    found |= {f"gradient.{name}": one.optimiser.state[x]["exp_avg"] for name, x in one.student.named_parameters()}
    return {name: value.detach().contiguous() for name, value in found.items()}


def work(folder: Path) -> None:
    """What each process does. The first one is asked for nothing, the second one gets the signal."""
    torch.set_num_threads(1)
    with distributed.together("cpu"):
        me = distributed.rank()
        assert distributed.size() == 2 and distributed.own_device("auto").type == "cpu"
        assert distributed.largest(me, -me) == (1, 0)
        for name, config in CASES.items():
            save_file(trained(config), folder / f"{name}.{me}.safetensors")
        with pytest.raises(ConfigError, match=r"a batch has 1 clips for 2 processes; raise training\.weak_batch"):
            shares.share(Batch(torch.zeros(1, 4, 8)))
        with pytest.raises(AvsedError, match="here: step is 0 for process 0, but 1 for process 1"):
            distributed.same({"step": me, "name": "x"}, "here")
        with pytest.raises(AvsedError if me == 0 else SystemExit):
            distributed.led(failing)

        wild = TrainingConfig(steps=15, weak_batch=3, learning_rate=1e30, validations=0, fused=False)
        with pytest.raises(AvsedError, match="diverges"):
            train_loop(trainer(wild), clips(), Run(folder / f"wild{me}"), validate=None)

        stopped = trainer(PLAIN)
        if me == 1:
            hooked = stopped.student.classifier.register_forward_hook
            hooked(lambda *_: signal.raise_signal(signal.SIGTERM) if len(stopped.optimiser.state) else None)
        with pytest.raises(Interrupted, match="stopped after step 2 of 10") as told:
            train_loop(stopped, clips(), Run(folder / "stopped"), validate=None)
        assert told.value.exit_status == 128 + signal.SIGTERM
        (folder / f"done{me}").touch()


def failing() -> None:
    raise AvsedError("no more room")


def test_two_processes_are_as_good_as_one(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    command = [*TORCHRUN, str(Path(__file__)), str(tmp_path)]
    for name in ("wild0", "wild1", "stopped"):
        (tmp_path / name).mkdir()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {"done0", "done1"} <= {path.name for path in tmp_path.iterdir()}
    for name, config in CASES.items():
        whole = trained(config)
        first, second = (load_file(tmp_path / f"{name}.{number}.safetensors") for number in range(2))
        for key, value in whole.items():
            assert torch.equal(first[key], second[key]), key
            torch.testing.assert_close(first[key], value, atol=1e-5, rtol=0)
        start = weights(trainer(config))
        moved = [
            (whole[key] - start[key]).abs().max() for key in ("student.classifier.weight", "teacher.classifier.weight")
        ]
        assert min(moved) > 1e-4
    assert not (tmp_path / "wild1/tensorboard").exists()
    one = trainer(PLAIN)
    state = {"student": one.student, "teacher": one.teacher, "optimiser": one.optimiser}
    assert load_checkpoint(tmp_path / "stopped/checkpoint.safetensors", **state).step == 2


def test_what_several_processes_began_one_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVSED_CACHE", str(tmp_path / "cache"))
    data, run = tmp_path / "data", Run(tmp_path / "run")
    splits = (("weak", 3), ("unlabeled", 2), ("validation", 1), ("test", 1))
    generate(data, Recipe(clips=splits, duration=1.0))
    settings = [
        f"data.labels={json.dumps(LABELS)}",
        "training={steps: 60, weak_batch: 2, unlabelled_batch: 1, validations: 4, checkpoint_minutes: 0}",
        "model={channels: [4], pools: [[4, 128]], hidden: 4, layers: 1}",
        "metrics.resamples=0",
        "threads=1",
    ]
    words = ["-m", "avsed.cli", "train", str(data), "--out", str(run.folder), *(f"--set={text}" for text in settings)]
    (tmp_path / "holds").mkdir()
    holds = Holds(tmp_path / "holds")
    try:
        with holds(run.folder):
            process = subprocess.Popen(
                [*TORCHRUN, *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=os.environ | holds.environment,
            )
            until(lambda: run.log.is_file() and "validation" in run.log.read_text(), process)
            process.terminate()
            said = process.communicate(timeout=PATIENCE)[0]
    finally:
        end(process)
    assert process.returncode, said
    assert said.count("stopped after step") == said.count("device: cpu") == 1, said
    assert run.about()["processes"] == 2 and not run.system.is_file()
    before = run.log.read_text()
    assert json.loads(before.splitlines()[-1])["step"] < 60

    done = commands.train(data, out=run.folder, settings=settings, workers=1)  # a single process
    assert done.steps == 60 and run.about()["processes"] == 1
    assert run.log.read_text().startswith(before)
    assert commands.evaluate(run.folder, workers=1).to_dict()["metrics"]


@pytest.fixture
def _launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of torchrun, for the second of two processes."""
    told = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_launched")
def test_what_does_not_go_together_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="'avsed study' under torchrun: only 'avsed train'"):
        app(["study", "c.yaml", "--out", "s"], standalone_mode=False)
    assert not distributed.prints()
    assert distributed.own_device("cpu") == torch.device("cpu") and distributed.size() == 1  # a study's own process
    monkeypatch.setattr(distributed, "choose_device", lambda name: torch.device(name))
    with (
        pytest.raises(ConfigError, match=r"device 'cuda:1': under torchrun each process takes a GPU of its own"),
        distributed.together("cuda:1"),
    ):
        pass
    assert distributed._of_its_own("cuda") == torch.device("cuda:1")


def test_a_process_alone_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")  # of something else
    with distributed.together("nonsense"):
        assert distributed.prints() and distributed.leads() and distributed.size() == 1
        assert distributed.largest(3, 4) == (3, 4) and distributed.led(os.getpid) == os.getpid()
        one = MeanTeacher(Crnn(SMALL, classes=3, bands=8), TrainingConfig(), seed=1)
        assert one._joined is one.student


if __name__ == "__main__":
    work(Path(sys.argv[1]))
