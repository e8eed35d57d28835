"""avsed tune, and evaluating and predicting with what it found: the real commands on a tiny training, in one process."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from avsed.cli import main
from avsed.data.demo import LABELS, Recipe, generate

Avsed = Callable[..., tuple[str, str]]
TINY = [
    "training.steps=6",
    "training.weak_batch=2",
    "training.unlabelled_batch=2",
    "training.validations=0",
    "threads=1",
]


def run(words: list[str], cache: Path, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVSED_CACHE", str(cache))
    monkeypatch.setattr("sys.argv", ["avsed", *words])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # which the command sets
    with pytest.raises(SystemExit) as stop:
        main()
    assert (stop.value.code or 0) == status


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo data set and a short training on it."""
    folder = tmp_path_factory.mktemp("home")
    counts = (("weak", 6), ("unlabeled", 4), ("validation", 4), ("test", 3))
    generate(folder / "data", Recipe(clips=counts, duration=2.0))
    settings = [*TINY, f"data.labels={json.dumps(LABELS)}"]
    words = ["train", str(folder / "data"), "--out", str(folder / "run"), "--seed", "4"]
    with pytest.MonkeyPatch.context() as patch:
        run([*words, *(f"--set={setting}" for setting in settings)], folder / "cache", 0, patch)
    return folder


@pytest.fixture
def avsed(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Avsed:
    def call(*words: object, status: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        run([str(word) for word in words], home / "cache", status, monkeypatch)
        return capsys.readouterr()

    return call


def test_tuned_post_processing_is_kept_used_and_told(home: Path, avsed: Avsed) -> None:
    avsed("evaluate", home / "run")
    plain = {path: path.read_bytes() for folder in ("results", "scores") for path in (home / "run" / folder).iterdir()}
    out, _ = avsed("tune", home / "run", "--for", "segment_micro_f1", "--what", "thresholds,median", "--json")
    told = json.loads(out)
    path = home / "run/postprocessing/tuned.yaml"
    kept = yaml.safe_load(path.read_text())
    assert kept == {"postprocessing": told["postprocessing"], "tuned": told["tuned"]}
    assert (kept["tuned"]["split"], kept["tuned"]["for"]) == ("validation", "segment_micro_f1")
    assert kept["tuned"]["what"] == ["thresholds", "median"] and kept["tuned"]["avsed"]
    assert kept["tuned"]["after"] >= kept["tuned"]["before"]
    assert {label for label, own in told["classes"].items() if own["kept"]} == set(kept["tuned"]["kept"])

    before = json.loads(avsed("evaluate", home / "run", "--split", "validation", "--json")[0])
    assert before["headline"]["segment_micro_f1"] == pytest.approx(kept["tuned"]["before"])
    words = ["evaluate", home / "run", "--split", "validation", "--postprocessing", "tuned"]
    after = json.loads(avsed(*words, "--json")[0])
    assert after["headline"]["segment_micro_f1"] == pytest.approx(kept["tuned"]["after"])
    assert after["headline"]["clip_micro_f1"] == before["headline"]["clip_micro_f1"]
    record = {name: value for name, value in kept["tuned"].items() if name != "clips"}
    assert after["preset"] == {"name": "tuned", "tuned": record, "tuned_on_these_clips": 4}
    assert "NOT A TEST, it was tuned on these very clips" in avsed(*words)[0]

    told = json.loads(avsed("evaluate", home / "run", "--postprocessing", path, "--json")[0])
    assert told["preset"] == {"name": "tuned", "tuned": record, "tuned_on_these_clips": 0}
    assert told["postprocessing"] == kept["postprocessing"]
    assert json.loads((home / "run/results/test.tuned.json").read_text()) == told
    assert (home / "run/results/test.tuned.tsv").is_file()  # the scores are the same, whatever is made of them
    assert {path: path.read_bytes() for path in plain} == plain
    shown, _ = avsed("evaluate", home / "run", "--postprocessing", "tuned")
    assert "post-processing tuned: thresholds and median tuned on validation (4 clips" in shown
    assert "NOT A TEST" not in shown


def test_what_was_tuned_is_shown_class_by_class(home: Path, avsed: Avsed) -> None:
    words = ["tune", home / "run", "--for", "event_macro_f1", "--what", "thresholds,boxes", "--name", "boxes"]
    shown, _ = avsed(*words)
    assert all(f"  {label} " in shown for label in LABELS)
    assert "event_macro_f1 on validation: " in shown and "before" in shown
    absent = yaml.safe_load((home / "run/postprocessing/boxes.yaml").read_text())["tuned"]["kept"]
    assert absent and f"no events of {', '.join(absent)} in these clips: left as they were" in shown
    assert "--postprocessing boxes" in shown


def test_predict_uses_it(home: Path, avsed: Avsed, tmp_path: Path) -> None:
    every = {"postprocessing": {"threshold": 0.0, "minimum_duration": 0.5}}
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(every))
    clip = home / "data/clips/test/test_00000.mp4"
    told = json.loads(avsed("predict", home / "run", clip, "--postprocessing", tmp_path / "all.yaml", "--json")[0])
    events = told["recordings"][0]["events"]
    assert {event["label"] for event in events} == set(LABELS) and len(events) == len(LABELS)
    words = ["predict", home / "run", clip, "--postprocessing", tmp_path / "all.yaml", "--threshold", 1, "--json"]
    assert json.loads(avsed(*words)[0])["recordings"][0]["events"] == []


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Path:
    """The data set with a table called ``held`` in place of the unlabelled clips'."""
    shutil.copytree(home / "data", tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("rows", "named", "message"),
    [
        ("all", False, "validation holds the clips of test, the test split"),
        ("one", False, "1 clips of validation are in test, the test split, too: test_00000.mp4"),
        ("one", True, "1 clips of validation are in test, the test split, too: test_00000.mp4"),
    ],
)
def test_test_clips_are_refused_under_any_name(
    copied: Path, home: Path, avsed: Avsed, rows: str, named: bool, message: str
) -> None:
    tables = copied / "metadata"
    test = (tables / "test.tsv").read_text().splitlines()
    if rows == "all":
        (tables / "validation.tsv").write_text("\n".join(test) + "\n")
        shutil.copy(tables / "test_durations.tsv", tables / "validation_durations.tsv")
    else:  # with its own labels, or with others beside the same recording
        own = [line for line in test[1:] if line.startswith("test_00000.mp4\t")]
        own = own[:1] if named else own
        with (tables / "validation.tsv").open("a") as file:
            file.write("\n".join(own) + "\n")
        with (tables / "validation_durations.tsv").open("a") as file:
            file.write("test_00000.mp4\t2.0\n")
    place = copied / "clips/validation"
    for path in (copied / "clips/test").glob("test_*"):
        if named:
            (place / path.name).symlink_to(path)
        else:
            shutil.copy(path, place / path.name)
    words = ["tune", home / "run", "--data", copied, "--for", "event_macro_f1", "--what", "thresholds", "--name", "no"]
    out, err = avsed(*words, status=2)
    assert out == "" and message in err.splitlines()[-1]
    assert not (home / "run/postprocessing/no.yaml").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune", "--split", "test"], "test is the test split"),
        (["tune", "--split", "test", "--set", "data.test=null"], "test is the test split"),
        (["tune", "--split", "weak"], "scoring needs events with times"),
        (["tune", "--split", "validatoin"], "no split 'validatoin'"),
        (["tune", "--set", "data.validation=null"], "names no validation split"),
        (["tune", "--name", "../x"], "a name of letters, digits"),
        (["tune", "--what", "threshold"], "one or more of thresholds, median, boxes; got threshold"),
        (["tune", "--for", "event_f1"], "no objective is called 'event_f1'"),
        (["tune", "--what", "median", "--medians", "3,4"], "--medians 4: median_filter: the median filter's length in"),
        (["tune", "--medians", "3,5"], "--medians 3,5: no median filter is tuned; add median to --what"),
        (["tune", "--set", "postprocessing.threshold={default: 0.5, Dgo: 0.2}"], "no class is called 'Dgo'"),
        (["evaluate", "--postprocessing", "absent"], "no post-processing 'absent'"),
        (["evaluate", "--postprocessing", "FILE", "--set", "postprocessing.threshold=0.2"], "is used as it is"),
        (["evaluate", "--set", "postprocessing.median_filter={Dog: 3}"], "postprocessing.median_filter: no value for"),
        (["predict", "RECORDING", "--postprocessing", "FOREIGN"], "no class is called 'Zebra'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_ends_in_one_line(home: Path, avsed: Avsed, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "own.yaml").write_text("postprocessing: {threshold: 0.4}\n")
    (tmp_path / "foreign.yaml").write_text("postprocessing: {threshold: {default: 0.4, Zebra: 0.3}}\n")
    places = {
        "FILE": tmp_path / "own.yaml",
        "FOREIGN": tmp_path / "foreign.yaml",
        "RECORDING": home / "data/clips/test/test_00000.mp4",
    }
    command, *rest = (places.get(word, word) for word in words)
    needed = {"--for": "event_macro_f1", "--what": "thresholds"} if command == "tune" else {}
    more = [word for option, value in needed.items() if option not in words for word in (option, value)]
    out, err = avsed(command, home / "run", *rest, *more, status=2)
    assert out == ""
    assert err.splitlines()[-1].startswith("avsed: error: ") and message in err.splitlines()[-1]
