"""The folder of a training: who may take it, what it remembers, what it says when it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from avsed.config import Config, load_config
from avsed.errors import CheckpointError, ConfigError
from avsed.run import Run, versions

FACTS = {
    "labels": ["Cat", "Dog"],
    "splits": {"weak": {"clips": 6, "sha256": "a" * 64, "left_out": []}},
    "recordings": "b" * 64,
}


def test_only_a_training_with_a_checkpoint_claims_the_folder(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.begin(load_config(None, ["seed=1"]))
    run.take_data(Config(), FACTS)  # and then it fails
    other = load_config(None, ["seed=2"])
    run.begin(other)
    assert load_config(run.config_file) == other
    run.checkpoint.touch()
    run.begin(other.model_copy(update={"threads": 3}))
    with pytest.raises(CheckpointError, match=r"another configuration \(seed: 2 -> 1\)"):
        run.begin(load_config(None, ["seed=1"]))


def test_half_written_files_do_not_claim_the_folder(tmp_path: Path) -> None:
    (tmp_path / f".config-{'0f' * 16}.yaml").touch()
    Run(tmp_path).begin(Config())
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    "names", [["notes.txt"], ["checkpoint.safetensors"], [f".other-{'0' * 32}.txt"], ["config.yaml", "x.mp4"]]
)
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("seed: 3\n")
    with pytest.raises(CheckpointError, match=rf"neither empty nor a training.*{names[-1]}"):
        Run(tmp_path).begin(Config())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert all(path.read_text() == "seed: 3\n" for path in tmp_path.iterdir())


def test_a_foreign_configuration_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("site: blog\n")
    with pytest.raises(ConfigError, match="unknown key 'site'"):
        Run(tmp_path).begin(Config())
    assert (tmp_path / "config.yaml").read_text() == "site: blog\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["Cat", "Cow"]}, r'labels: \["Cat", "Dog"\] -> \["Cat", "Cow"\]'),
        ({"splits": {"weak": {**FACTS["splits"]["weak"], "clips": 7}}}, r"splits\.weak\.clips: 6 -> 7"),
        ({"splits": {}}, r"splits\.weak\.clips: 6 -> null"),
        ({"recordings": "c" * 64}, "recordings: bbb.* -> ccc"),
    ],
)
@pytest.mark.parametrize("file", ["checkpoint", "system"])
def test_a_training_goes_on_with_its_own_data_only(tmp_path: Path, file: str, change: dict, message: str) -> None:
    run = Run(tmp_path)
    run.begin(Config())
    run.take_data(Config(), FACTS)
    getattr(run, file).touch()
    moved = load_config(None, ["data.root=elsewhere"])
    run.take_data(moved, FACTS)
    assert load_config(run.config_file) == moved
    with pytest.raises(CheckpointError, match=rf"began with other data.*{message}"):
        run.take_data(Config(), FACTS | change)
    assert run.about() == FACTS
    assert load_config(run.config_file) == moved


@pytest.mark.parametrize("content", [b"{", b"[1]\n", b"\xff"])
def test_a_damaged_record_is_named(tmp_path: Path, content: bytes) -> None:
    run = Run(tmp_path)
    run.about_file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"run\.json: "):
        run.describe(steps=1)


@pytest.mark.parametrize("line", [b"garbage\n", b"[]\n", b"{}\n", b"\xff\n", b'{"step": "x"}\n'])
def test_a_damaged_log_is_named_with_its_line(tmp_path: Path, line: bytes) -> None:
    run = Run(tmp_path)
    run.append_log({"step": 1})
    with run.log.open("ab") as file:
        file.write(line)
    with pytest.raises(CheckpointError, match=r"log\.jsonl:2: "):
        run.cut_log(5)


def test_a_cut_log_ends_with_the_step(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step in (1, 2, 3):
        run.append_log({"step": step})
    with run.log.open("ab") as file:
        file.write(b'{"step": 4, "lo')  # killed while it wrote
    run.cut_log(2)
    assert [json.loads(line)["step"] for line in run.log.read_text().splitlines()] == [1, 2]


def test_versions_are_those_of_the_packages() -> None:
    assert versions()["torch"] == torch.__version__
    assert {"avsed", "numpy", "av", "soxr", "python"} <= set(versions())
