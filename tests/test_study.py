"""A study without training: its configuration, the choice, the table and its files, locks, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from runs import keep_evaluation, noisy_scores
from waiting import end

from avsed.annotations import Event, Events
from avsed.comparing import compare
from avsed.config import Config, load_config
from avsed.errors import AvsedError, CheckpointError, ConfigError
from avsed.files import write_json
from avsed.study import cluster
from avsed.study.command import Studied, study
from avsed.study.paper import BASELINE, DCASE, SETTINGS, TABLE, canonical
from avsed.study.plan import Plan, StudyConfig, make_plan
from avsed.study.process import TrainingProcess
from avsed.study.table import make_table, select
from avsed.study.units import Unit

CLASSES = ("Cat", "Dog")
REFERENCE: Events = {
    f"{number:02d}.wav": [Event(2.0, 4.0, CLASSES[number % 2])] if number % 3 else [] for number in range(18)
}


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def plan(folder: Path, text: str = "", **given: object) -> Plan:
    return make_plan(put(folder / "c.yaml", text), out=folder / "out", **given)  # type: ignore[arg-type]


def finished(unit: Unit, noise: float, *, reference: Events = REFERENCE, overlap: tuple[str, ...] = ()) -> None:
    """The folder of a run that was trained and evaluated, of a system whose scores are the truth and some noise."""
    random, config, run = np.random.default_rng((unit.config.seed, len(unit.setting))), unit.config, unit.run
    provenance = {
        name: {"pretrained_on": ["AudioSet"], "overlap": list(overlap)} for name in config.streams if name != "logmel"
    }
    for split in unit.splits:
        scores = noisy_scores(reference, CLASSES, noise=noise, random=random)
        durations = dict.fromkeys(reference, 10.0)
        keep_evaluation(
            run, config, scores, reference, durations, split=split, all_thresholds=False, provenance=provenance
        )
    run.system.touch()
    run.describe(finished="now", steps=config.training.steps)


FEW = "metrics: {resamples: 60}\n"
TWO = FEW + "study: {settings: [auditory+spectral, spectral], seeds: 4, keep: 0.5}\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two settings with four trainings each, one of which is still to be done."""
    folder = tmp_path_factory.mktemp("home")
    own = plan(folder, f"data: {{sources: [{DCASE}]}}\n" + TWO)
    own.folder.mkdir()
    own.keep()
    for unit in own.units:
        if unit.name != "spectral+auditory/3":
            finished(unit, 0.2 if unit.setting == BASELINE else 0.05, overlap=("AudioSet",))
    return folder


# --- the configuration ---


def test_the_paper_s_protocol_is_the_default(tmp_path: Path) -> None:
    own = plan(tmp_path)
    assert tuple(own.settings) == own.wanted == SETTINGS and len(own.units) == 140
    assert own.study.kept(20, 20) == 5
    assert [unit.name for unit in own.units[:8]] == [*(f"{name}/0" for name in SETTINGS), "spectral/1"]
    assert {name: config.streams for name, config in own.settings.items()}["auditory+visual"] == ("vggish", "vgg16")
    assert TABLE["spectral+auditory+visual"] == (83.72, 76.86, 32.65)
    assert canonical("visual+spectral") == "spectral+visual" and canonical("spectral+spectral") is None


@pytest.mark.parametrize(
    ("keep", "trainings", "seeds", "kept"),
    [
        (0.25, 20, 20, 5),
        (0.25, 10, 10, 2),
        (0.25, 3, 20, 1),
        (0.5, 7, 7, 3),
        (5, 20, 20, 5),
        (5, 8, 20, 2),
        (1.0, 4, 4, 4),
        (0.29, 100, 100, 29),
    ],
)
def test_how_many_count(keep: float, trainings: int, seeds: int, kept: int) -> None:
    assert StudyConfig(keep=keep).kept(trainings, seeds) == kept


def test_settings_of_one_s_own(tmp_path: Path) -> None:
    text = (
        "seed: 3\nstudy:\n  settings:\n    pooled: {inputs: auditory, fusion.auditory: efficientat, "
        "extractors.efficientat.embedding: pooled}\n    auditory+spectral:\n    deep: {model: {layers: 3}}\n  seeds: 2\n"
    )
    own = plan(tmp_path, text, settings=["visual", "pooled"], overrides=["training.steps=7"])
    assert list(own.settings) == ["spectral+auditory", "visual", "pooled", "deep"]
    assert own.wanted == ("visual", "pooled") and list(own.seeds_of("pooled")) == [3, 4]
    assert own.settings["pooled"].extractors.efficientat.embedding == "pooled"
    assert own.settings["deep"].model.layers == 3 and own.settings["deep"].training.steps == 7
    assert [unit.run.folder.name for unit in own.units_of("deep")] == ["3", "4"]
    assert load_config(tmp_path / "c.yaml") == Config(seed=3)  # other commands pass over the section


def test_settings_with_a_number_of_trainings_of_their_own(tmp_path: Path) -> None:
    text = "study: {settings: {spectral: {seeds: 2}, auditory: , visual: {seeds: 1}}, seeds: 4, keep: 0.5}\n"
    own = plan(tmp_path, FEW + text)
    assert [len(own.seeds_of(name)) for name in ("spectral", "auditory", "visual")] == [2, 4, 1]
    names = ["spectral/0", "visual/0", "auditory/0", "spectral/1", "auditory/1", "auditory/2", "auditory/3"]
    assert [unit.name for unit in own.units] == names
    own.folder.mkdir()
    own.keep()
    for unit in own.units:
        finished(unit, 0.1)
    table = make_table(plan(tmp_path, FEW + text.replace("visual: {seeds: 1}", "visual:")))
    assert {row.setting: (row.seeds, row.lacking, row.kept) for row in table.rows} == {
        "spectral": ((0, 1), (), 1),
        "visual": ((0,), (1, 2, 3), 1),
        "auditory": ((0, 1, 2, 3), (), 2),
    }
    assert "those (1 of 2 of spectral, 2 of 4 of visual, 2 of 4 of auditory) that are best on validation" in table.rule
    assert len(plan(tmp_path, FEW + text, overrides=["study.seeds=3"]).units) == 9  # said now, and of all
    own = plan(tmp_path, FEW + text.replace("0.5", "1"))
    assert [own.study.kept(len(own.seeds_of(name)), len(own.seeds_of(name))) for name in own.wanted] == [1, 1, 1]
    with pytest.raises(ConfigError, match=r"study\.keep is 2, but study\.seeds of visual is 1"):
        plan(tmp_path, FEW + text.replace("0.5", "2"))
    for wrong in ("0", "1.5", "many"):
        with pytest.raises(ConfigError, match=rf"visual: expected a number of trainings .* for seeds, got '?{wrong}"):
            plan(tmp_path, text.replace("seeds: 1", f"seeds: {wrong}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: {seed: 3}", r"c\.yaml: unknown key 'study\.seed' \(did you mean 'seeds'\?\)"),
        ("study: {seeds: 0}", r"study\.seeds: .*greater than or equal to 1, got 0"),
        ("study: {keep: 1.5}", r"study\.keep: expected a number of trainings .*got 1\.5"),
        ("study: {keep: 0}", r"study\.keep: expected"),
        ("study: {keep: true}", r"study\.keep: expected"),
        ("study: {keep: 30}", r"study\.keep is 30, but study\.seeds of spectral is 20"),
        ("study: {select: event_f1}", r"study\.select: no number is called 'event_f1' \(did you mean 'event_m"),
        (
            "study: {settings: [spectrl]}",
            r"study\.settings: 'spectrl' is none of the paper's \(did you mean 'spectral'\?\)",
        ),
        ("study: {settings: [visual, visual+visual]}", r"'visual\+visual' is none of the paper's"),
        ("study: {settings: {a/b: {inputs: visual}}}", r"'a/b' would name a folder"),
        ("study: {settings: {a: 3}}", r"a: expected keys and values that it changes, got 3"),
        ("study: {settings: {a: {metrics.segment: 3}}}", r"a: metrics\.segment is the same for all settings"),
        ("study: {settings: {a: {model.depth: 3}}}", r"study\.settings\.a: unknown key 'model\.depth'"),
        ("study: {settings: []}", r"study\.settings: expected names"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(tmp_path, text)


def test_wrong_words_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--settings visul: unknown \(did you mean 'visual'\?\)"):
        plan(tmp_path, settings=["visul"])
    config = put(tmp_path / "c.yaml", "")
    with pytest.raises(ConfigError, match="give one of them"):
        study(config, out=tmp_path / "out", dry_run=True, table_only=True)
    with pytest.raises(ConfigError, match="own workers"):
        study(config, out=tmp_path / "out", workers=2, scheduler="tcp://nowhere:1")
    with pytest.raises(ConfigError, match="absent: no such folder"):
        study(config, out=tmp_path / "out", data="absent")
    with pytest.raises(AvsedError, match="no training is finished yet"):
        study(config, out=tmp_path / "out", table_only=True)
    (tmp_path / "out").mkdir()
    put(tmp_path / "out/notes.txt", "mine")
    with pytest.raises(CheckpointError, match="neither empty nor a study"):
        study(config, out=tmp_path / "out", table_only=True)


# --- the choice and the table ---


def test_the_best_are_chosen_and_ties_go_to_the_lower_seed() -> None:
    assert select({7: 0.5, 3: 0.5, 5: 0.7, 1: float("nan"), 2: 0.4}, 3) == (5, 3, 7)
    assert select({7: float("nan"), 3: float("nan")}, 1) == (3,)


def test_each_column_selects_by_its_own_number_on_validation(home: Path) -> None:
    own = make_plan(home / "c.yaml", out=home / "out")
    table = make_table(own)
    row = next(row for row in table.rows if row.setting == BASELINE)
    units = own.units_of(BASELINE)
    for key, cell in row.cells.items():
        validated = {u.config.seed: u.results("validation")["numbers"][key]["value"] for u in units}  # type: ignore[index]
        best = sorted(validated, key=lambda seed: (-validated[seed], seed))[:2]
        tested = {u.config.seed: u.results("test")["numbers"][key]["value"] for u in units}  # type: ignore[index]
        assert cell.seeds == tuple(best)
        figure = cell.means["selected"].figure
        assert figure.interval.value == pytest.approx(np.mean([tested[seed] for seed in best]))
        assert figure.deviation == pytest.approx(np.std([tested[seed] for seed in best], ddof=1))
        assert cell.means["all"].figure.values == pytest.approx(tuple(tested.values()))
        assert figure.interval.low <= figure.interval.value <= figure.interval.high
    by_one = make_table(make_plan(home / "c.yaml", out=home / "out", overrides=["study.select=event_macro_f1"]))
    chosen = {cell.seeds for cell in by_one.rows[0].cells.values()}
    assert chosen == {row.cells["event_macro_f1"].seeds} and "all columns by event-based macro F1" in by_one.rule


def test_differences_are_those_that_compare_finds(home: Path, tmp_path: Path) -> None:
    own = make_plan(home / "c.yaml", out=home / "out", overrides=["study.seeds=3"])
    table = make_table(own)
    for name in own.settings:
        (tmp_path / name).mkdir()
        for seed in own.seeds_of(name):
            (tmp_path / name / str(seed)).symlink_to(home / "out/runs" / name / str(seed))
    found = compare(tmp_path / "spectral", tmp_path / "spectral+auditory").found
    for key in ("clip_micro_f1", "segment_micro_f1", "event_macro_f1"):
        assert table.differences["spectral", "spectral+auditory", key, "all"] == found[key][2]
        assert table.rows[0].cells[key].means["all"].figure == found[key][0]


def test_a_record_stands_for_a_run_that_is_gone(tmp_path: Path) -> None:
    """Also in another folder, that is on another machine, and beside runs."""
    own = plan(tmp_path, TWO, overrides=[f"data.root={tmp_path}"])
    own.folder.mkdir()
    own.keep()
    for unit in own.units:
        finished(unit, 0.2 if unit.setting == BASELINE else 0.05, overlap=("AudioSet",))
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
    for damaged in (whole[: len(whole) // 2], b"", b"no record" * 9, whole.replace(b"fingerprint", b"fingerPrint")):
        (own.folder / where).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"{where}: not a training's record, or a damaged one"):
            plan(tmp_path, FEW + "study: {settings: [spectral], seeds: 1}")


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.links: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [
            str(value) for name, value in attrs if name in ("src", "href") and not str(value).startswith("#")
        ]


def test_the_table_in_all_its_forms(home: Path) -> None:
    found = study(home / "c.yaml", out=home / "out", table_only=True)
    told = json.loads((home / "out/study.json").read_text())
    assert told["settings"]["spectral+auditory"]["lacking"] == [3] and told["settings"]["spectral"]["kept"] == 2
    mean = told["settings"]["spectral"]["numbers"]["clip_micro_f1"]
    assert mean["paper"] == pytest.approx(0.7622) and len(mean["all"]["trainings"]) == 4

    shown = f"{100 * mean['selected']['value']:.2f} ± {100 * mean['selected']['standard_deviation']:.2f}"
    markdown = (home / "out/table.md").read_text()
    rows = [line for line in markdown.splitlines() if line.startswith("|") and shown in line]
    assert rows and rows[0].startswith("|  |  | ✓ |") and "76.22" in rows[0] and rows[0].endswith("| 2 |")
    assert "| ✓† |  | ✓ |" in markdown and "test clips may be among AudioSet" in markdown
    assert "spectral+auditory is incomplete: 3 of 4 trainings, of which 1 are selected" in markdown
    assert "Selected: the 2 of 4 trainings" in markdown and "mean over all trainings" in markdown

    latex = (home / "out/table.tex").read_text()
    assert latex.count(r"\toprule") == 3 and shown.replace("±", r"$\pm$") in latex
    assert r"$\checkmark$$^\dagger$" in latex and not {"✓", "†"} & set(latex.split(r"\begin{table}", 1)[1])

    with (home / "out/table.csv").open() as file:
        lines = list(csv.DictReader(file))
    (same,) = [
        line
        for line in lines
        if (line["kind"], line["setting"], line["number"], line["of"])
        == ("mean", "spectral", "clip_micro_f1", "selected")
    ]
    assert float(same["value"]) == mean["selected"]["value"] and float(same["paper"]) == 0.7622
    assert sum(line["kind"] == "difference" for line in lines) == 6

    page = Cells()
    page.feed((home / "out/table.html").read_text())
    assert page.links == [] and any(shown in text for text in page.text)
    words = [part for part in found.render() if isinstance(part, str)]
    assert any("incomplete" in word for word in words)
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_without_the_paper_s_data_its_figures_are_not_there(home: Path) -> None:
    table = make_table(make_plan(home / "c.yaml", out=home / "out", overrides=["data.sources=[AudioSet]"]))
    assert not table.beside_paper


# --- what never mixes ---


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
