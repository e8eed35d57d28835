"""A study with trainings, as a user runs it: killed, gone on with, extended, with one that fails; on a real Dask cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from holding import STEP, Holds
from safetensors.torch import load_file
from waiting import PATIENCE, end, runs, until

from avsed import commands
from avsed.config import Config, load_config
from avsed.data.demo import LABELS, Recipe, generate
from avsed.errors import AvsedError, CheckpointError
from avsed.study.command import Planned, Studied, study
from avsed.system import System
from avsed.training import train
from avsed.training.loop import Interrupted
from avsed.training.train import Trained, train_together

STEPS = 60
CONFIG = f"""
data: {{labels: {json.dumps(LABELS)}}}
training: {{steps: {STEPS}, weak_batch: 2, unlabelled_batch: 1, validations: 1, checkpoint_minutes: 0}}
model: {{channels: [4], pools: [[4, 128]], hidden: 4, layers: 1}}
metrics: {{resamples: 20}}
threads: 1
study: {{settings: {{spectral: , wide: {{inputs: spectral, model.hidden: 6}}}}, seeds: 1}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo data set whose features are there, and a configuration."""
    folder = tmp_path_factory.mktemp("home")
    clips = (("weak", 3), ("unlabeled", 1), ("validation", 2), ("test", 2))
    generate(folder / "data", Recipe(clips=clips, duration=1.0))
    (folder / "c.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(autouse=True)
def _cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AVSED_CACHE", str(home / "cache"))
    yield
    torch.set_num_threads(1)


COMMAND = ("-m", "avsed.cli")
ALONE = (
    "-c",
    "import contextlib, avsed.study.cluster as cluster, avsed.cli\n"
    "cluster.beacon = lambda folder: contextlib.nullcontext(folder / 'never there')\navsed.cli.main()",
)
"""The same command, on a disk that no worker sees."""


@pytest.fixture
def holds(tmp_path_factory: pytest.TempPathFactory) -> Holds:
    return Holds(tmp_path_factory.mktemp("holds"))


Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def begin(home: Path, holds: Holds) -> Iterator[Begin]:
    """Starts a study in a process, of which nothing is left after the test."""
    begun = []

    def start(out: Path, *words: str, command: tuple[str, ...] = COMMAND) -> subprocess.Popen[str]:
        given = ["study", str(home / "c.yaml"), "--data", str(home / "data"), "--out", str(out), *words]
        process = subprocess.Popen(
            [sys.executable, *command, *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | holds.environment,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        end(process)


def steps(run: Path) -> int:
    log = run / "log.jsonl"
    return max((json.loads(line)["step"] for line in log.read_text().splitlines()), default=0) if log.is_file() else 0


def trainer(run: Path) -> int:
    """The process that has a training."""
    return int((run / "lock").read_text().split()[1])


def test_killed_and_gone_on_with_and_extended(home: Path, tmp_path: Path, begin: Begin, holds: Holds) -> None:
    """SIGKILL to a training, to the study, and Ctrl-C; what is done stays as it is, the rest ends as if nothing had happened."""
    out, first, second = tmp_path / "s", tmp_path / "s/runs/spectral/0", tmp_path / "s/runs/wide/0"
    with holds(first):
        process = begin(out, "--workers", "2")
        until(lambda: steps(first) == STEP, process)
        os.kill(trainer(first), signal.SIGKILL)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said  # the other one is done, and the table made
    assert f"failed: spectral/0: ended by SIGKILL (was there too little memory?) (see {first / 'train.log'})" in said
    assert "No training is finished of: spectral." in (out / "table.md").read_text()
    done = (second / "system.safetensors").stat().st_mtime_ns

    def resumed(times: int) -> bool:
        return (first / "train.log").read_text().count("going on from step") == times

    with holds(first):
        process = begin(out, "--seeds", "2")
        until(lambda: resumed(1), process)
        child = trainer(first)
        process.kill()
        process.communicate(timeout=PATIENCE)
        until(lambda: not runs(child))  # it stops by itself
        assert 10 <= steps(first) < STEPS

        process = begin(out, "--seeds", "2")
        until(lambda: resumed(2), process)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "the same command goes on" in said, said

    found = study(home / "c.yaml", out=out, data=home / "data", seeds=2, workers=2)
    assert isinstance(found, Studied) and not found.failures and not found.table.incomplete
    assert [row.seeds for row in found.table.rows] == [(0, 1), (0, 1)] and resumed(3)
    assert (second / "system.safetensors").stat().st_mtime_ns == done
    commands.train(home / "data", out=tmp_path / "whole", config=first / "config.yaml")
    whole = load_file(tmp_path / "whole/system.safetensors")
    assert all(whole[name].equal(value) for name, value in load_file(first / "system.safetensors").items())


def test_one_that_fails_stops_no_other(home: Path, tmp_path: Path) -> None:
    settings = "study.settings={wild: {inputs: spectral, training.learning_rate: 1.0e+30}, spectral: }"
    given = {"out": tmp_path / "s", "data": home / "data", "overrides": [settings, "training.steps=8"]}
    found = study(home / "c.yaml", dry_run=True, workers=2, **given)  # type: ignore[arg-type]
    assert isinstance(found, Planned) and set(found.states.values()) == {"missing"} and not (tmp_path / "s").exists()
    told = found.to_dict()
    assert told["seconds"] > 0 and told["bytes"] > 1e6 and told["settings"]["wild"]["missing"] == 1
    assert any("2 trainings to do" in part for part in found.render() if isinstance(part, str))
    found = study(home / "c.yaml", workers=2, **given)  # type: ignore[arg-type]
    assert isinstance(found, Studied) and list(found.failures) == ["wild/0"]
    assert "the training diverges" in found.failures["wild/0"]
    assert [row.setting for row in found.table.rows] == ["spectral"] and found.table.empty == ("wild",)
    assert "wild/0 failed" in (tmp_path / "s/table.md").read_text()


def test_several_in_one_process_end_as_each_alone(home: Path, tmp_path: Path, begin: Begin, holds: Holds) -> None:
    """Killed in mid-training, gone on with; one of them was begun alone, so they are not at the same step."""
    given = ("--settings", "spectral", "--seeds", "3", "--together", "3")
    folders = [tmp_path / f"s/runs/spectral/{seed}" for seed in range(3)]
    with holds(folders[0]):
        process = begin(tmp_path / "s", "--settings", "spectral")
        until(lambda: steps(folders[0]) == STEP, process)
        os.kill(trainer(folders[0]), signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    with holds(folders[2]):
        process = begin(tmp_path / "s", *given)
        until(lambda: steps(folders[2]) == STEP, process)
        assert len({trainer(folder) for folder in folders}) == 1
        os.kill(trainer(folders[0]), signal.SIGKILL)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2 and "ended by SIGKILL" in said, said
    process = begin(tmp_path / "s", *given)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    for folder in folders[1:]:
        assert "trained together with spectral/0" in (folder / "train.log").read_text()
    commands.train(home / "data", out=tmp_path / "whole", config=folders[1] / "config.yaml")
    whole = load_file(tmp_path / "whole/system.safetensors")
    assert all(whole[name].equal(value) for name, value in load_file(folders[1] / "system.safetensors").items())


def test_what_fails_among_several_is_named_and_stops_no_other(home: Path, tmp_path: Path) -> None:
    given = {"out": tmp_path / "s", "data": home / "data", "settings": ["spectral"], "overrides": ["training.steps=4"]}
    study(home / "c.yaml", seeds=1, **given)  # type: ignore[arg-type]
    folders = [tmp_path / f"s/runs/spectral/{seed}" for seed in range(5)]
    for seed in range(1, 4):  # made to look as if it had been trained, too
        shutil.copytree(folders[0], folders[seed])
        config = folders[seed] / "config.yaml"
        config.write_text(config.read_text().replace("seed: 0", f"seed: {seed}"))
        shutil.rmtree(folders[seed] / "results")
    for seed in (2, 3):  # but 1 has to be scored alone
        (folders[seed] / "system.safetensors").unlink()
    (folders[2] / "checkpoint.safetensors").write_bytes(b"no checkpoint")
    (folders[3] / "run.json").write_text("{")
    found = study(home / "c.yaml", seeds=5, together=5, **given)  # type: ignore[arg-type]
    assert isinstance(found, Studied) and list(found.failures) == ["spectral/2", "spectral/3"]
    assert "cannot read the checkpoint" in found.failures["spectral/2"]
    assert "run.json: not readable as JSON" in found.failures["spectral/3"]
    assert found.table.rows[0].seeds == (0, 1, 4)


@pytest.fixture
def seeds(home: Path) -> list[Config]:
    given = {"data.root": home / "data", "training.steps": 4}
    one = load_config(home / "c.yaml", [f"{key}={value}" for key, value in given.items()])
    return [one, one.model_copy(update={"seed": 1})]


def test_a_system_that_cannot_be_saved_stops_no_other(
    seeds: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = System.save

    def full(system: System, path: Path) -> None:
        if system.config.seed == 0:
            raise CheckpointError("the disk is full")
        save(system, path)

    monkeypatch.setattr(System, "save", full)
    first, second = train_together(seeds, [tmp_path / "0", tmp_path / "1"])
    assert str(first) == "the disk is full" and isinstance(second, Trained)
    assert (tmp_path / "1/system.safetensors").is_file()


def test_a_signal_while_a_trained_system_is_validated_is_not_lost(
    seeds: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate = train.evaluate_split

    def asked(system: System, *given: Any) -> Any:
        if (tmp_path / "0/system.safetensors").is_file():
            signal.raise_signal(signal.SIGTERM)
        return validate(system, *given)

    monkeypatch.setattr(train, "evaluate_split", asked)
    with pytest.raises(Interrupted, match="stopped when trained; the same command goes on") as stopped:
        train_together(seeds[:1], [tmp_path / "0"])
    assert stopped.value.exit_status == 143


def test_what_another_process_trains_is_waited_for(tmp_path: Path, begin: Begin) -> None:
    given = ("--set", "training.steps=8", "--settings", "spectral")
    both = [begin(tmp_path / "s", *given) for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    log = (tmp_path / "s/runs/spectral/0/train.log").read_text()
    assert log.count("training: 8/8") == 1, log


@pytest.mark.parametrize("shared", [True, False], ids=["a shared disk", "disks of their own"])
def test_a_lost_worker_s_training_runs_again(
    home: Path, tmp_path: Path, begin: Begin, holds: Holds, shared: bool
) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    psutil = pytest.importorskip("psutil")
    held = Path("spectral/0")

    def victim() -> Path | None:
        """The folder of the training that stands still, wherever it lies."""
        places = (Path(place) for place, _, files in os.walk(tmp_path) if "log.jsonl" in files)
        return next((place for place in places if place.parts[-2:] == held.parts and steps(place) == STEP), None)

    scratch = str(tmp_path / "workers")
    with distributed.LocalCluster(
        2, threads_per_worker=1, dashboard_address=None, local_directory=scratch, env=holds.environment
    ) as local:
        local.wait_for_workers(2, timeout=PATIENCE)
        words = ("--scheduler", local.scheduler_address)
        with holds(held):
            process = begin(tmp_path / "s", *words, command=COMMAND if shared else ALONE)
            child = trainer(until(victim, process))
            os.kill(psutil.Process(child).ppid(), signal.SIGKILL)
            until(lambda: not runs(child))  # it stops by itself
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    found = study(home / "c.yaml", out=tmp_path / "s", data=home / "data", table_only=True)
    assert isinstance(found, Studied) and [row.seeds for row in found.table.rows] == [(0,), (0,)]
    logs = [(tmp_path / "s/runs" / name / "0/train.log").read_text() for name in ("spectral", "wide")]
    assert any("going on from step" in log for log in logs) == shared
    assert shared or all(log.count("device:") == 3 for log in logs)  # whole, from the first step


def test_without_dask_it_says_how_to_get_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(AvsedError, match=r"pip install 'avsed\[cluster\]'"):
        study(home / "c.yaml", out=tmp_path / "s", data=home / "data", scheduler="tcp://127.0.0.1:1")
