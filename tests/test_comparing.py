"""Systems compared: from runs that were evaluated, from groups of trainings, and from files of any system."""

from __future__ import annotations

import io
import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from runs import keep_evaluation, noisy_scores

from avsed.annotations import Event, Events
from avsed.cli import app
from avsed.comparing import compare
from avsed.config import Config, load_config
from avsed.errors import AnnotationError, AvsedError, CheckpointError, ConfigError
from avsed.exchange.score_tables import write_score_tables
from avsed.numbers import NUMBERS
from avsed.run import Run
from avsed.stored import read_stored
from avsed.tables import labels_of, write_events, write_tags

CLASSES = ("Cat", "Dog")
REFERENCE: Events = {
    f"{number:02d}.wav": [Event(2.0, 4.0, CLASSES[number % 2])] if number % 3 else [] for number in range(24)
}
FEW = ["metrics.resamples=200"]


def run(folder: Path, *, noise: float, seed: int, reference: Events = REFERENCE) -> Path:
    """A run's folder as 'avsed evaluate' leaves it, of a system whose scores are the truth and some noise."""
    scores = noisy_scores(reference, CLASSES, noise=noise, random=np.random.default_rng(seed))
    keep_evaluation(Run(folder), Config(), scores, reference, dict.fromkeys(reference, 10.0))
    return folder


def test_a_stored_evaluation_gives_the_same_numbers_again(tmp_path: Path) -> None:
    own = run(tmp_path / "a", noise=0.2, seed=0)
    told = json.loads(Run(own).results("test").read_text())
    again = read_stored(own).evaluate().to_dict()
    for key in ("headline", "numbers", "intervals", "clip", "segment", "event"):
        assert again[key] == told[key]
    assert set(told["numbers"]) <= {number.key for number in NUMBERS}
    for number in told["numbers"].values():
        if number["value"] is not None:  # an AUROC of 1 makes d′ infinite
            assert number["low"] <= number["value"] <= number["high"]


def test_a_better_system_is_better_and_the_same_is_the_same(tmp_path: Path) -> None:
    good, bad = run(tmp_path / "good", noise=0.05, seed=0), run(tmp_path / "bad", noise=0.5, seed=1)
    found = compare(bad, good, settings=FEW)
    one, other, apart = found.found["event_macro_f1"]
    assert other.values == (1.0,)
    assert apart.value == pytest.approx(1.0 - one.values[0])
    assert 0 < apart.low < apart.value < apart.high and apart.p < 0.02
    printed = io.StringIO()
    Console(file=printed, width=120).print(*found.render())
    assert "…" not in printed.getvalue() and "+" in printed.getvalue()  # whole in a file or a pipe
    same = compare(good, good / "results" / "test.json", settings=FEW).found["event_macro_f1"][2]
    assert (same.value, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_folder_of_runs_is_one_system_trained_several_times(tmp_path: Path) -> None:
    values = []
    for seed in range(3):
        own = run(tmp_path / "several" / str(seed), noise=0.4, seed=seed)
        values.append(read_stored(own).evaluate().values["clip_micro_f1"])
    single = run(tmp_path / "single", noise=0.4, seed=9)
    found = compare(tmp_path / "several", single, settings=FEW)
    assert found.trainings == (3, 1)
    figure = found.found["clip_micro_f1"][0]
    assert figure.values == tuple(values)
    assert figure.interval.value == pytest.approx(np.mean(values))
    assert figure.deviation == pytest.approx(np.std(values, ddof=1))
    assert figure.interval.low < figure.interval.value < figure.interval.high


def test_trainings_of_two_systems_are_no_pairs(tmp_path: Path) -> None:
    for system in "ab":
        for seed in range(2):
            run(tmp_path / system / str(seed), noise=(0.1, 0.5)[seed], seed=seed)
    found = compare(tmp_path / "a", tmp_path / "b", settings=FEW).found["clip_micro_f1"]
    assert found[0].values[0] != found[0].values[1]
    assert found[2].value == 0
    assert found[2].low < 0 < found[2].high  # they would be 0 if the first were always drawn with the first


def test_event_lists_of_other_systems(tmp_path: Path) -> None:
    truth, half = tmp_path / "truth.tsv", tmp_path / "half.tsv"
    write_events(truth, REFERENCE)
    write_events(half, {clip: own for number, (clip, own) in enumerate(REFERENCE.items()) if number % 2})
    found = compare(half, truth, reference=truth, settings=FEW).found["event_micro_f1"]
    assert found[1].values == (1.0,)
    assert found[2].value > 0 and found[2].p < 0.02


def test_tags_alone_are_compared_too(tmp_path: Path) -> None:
    truth, half = tmp_path / "truth.tsv", tmp_path / "half.tsv"
    write_tags(truth, labels_of(REFERENCE))
    write_tags(half, {clip: own for number, (clip, own) in enumerate(labels_of(REFERENCE).items()) if number % 2})
    found = compare(half, truth, reference=truth, settings=FEW)
    assert found.clips == len(REFERENCE)
    assert found.found["clip_micro_f1"][1].values == (1.0,)


def test_names_are_matched_as_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, elsewhere = tmp_path / "truth.tsv", tmp_path / "elsewhere.tsv"
    write_events(truth, REFERENCE)
    write_events(elsewhere, {f"video/{clip}": own for clip, own in REFERENCE.items()})
    few = ["--set", FEW[0], "--json"]
    with pytest.raises(AnnotationError, match="--match name"):
        app(["compare", str(elsewhere), str(truth), "--reference", str(truth), *few], standalone_mode=False)
    capsys.readouterr()
    app(
        ["compare", str(elsewhere), str(truth), "--reference", str(truth), "--match", "name", *few],
        standalone_mode=False,
    )
    assert json.loads(capsys.readouterr().out)["numbers"]["event_macro_f1"]["first"]["value"] == 1.0


def test_settings_that_would_do_nothing_are_refused(tmp_path: Path) -> None:
    own, truth = run(tmp_path / "a", noise=0.2, seed=0), tmp_path / "truth.tsv"
    write_events(truth, REFERENCE)
    with pytest.raises(ConfigError, match=r"--set data\.labels=.*only postprocessing and metrics change"):
        compare(own, own, settings=["data.labels=[A]"])
    with pytest.raises(ConfigError, match=r"--set training\.steps=5: .*only postprocessing, metrics and data change"):
        compare(truth, truth, reference=truth, settings=["training.steps=5"])


def test_options_that_have_no_meaning_are_refused(tmp_path: Path) -> None:
    for options, text in (
        ({"match": "stem"}, "--match stem: .*give --reference"),
        ({"durations": "d.tsv"}, "--durations d.tsv: .*give --reference"),
        ({"split": "test", "reference": "a.tsv"}, "--split test: is of runs"),
    ):
        with pytest.raises(ConfigError, match=text):
            compare(tmp_path, tmp_path, **options)  # type: ignore[arg-type]


def test_numbers_stay_whole_and_undefined_ones_are_null(tmp_path: Path) -> None:
    silent: Events = {clip: [] for clip in REFERENCE}
    for seed in range(2):
        run(tmp_path / "silent" / str(seed), noise=0.1, seed=seed, reference=silent)
    found = compare(tmp_path / "silent", tmp_path / "silent", settings=FEW)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["numbers"]["event_macro_f1"]["first"]["standard_deviation"] is None
    for seed in range(2):
        run(tmp_path / "good" / str(seed), noise=0.05, seed=seed)
        run(tmp_path / "bad" / str(seed), noise=0.4, seed=seed)
    console = Console(file=StringIO(), width=120)
    for part in compare(tmp_path / "bad", tmp_path / "good", settings=FEW).render():
        console.print(part)
    assert "…" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_results_that_a_later_evaluation_has_outdated_are_refused(tmp_path: Path) -> None:
    own = run(tmp_path / "a", noise=0.2, seed=0)
    write_events(
        Run(own).reference("test"), dict(list(REFERENCE.items())[:20]), decimals=None
    )  # of another set of clips
    with pytest.raises(
        CheckpointError, match=r"test\.json: is of other clips or labels than .*evaluate .* --split test"
    ):
        read_stored(own)


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    own = run(tmp_path / "a", noise=0.2, seed=0)
    fewer = run(tmp_path / "b", noise=0.2, seed=0, reference=dict(list(REFERENCE.items())[:20]))
    with pytest.raises(AvsedError, match="not scored on the same clips"):
        compare(own, fewer, settings=FEW)
    with pytest.raises(AvsedError, match="needs resamples"):
        compare(own, own, settings=["metrics.resamples=0"])
    with pytest.raises(CheckpointError, match="not the folder of a training"):
        compare(own, tmp_path / "nowhere", settings=FEW)
    with pytest.raises(CheckpointError, match=r"avsed evaluate .* first"):
        compare(own, own, split="validation", settings=FEW)
    Run(own).reference("test").unlink()
    with pytest.raises(CheckpointError, match=r"avsed evaluate .* --split test"):
        compare(own, own, settings=FEW)


def test_settings_change_how_both_are_measured(tmp_path: Path) -> None:
    own = run(tmp_path / "a", noise=0.4, seed=0)
    config = load_config(None, ["metrics.onset_collar=5", "metrics.offset_collar=5"])
    assert (
        read_stored(own, settings=["metrics.onset_collar=5", "metrics.offset_collar=5"]).config.metrics
        == config.metrics
    )
    wide = compare(own, own, settings=[*FEW, "metrics.onset_collar=5", "metrics.offset_collar=5"])
    narrow = compare(own, own, settings=FEW)
    assert wide.found["onset_micro_f1"][0].values >= narrow.found["onset_micro_f1"][0].values


def test_best_tags_are_the_best_of_all_thresholds(tmp_path: Path) -> None:
    own = run(tmp_path / "a", noise=0.3, seed=0)
    stored = read_stored(own)
    best = stored.evaluate().values["best_clip_macro_f1"]
    tried = []
    for threshold in np.unique([one.tags for one in stored.scores]):
        changed = read_stored(own, settings=[f"postprocessing.threshold={threshold}"]).evaluate(all_thresholds=False)
        tried.append([rates.f1 for rates in changed.clip.classes.values()])
    assert best == pytest.approx(np.max(tried, axis=0).mean())


def test_numbers_that_mean_something_else_are_not_compared(tmp_path: Path) -> None:
    """Tags from frame scores, where a system gives no clip probabilities, are other tags."""
    own = run(tmp_path / "a", noise=0.2, seed=0)
    scores = list(read_stored(own).scores)
    write_score_tables(tmp_path / "tables", scores)
    found = compare(
        tmp_path / "tables", Run(own).scores("test"), reference=Run(own).reference("test"), match="stem", settings=FEW
    )
    assert "segment_micro_f1" in found.found and "clip_micro_f1" not in found.found and "map" not in found.found


def test_few_trainings_are_said_to_be_few(tmp_path: Path) -> None:
    for seed in range(2):
        run(tmp_path / "two" / str(seed), noise=0.4, seed=seed)
    for side, said in ((tmp_path / "two", True), (tmp_path / "two" / "0", False)):
        told = [part for part in compare(side, tmp_path / "two" / "1", settings=FEW).render() if isinstance(part, str)]
        assert any("2 trainings say little of others" in line for line in told) == said
