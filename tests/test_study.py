"""The configuration of a study and the words of its command; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import FEW, finished, plan, put

from avsed.config import Config, load_config
from avsed.errors import AvsedError, CheckpointError, ConfigError
from avsed.study.command import study
from avsed.study.paper import SETTINGS, TABLE, canonical
from avsed.study.plan import StudyConfig
from avsed.study.table import make_table

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
    assert (
        "the best trainings of each setting (1 of 2 of spectral, 2 of 4 of visual, 2 of 4 of auditory) on validation"
        in table.rule
    )
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
        ("study: {settings: {a: {data: {test: other}}}}", r"a: data\.test is the same for all settings"),
        (
            "study: {select: tags_from_events_micro_f1}",
            r"study\.select: no number is called 'tags_from_events_micro_f1'",
        ),
        ("study: {select: psds}", r"c\.yaml: study\.select is psds, which is measured only with metrics\.psds"),
        ("study: {settings: [a\n  b: 3", r"c\.yaml, line 2: not valid YAML: while parsing a flow sequence"),
        ("study: {settings: {a: {model.depth: 3}}}", r"study\.settings\.a: unknown key 'model\.depth'"),
        ("study: {settings: []}", r"study\.settings: expected names"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(tmp_path, text)


def test_what_trainings_in_the_folder_add_keeps_to_the_same_rules(tmp_path: Path) -> None:
    own = plan(tmp_path, "study: {settings: {spectral: {seeds: 2}}, keep: 0.5}")
    own.folder.mkdir()
    own.keep()
    for unit in own.units:
        finished(unit, 0.1)
    text = "study: {settings: [visual], seeds: 6, keep: 5}"
    with pytest.raises(ConfigError, match=r"study\.keep is 5, but study\.seeds of spectral is 2"):
        plan(tmp_path, text)
    more = plan(tmp_path, text, overrides=["study.seeds=7"])  # said now: of all
    assert [len(more.seeds_of(name)) for name in ("spectral", "visual")] == [7, 7]
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ConfigError, match=r"study\.keep is 5, but study\.seeds of auditory is 3"):
        plan(other, "study: {settings: {visual: {seeds: 6}}, seeds: 3, keep: 5}", settings=["auditory"])
    with pytest.raises(ConfigError, match="6 trainings from seed 2147483643 on need seeds above 2147483647"):
        plan(tmp_path, "seed: 2147483643\nstudy: {settings: [visual], seeds: 6}")


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
