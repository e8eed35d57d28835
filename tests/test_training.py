"""Mean teacher training: one that is stopped, killed or beside others against one that is not, and its checkpoints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import torch
from runs import SMALL, clips, train_loop, trainer, weights
from safetensors.torch import load_file
from waiting import PATIENCE, end, until

from avsed.config import TrainingConfig
from avsed.data.bank import ShuffledStream
from avsed.errors import AvsedError, CheckpointError
from avsed.model.batch import join
from avsed.model.crnn import Crnn
from avsed.run import Run
from avsed.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from avsed.training.loop import Interrupted, Steps, in_turn
from avsed.training.step import MeanTeacher

pytestmark = pytest.mark.usefixtures("one_thread")


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
    for left in (
        f".checkpoint-{'0' * 32}.safetensors",
        ".tmpZ7sIvI",
    ):  # as SIGKILL may leave them, ours and safetensors'
        (run.folder / left).touch()
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
