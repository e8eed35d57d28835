"""What a study takes for a finished training: runs, records, what never mixes, locks; nothing is trained."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from studies import FEW, REFERENCE, TWO, finished, half_done, plan
from waiting import end

from avsed.errors import AvsedError, CheckpointError
from avsed.files import write_json
from avsed.study import cluster
from avsed.study.command import Studied, study
from avsed.study.paper import BASELINE
from avsed.study.plan import make_plan
from avsed.study.process import TrainingProcess
from avsed.study.table import make_table
from avsed.study.units import Unit, carry_out


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return half_done(tmp_path_factory.mktemp("home"))


def test_a_record_stands_for_a_run_that_is_gone(tmp_path: Path) -> None:
    """Also in another folder, that is on another machine, and beside runs."""
    own = plan(tmp_path, TWO, overrides=[f"data.root={tmp_path}"])
    own.folder.mkdir()
    own.keep()
    for unit in own.units:
        finished(unit, 0.2 if unit.setting == BASELINE else 0.05)
    expected = make_table(own).to_dict()
    shutil.rmtree(own.folder / "runs/spectral")
    shutil.rmtree(own.folder / "runs/spectral+auditory/2")
    assert {unit.state for unit in own.units} == {"done"} and make_table(own).to_dict() == expected
    shutil.copytree(own.folder / "records", tmp_path / "other/records")
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in tmp_path.glob("other/records/*/*"))
    found = study(tmp_path / "c.yaml", out=tmp_path / "other", table_only=True)
    assert isinstance(found, Studied) and found.table.to_dict() == expected
    found = study(tmp_path / "c.yaml", out=tmp_path / "other", seeds=5, table_only=True)
    assert isinstance(found, Studied) and {row.lacking for row in found.table.rows} == {(4,)}


def test_a_record_of_another_study_or_a_damaged_one_is_named(tmp_path: Path) -> None:
    own = plan(tmp_path, FEW + "study: {settings: [spectral], seeds: 1}")
    (unit,) = own.units
    own.folder.mkdir()
    own.keep()
    finished(unit, 0.2)
    make_table(own)
    shutil.rmtree(own.folder / "runs")
    (own.folder / "study.yaml").unlink()
    where = "records/spectral/0.safetensors"
    with pytest.raises(CheckpointError, match=f"{where}: holds a training with another configuration .training.steps"):
        plan(tmp_path, FEW + "training: {steps: 7}\nstudy: {settings: [spectral], seeds: 1}")
    whole = (own.folder / where).read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        b"",
        b"no record" * 9,
        whole.replace(b"fingerprint", b"fingerPrint"),
        whole.replace(b'\\"clips\\": 18', b'\\"clipS\\": 18'),
        whole.replace(b'[\\"Cat\\", \\"Dog\\"]', b'[\\"Cat, Dog\\"]    '),
        whole.replace(b'\\"training\\":', b'\\"trAining\\":'),
        whole.replace(b'\\"segment\\":', b'\\"segmenT\\":').replace(b'"segment.', b'"segmenT.'),
    ):
        assert damaged != whole
        (own.folder / where).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"{where}: not a training's record, or a damaged one"):
            plan(tmp_path, FEW + "study: {settings: [spectral], seeds: 1}")


# --- what never mixes ---


@pytest.mark.parametrize("left", [b"", b"\n", b"{", b"\xff\x00", b"[]"])
def test_what_a_power_cut_leaves_is_named_with_what_to_do(tmp_path: Path, left: bytes) -> None:
    text = FEW + "study: {settings: [spectral], seeds: 1}"
    own = plan(tmp_path, text)
    (unit,) = own.units
    own.folder.mkdir()
    own.keep()
    finished(unit, 0.1)
    study_yaml = own.folder / "study.yaml"
    for file, advice in {
        unit.run.config_file: f"put it back, or delete {unit.run.folder} to train anew",
        unit.run.about_file: f"put it back, or delete {unit.run.folder} to train anew",
        unit.run.results("test"): "delete it to have spectral/0 scored again",
        study_yaml: "delete it, the next command writes it again",
    }.items():
        whole = file.read_bytes()
        file.write_bytes(left)
        with pytest.raises(CheckpointError, match=re.escape(str(file))) as caught:
            make_table(plan(tmp_path, text))
        assert str(caught.value).endswith(advice) and "\n" not in str(caught.value)
        file.write_bytes(whole)
    study_yaml.unlink()
    assert [row.seeds for row in make_table(plan(tmp_path, text)).rows] == [(0,)]


def test_settings_of_commands_at_the_same_time_are_all_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = plan(tmp_path, FEW + "study: {settings: [spectral], seeds: 1}")
    second = plan(tmp_path, FEW + "study: {settings: [visual], seeds: 1}")
    first.folder.mkdir()
    first.keep()
    second.keep()
    for unit in (*first.units, *second.units):
        finished(unit, 0.1)
    assert list(plan(tmp_path, FEW + "study: {settings: [visual], seeds: 1}").settings) == ["spectral", "visual"]
    (first.folder / "study.yaml").unlink()
    capsys.readouterr()
    assert list(plan(tmp_path, FEW + "study: {settings: [visual], seeds: 1}").settings) == ["visual"]
    assert "holds trainings of spectral, a setting that" in capsys.readouterr().err


def test_another_configuration_is_refused_with_its_keys(home: Path) -> None:
    again = {"out": home / "out"}
    with pytest.raises(CheckpointError, match=r"another configuration \(training\.steps: 50000 -> 7\)"):
        make_plan(home / "c.yaml", overrides=["training.steps=7"], **again)
    with pytest.raises(CheckpointError, match=r"trainings of spectral have another .*training\.steps"):  # not asked for
        make_plan(home / "c.yaml", overrides=["training.steps=7", "study.settings=[visual]"], **again)
    more = make_plan(home / "c.yaml", overrides=["study.seeds=6", "threads=3"], settings=["visual"], **again)
    states = {unit.name: unit.state for name in more.settings for unit in more.units_of(name)}
    assert more.wanted == ("visual",) and states["visual/0"] == "missing" and states["spectral/5"] == "missing"
    assert sum(state == "done" for state in states.values()) == 7


def test_a_run_of_another_seed_or_evaluation_does_not_pass(tmp_path: Path) -> None:
    own = plan(tmp_path, FEW + "study: {settings: [spectral], seeds: 2}")
    first, second = own.units
    own.folder.mkdir()
    own.keep()
    finished(first, 0.1)
    finished(second, 0.1, reference=dict(list(REFERENCE.items())[:9]))
    with pytest.raises(AvsedError, match="not scored on the same clips"):
        make_table(own)
    results = json.loads(second.run.results("test").read_text())
    results["postprocessing"]["threshold"] = 0.3
    write_json(second.run.results("test"), results)
    assert second.state == "trained"  # what was scored with other decisions is scored again
    (tmp_path / "out/runs/spectral/1").rename(tmp_path / "out/runs/spectral/7")
    (tmp_path / "out/runs/spectral/0").rename(tmp_path / "out/runs/spectral/1")
    with pytest.raises(CheckpointError, match=r"another configuration \(seed: 0 -> 1\)"):
        plan(tmp_path, FEW + "study: {settings: [spectral], seeds: 2}")


def test_what_a_worker_returns_becomes_the_run(tmp_path: Path) -> None:
    """Results come last, so that what is written half is not taken for done; nothing is written over what another process has."""
    (unit,) = plan(tmp_path, FEW + "study: {settings: [spectral], seeds: 1}").units
    there = Unit(tmp_path / "there", unit.setting, unit.config)
    finished(there, 0.1)
    place = there.run.folder
    files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}

    with unit.held():
        assert cluster._taken(unit, "", files) == "another process trains it here"
    assert unit.state == "missing"
    order: list[str] = []
    real = cluster.replacing
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "replacing", lambda path: (order.append(path.name), real(path))[1])
        assert cluster._taken(unit, "", files) == ""
    assert order[-2:] == ["test.json", "validation.json"] and unit.state == "done"
    assert all((unit.run.folder / name).read_bytes() == content for name, content in files.items())


def test_what_an_evaluation_left_half_written_is_removed(tmp_path: Path) -> None:
    (unit,) = plan(tmp_path, FEW + "study: {settings: [spectral], seeds: 1}").units
    finished(unit, 0.1)
    whole = sorted(unit.run.folder.rglob("*"))
    for name in ("scores/.test-{}.safetensors", "results/.test-{}.json"):
        (unit.run.folder / name.format("0" * 32)).write_bytes(b"half")
    assert carry_out([unit]) == {} and sorted(unit.run.folder.rglob("*")) == whole


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    (unit,) = plan(tmp_path, "study: {settings: [spectral], seeds: 1}").units
    code = (
        "import sys\nfrom pathlib import Path\nfrom avsed.config import Config\nfrom avsed.study.units import Unit\n"
        "with Unit(Path(sys.argv[1]), 'spectral', Config()).held() as mine:\n print(mine, flush=True); sys.stdin.read()"
    )
    assert not unit.busy
    command = [sys.executable, "-c", code, str(unit.root)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        assert unit.busy and unit.run.lock.read_text().split()[1] == str(other.pid)
        with unit.held() as mine:
            assert not mine
    finally:
        end(other)  # by SIGKILL
    with unit.held() as mine:
        assert mine and unit.busy
    assert not unit.busy


def test_a_training_that_another_process_has_is_no_failure(tmp_path: Path) -> None:
    unit = plan(tmp_path, TWO).units[0]
    child = TrainingProcess.__new__(TrainingProcess)  # how it would see the end of its process
    with unit.held():
        assert child._outcome(unit, 2) == (True, "")
    assert child._outcome(unit, -9) == (False, "ended by SIGKILL (was there too little memory?)")
