"""Mean teacher training: its parts against their definitions, and a training that is killed against one that is not."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import train_loop
from safetensors.torch import load_file
from waiting import PATIENCE, end, until

from avsed.config import ModelConfig, TrainingConfig
from avsed.data.bank import FeatureBank, ShuffledStream, StreamBank
from avsed.errors import AvsedError, CheckpointError
from avsed.features.sequence import FeatureSequence
from avsed.model.batch import Batch, join
from avsed.model.crnn import Crnn, Output
from avsed.run import Run
from avsed.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from avsed.training.loop import Interrupted, Steps, TrainingClips, in_turn
from avsed.training.objective import cross_entropy, objective
from avsed.training.schedule import learning_rate
from avsed.training.step import MeanTeacher
from avsed.training.teacher import make_teacher, update_teacher

SMALL = ModelConfig(channels=(4, 4, 8), pools=((2, 2), (2, 2), (1, 2)), hidden=6)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def trainer(config: TrainingConfig, *, seed: int = 1) -> MeanTeacher:
    torch.manual_seed(seed)
    return MeanTeacher(Crnn(SMALL, classes=3, bands=8), config, seed=seed)


def clips(*, weak: int = 7, unlabelled: int = 5, resident: bool = True) -> TrainingClips:
    generator = np.random.default_rng(0)

    def bank(count: int) -> FeatureBank:
        lengths = [int(n) for n in generator.integers(9, 33, count)]
        sequences = [
            FeatureSequence(generator.normal(size=(n, 8)).astype(np.float32), np.arange(n) * 0.1, 0.0, n * 0.1)
            for n in lengths
        ]
        loads = [lambda s=s: s for s in sequences]
        spectra = StreamBank(
            loads,
            lambda _, sequence: (sequence.values, np.arange(sequence.rows)),
            dims=8,
            device=torch.device("cpu"),
            rows=sum(lengths) if resident else None,
        )
        return FeatureBank(spectra, {}, lengths, time_pool=4)

    tags = torch.from_numpy(generator.integers(0, 2, (weak, 3)).astype(np.float32))
    return TrainingClips(bank(weak), tags, bank(unlabelled) if unlabelled else None)


def test_the_learning_rate_is_the_paper_s() -> None:
    paper = TrainingConfig()
    assert learning_rate(0, paper) == pytest.approx(0.001 * math.exp(-5))
    assert learning_rate(6250, paper) == pytest.approx(0.001 * math.exp(-5 * 0.25))
    assert learning_rate(12_500, paper) == pytest.approx(0.001)
    assert learning_rate(50_000, paper) == pytest.approx(0.001 * 0.99995**37_500)
    short = TrainingConfig(steps=500)
    for share in (0.0, 0.1, 0.25, 0.5, 0.98):
        assert learning_rate(int(500 * share), short) == pytest.approx(learning_rate(int(50_000 * share), paper))


def test_the_objective_is_the_sum_of_its_means() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    student = Output(torch.tensor([[[0.2], [0.4]], [[0.6], [0.0]]]), torch.tensor([[0.3], [0.6]]), mask)
    teacher = Output(torch.tensor([[[0.3], [0.4]], [[0.2], [0.0]]]), torch.tensor([[0.5], [0.2]]), mask)
    losses = objective(student, teacher, torch.tensor([[1.0]]), TrainingConfig())
    assert losses.tagging.item() == pytest.approx(-math.log(0.3))
    assert losses.clip_consistency.item() == pytest.approx((0.2**2 + 0.4**2) / 2)
    assert losses.frame_consistency.item() == pytest.approx((0.1**2 + 0.4**2) / 3)  # three real frames
    parts = losses.tagging + 2 * losses.clip_consistency + 2 * losses.frame_consistency
    assert losses.total.item() == pytest.approx(parts.item())


def test_the_cross_entropy_is_pytorch_s_but_lets_nan_pass() -> None:
    probabilities = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.3, 1e-6, 1 - 2**-24], requires_grad=True)
    tags = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    ours, theirs = cross_entropy(probabilities, tags), torch.nn.functional.binary_cross_entropy(probabilities, tags)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    gradients = [torch.autograd.grad(loss, probabilities)[0][4:] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)
    assert torch.autograd.grad(cross_entropy(probabilities, tags), probabilities)[0].isfinite().all()
    assert cross_entropy(torch.tensor([math.nan, 0.5]), torch.ones(2)).isnan()


def test_the_teacher_averages_parameters_but_not_buffers() -> None:
    torch.manual_seed(0)
    student = Crnn(SMALL, classes=3, bands=8).train()
    teacher = make_teacher(student)
    before = {name: value.clone() for name, value in teacher.named_parameters()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    student(Batch(torch.randn(2, 8, 8)))  # moves the student's running statistics only
    update_teacher(teacher, student, decay=0.9)
    for name, value in teacher.named_parameters():
        torch.testing.assert_close(value, before[name] + 0.1)
        assert not value.requires_grad
    assert teacher.convolutions.blocks[0].norm.running_mean.abs().sum() == 0
    assert student.convolutions.blocks[0].norm.running_mean.abs().sum() > 0


def first_losses(config: TrainingConfig) -> torch.Tensor:
    """The losses of three steps on clips of different lengths: float (3, 4)."""
    one = trainer(config)
    x, tags = torch.randn(4, 16, 8), torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    frames = torch.tensor([16, 9, 16, 3])
    return torch.stack([torch.stack(one.step(number, Batch(x, lengths=frames), tags)[:4]) for number in range(3)])


def test_mixed_precision_trains_alike() -> None:
    """As a GPU computes it, whose casts the CPU can do, too, and as a CPU does."""
    student = trainer(TrainingConfig()).student
    for block in student.convolutions.blocks:
        block.dropout.p = 0.0
    x = torch.randn(2, 16, 8)
    frames = student(Batch(x)).frames
    with torch.autocast("cpu", torch.bfloat16):
        half = student(Batch(x)).frames
    assert frames.dtype == half.dtype == torch.float32
    torch.testing.assert_close(half, frames, atol=0.02, rtol=0)
    single, mixed = (first_losses(TrainingConfig(steps=10, precision=p)) for p in ("fp32", "bf16"))
    assert torch.isfinite(mixed).all() and not torch.equal(single, mixed)
    torch.testing.assert_close(mixed, single, rtol=0.02, atol=0)


def test_the_compiled_blocks_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr("avsed.model.fused.fused_block", lambda *_: called.append(1))
    assert torch.isfinite(first_losses(TrainingConfig(steps=10, fused=False))).all()
    assert not called


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: what a step does there is not tested")
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_no_step_waits_for_the_gpu(precision: str) -> None:
    one = trainer(TrainingConfig(steps=10, precision=precision))
    one = MeanTeacher(one.student.cuda(), one.config, seed=1)
    x, tags, frames = torch.randn(4, 16, 8).cuda(), torch.ones(2, 3).cuda(), torch.tensor([16, 9, 16, 3])
    one.step(0, Batch(x, lengths=frames), tags)
    try:
        torch.cuda.set_sync_debug_mode("error")
        losses = one.step(1, Batch(x, lengths=frames), tags)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(losses.total)


def test_student_and_teacher_drop_different_values() -> None:
    one = trainer(TrainingConfig(steps=10))
    torch.manual_seed(0)
    x = torch.randn(2, 16, 8)
    with torch.no_grad():
        assert not torch.equal(one.student(Batch(x)).frames, one.teacher(Batch(x)).frames)


def test_training_lowers_the_loss_and_moves_the_teacher(tmp_path: Path) -> None:
    one = trainer(TrainingConfig(steps=60, weak_batch=7, unlabelled_batch=4, learning_rate=0.01))
    run = Run(tmp_path)
    train_loop(one, clips(), run, validate=None)
    records = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert [r["step"] for r in records] == [10, 20, 30, 40, 50, 60]
    assert records[-1]["tagging"] < 0.8 * records[0]["tagging"]
    assert set(records[0]) >= {"total", "tagging", "clip_consistency", "frame_consistency", "learning_rate"}
    assert list(run.tensorboard.glob("events*"))


@pytest.mark.parametrize("minutes", [0.0, 1000.0], ids=["saving each step", "saving at the end"])
def test_a_training_that_diverges_says_so_and_saves_no_nonsense(tmp_path: Path, minutes: float) -> None:
    config = TrainingConfig(steps=30, weak_batch=3, learning_rate=1e30, validations=15, checkpoint_minutes=minutes)
    run = Run(tmp_path)
    for _ in range(2):  # the same command ends in the same way, not in another error
        validated: list[float] = []
        with pytest.raises(AvsedError, match=r"diverges.*lower training\.learning_rate.*checkpoint"):
            train_loop(trainer(config), clips(), run, validate=lambda seen=validated: seen.append(0.0) or {})
        assert len(validated) < 15
    if run.checkpoint.is_file():
        assert all(value.isfinite().all() for value in load_file(run.checkpoint).values())
    else:
        assert minutes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_asked_to_stop_leaves_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    config = TrainingConfig(steps=20, weak_batch=3, unlabelled_batch=0, validations=4, checkpoint_minutes=1000)
    run, before = Run(tmp_path), signal.getsignal(number)

    def validate() -> dict[str, float]:
        signal.raise_signal(number)
        return {}

    with pytest.raises(Interrupted, match=r"stopped after step .* the same command goes on") as stopped:
        train_loop(trainer(config), clips(), run, validate=validate)
    assert stopped.value.exit_status == 128 + number
    assert run.checkpoint.is_file()
    assert signal.getsignal(number) == before


def test_a_stream_gives_every_clip_once_a_round_in_an_order_of_its_own() -> None:
    stream = ShuffledStream(7, 3, seed=(1, 0))
    seen = np.concatenate([stream.batch(step) for step in range(14)])
    rounds = seen.reshape(6, 7)
    assert all(sorted(r) == list(range(7)) for r in rounds.tolist())
    assert len({tuple(r) for r in rounds.tolist()}) > 1
    assert np.array_equal(ShuffledStream(7, 3, seed=(1, 0)).batch(11), seen[33:36])  # a function of the step alone
    assert not np.array_equal(ShuffledStream(7, 42, seed=(1, 1)).batch(0), seen)
    assert sorted(ShuffledStream(2, 5, seed=(0,)).batch(0).tolist()) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])


def test_resident_and_streamed_features_are_the_same() -> None:
    kept, streamed = clips(resident=True), clips(resident=False)
    for index in ([0, 1, 2], [3], [6, 6]):
        a, b = kept.weak.gather(np.array(index)), streamed.weak.gather(np.array(index))
        assert torch.equal(a.spectra, b.spectra)
        assert (a.lengths is None and b.lengths is None) or torch.equal(a.lengths, b.lengths)
        assert a.spectra.shape[1] % 4 == 0


def weights(one: MeanTeacher) -> dict[str, torch.Tensor]:
    state = {f"student.{k}": v for k, v in one.student.state_dict().items()}
    return state | {f"teacher.{k}": v for k, v in one.teacher.state_dict().items()}


def test_a_checkpoint_holds_everything(tmp_path: Path) -> None:
    config = TrainingConfig(steps=9, weak_batch=3, unlabelled_batch=2)
    data = clips()
    whole = trainer(config)
    streams = ShuffledStream(7, 3, seed=(1, 0)), ShuffledStream(5, 2, seed=(1, 1))
    parts = trainer(config)

    def step(one: MeanTeacher, number: int) -> None:
        both = [data.weak.gather(streams[0].batch(number)), data.unlabelled.gather(streams[1].batch(number))]
        one.step(number, join(both, time_pool=4), data.tags[torch.from_numpy(streams[0].batch(number))])

    for number in range(9):
        step(whole, number)
    for number in range(9):  # a fresh object after every step
        state = {"student": parts.student, "teacher": parts.teacher, "optimiser": parts.optimiser}
        step(parts, number)
        save_checkpoint(tmp_path / "c.safetensors", Progress(number + 1, 0.5), **state)
        parts = trainer(config, seed=1)
        state = {"student": parts.student, "teacher": parts.teacher, "optimiser": parts.optimiser}
        assert load_checkpoint(tmp_path / "c.safetensors", **state) == (number + 1, 0.5)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(parts)[name]), name


def test_a_foreign_or_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    one = trainer(TrainingConfig(steps=3))
    state = {"student": one.student, "teacher": one.teacher, "optimiser": one.optimiser}
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, Progress(0, 0.0), **state)
    load_checkpoint(path, **state)
    other = MeanTeacher(Crnn(SMALL, classes=4, bands=8), TrainingConfig(steps=3), seed=0)
    with pytest.raises(CheckpointError, match=r"c\.safetensors.*another network"):
        load_checkpoint(path, student=other.student, teacher=other.teacher, optimiser=other.optimiser)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"c\.safetensors: cannot read"):
        load_checkpoint(path, **state)


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
import holding
from avsed.config import Config
from avsed.features.logmel import LogMelParameters
from test_training import SMALL, clips, trainer, TrainingConfig, Run, train_loop
config = TrainingConfig(steps=400, weak_batch=3, unlabelled_batch=2, checkpoint_minutes=0)
run = Run(sys.argv[1])
run.begin(Config(features=LogMelParameters(bands=8), model=SMALL, training=config))
holding.hold(int(sys.argv[3]), lambda folder: True)
train_loop(trainer(config), clips(), run, validate=None)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_training_killed_twice_ends_in_the_same_weights_bit_for_bit(tmp_path: Path, how: signal.Signals) -> None:
    config = TrainingConfig(steps=400, weak_batch=3, unlabelled_batch=2, checkpoint_minutes=1000)
    whole = trainer(config)
    (tmp_path / "whole").mkdir()
    train_loop(whole, clips(), Run(tmp_path / "whole"), validate=None)

    run = Run(tmp_path / "killed")
    command = [sys.executable, "-c", CHILD, str(run.folder), str(Path(__file__).parent)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def logged() -> list[int]:
        return [json.loads(line)["step"] for line in run.log.read_text().splitlines()] if run.log.is_file() else []

    def further(step: int) -> bool:
        return max(logged(), default=0) >= step

    reached = 0
    for hold in (200, 300):  # it goes no further by itself
        child = subprocess.Popen([*command, str(hold)], env=environment, stderr=subprocess.DEVNULL, text=True)
        try:
            until(partial(further, reached + 50), child)
            child.send_signal(how)
            assert child.wait(PATIENCE) != 0
        finally:
            end(child)
        state = trainer(config)
        step = load_checkpoint(
            run.checkpoint, student=state.student, teacher=state.teacher, optimiser=state.optimiser
        ).step
        assert reached < step <= hold + 1
        reached = step
    (run.folder / f".checkpoint-{'0' * 32}.safetensors").touch()  # as SIGKILL may leave it
    assert subprocess.run([*command, "400"], env=environment, stderr=subprocess.DEVNULL).returncode == 0

    ended = trainer(config)
    load_checkpoint(run.checkpoint, student=ended.student, teacher=ended.teacher, optimiser=ended.optimiser)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(ended)[name]), name
    steps = logged()
    assert steps == sorted(set(steps))
    assert steps[-1] == 400
    assert not list(run.folder.glob(".*"))


def test_trainings_in_turn_are_those_alone(tmp_path: Path) -> None:
    config = TrainingConfig(steps=20, weak_batch=3, unlabelled_batch=2, validations=2)
    data = clips()

    def logged(run: Run) -> list[dict[str, float]]:
        records = [json.loads(line) for line in run.log.read_text().splitlines()]
        return [{name: value for name, value in record.items() if name != "steps_per_s"} for record in records]

    alone, beside = {}, {}
    for seed in (1, 2, 3):
        alone[seed] = trainer(config, seed=seed)
        train_loop(alone[seed], clips(), Run(tmp_path / f"alone{seed}"), validate=lambda: {"x": 1.0})
    begun = Steps(trainer(config, seed=3), data, Run(tmp_path / "3"), validate=lambda: {"x": 1.0})  # it goes on
    with begun:
        for _ in range(7):
            begun.advance()
        save_checkpoint(Run(tmp_path / "3").checkpoint, begun.done, **begun._state)
    with ExitStack() as stack:
        own = []
        for seed in (1, 2, 3):
            beside[seed] = trainer(config, seed=seed)
            steps = Steps(beside[seed], data, Run(tmp_path / str(seed)), validate=lambda: {"x": 1.0})
            own.append(stack.enter_context(steps))
        ended = list(in_turn(own))
    assert [why for _, why in ended] == [None] * 3
    assert [own.index(steps) for steps, _ in ended] == [2, 0, 1]
    for seed in (1, 2, 3):
        for network in ("student", "teacher"):
            found, expected = (getattr(some[seed], network).state_dict() for some in (beside, alone))
            assert all(found[name].equal(value) for name, value in expected.items())
        assert seed == 3 or logged(Run(tmp_path / str(seed))) == logged(Run(tmp_path / f"alone{seed}"))


def test_one_of_several_that_diverges_stops_no_other(tmp_path: Path) -> None:
    wild, tame = (
        trainer(TrainingConfig(steps=20, weak_batch=3, unlabelled_batch=0, learning_rate=rate)) for rate in (1e30, 1e-3)
    )
    data = clips()
    with (
        Steps(wild, data, Run(tmp_path / "wild"), validate=None) as one,
        Steps(tame, data, Run(tmp_path / "tame"), validate=None) as other,
    ):
        ended = dict(in_turn([one, other]))
    assert "diverges" in str(ended[one])
    assert ended[other] is None
    assert other.ended
