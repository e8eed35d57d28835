"""The commands from end to end, as a user runs them: real processes, real videos, exit statuses, JSON, wrong input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avsed.data.demo import LABELS, Recipe, generate
from avsed.media import write_clip
from avsed.scores import read_scores
from avsed.tables import read_events

TINY = [
    "--set=training.steps=6",
    "--set=training.weak_batch=2",
    "--set=training.unlabelled_batch=2",
    "--set=training.validations=2",
    "--set=threads=1",
    f"--set=data.labels={json.dumps(LABELS)}",
]


def avsed(*words: object, cache: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"AVSED_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "avsed.cli", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo data set and a short training on it."""
    folder = tmp_path_factory.mktemp("home")
    generate(
        folder / "data", Recipe(clips=(("weak", 6), ("unlabeled", 4), ("validation", 3), ("test", 3)), duration=2.0)
    )
    avsed("train", folder / "data", "--out", folder / "run", "--seed", 4, *TINY, cache=folder / "cache")
    return folder


def test_check(home: Path) -> None:
    report = json.loads(avsed("check", home / "data", "--json", cache=home / "cache", status=1).stdout)
    assert report["splits"]["weak"]["present"] == 6
    assert report["errors"] > 0  # six clips do not hold all ten classes: labels of the test clips are unknown
    shown = avsed("check", home / "data", cache=home / "cache", status=1).stdout
    assert "unknown label" in shown


def test_extract_goes_on_where_it_stopped(home: Path) -> None:
    labels = f"--set=data.labels={json.dumps(LABELS)}"
    told = json.loads(avsed("extract", home / "data", labels, "--json", cache=home / "fresh").stdout)
    assert {name: split["extracted"] for name, split in told["splits"].items()} == {
        "weak": 6,
        "unlabeled": 4,
        "validation": 3,
        "test": 3,
    }
    again = json.loads(avsed("extract", home / "data", labels, "--json", cache=home / "fresh").stdout)
    assert all(split["extracted"] == 0 and split["cached"] for split in again["splits"].values())
    assert again["problems"] == []
    assert {name: split["clips"] for name, split in again["splits"].items()} == {
        "weak": 6,
        "unlabeled": 4,
        "validation": 3,
        "test": 3,
    }


def test_extract_takes_several_features_in_one_pass(home: Path, tmp_path: Path) -> None:
    """EfficientNet-Lite0 with random weights, and in a clip without pictures; what is there already is not computed again."""
    from safetensors.torch import save_file

    from avsed.features.efficientnet_lite import EfficientNetLite, _names

    torch.manual_seed(0)
    ours, theirs = EfficientNetLite().state_dict(), {}
    for name, (convolution, norm) in _names().items():
        theirs[f"{convolution}.weight"] = ours[f"{name}.weight"]
        for part, values in (("running_mean", 0.0), ("running_var", 1.0), ("weight", 1.0), ("bias", 0.1)):
            theirs[f"{norm}.{part}"] = torch.full_like(ours[f"{name}.bias"], values)
    save_file(theirs, tmp_path / "eye.safetensors")
    data = tmp_path / "data"
    shutil.copytree(home / "data", data)
    samples = np.sin(np.arange(32000) / 9).astype(np.float32)
    write_clip(data / "clips/test/test_00000.mp4", samples=samples, rate=32000)
    common = [
        f"--set=data.labels={json.dumps(LABELS)}",
        f"--set=extractors.efficientnet-lite0.weights={tmp_path / 'eye.safetensors'}",
        "--set=extractors.efficientnet-lite0.images_per_second=1",
        "--set=threads=1",
    ]
    words = ["extract", data, *common, "--features", "logmel", "efficientnet-lite0", "--json"]
    told = json.loads(avsed(*words, cache=tmp_path / "cache", status=1).stdout)
    assert told["extractors"] == ["logmel", "efficientnet-lite0"] and told["device"].startswith("cpu")
    assert {name: split["extracted"] for name, split in told["splits"].items()} == {
        "weak": 6,
        "unlabeled": 4,
        "validation": 3,
        "test": 3,
    }
    assert told["splits"]["weak"]["network_waited"] > 0 and told["splits"]["weak"]["failures"] == []
    (lacking,) = told["splits"]["test"]["absent"]["video"]
    assert (lacking["clip"], lacking["message"]) == ("test_00000.mp4", "has no video stream")
    counts = {len(list(key.glob("*/*.safetensors"))) for key in (tmp_path / "cache/features").glob("[le]*-*")}
    assert counts == {16, 15}
    words = ["extract", data, "--features=spectral", "visual", *common, "--set=fusion.visual=efficientnet-lite0"]
    again = avsed(*words, "--set=fusion.missing=drop", cache=tmp_path / "cache").stdout
    assert "test: 0 extracted, 3 cached, 0 failed, 0 mended, 1 without pictures" in again
    assert "test_00000.mp4: has no video stream" in again


def test_a_training_leaves_what_explains_it(home: Path) -> None:
    run = home / "run"
    for name in ("config.yaml", "run.json", "log.jsonl", "checkpoint.safetensors", "system.safetensors"):
        assert (run / name).is_file(), name
    about = json.loads((run / "run.json").read_text())
    assert about["splits"]["weak"]["clips"] == 6
    assert len(about["splits"]["weak"]["sha256"]) == 64
    assert about["steps"] == 6
    assert about["seconds"] > 0
    assert about["parameters"] == 1_037_690
    assert about["versions"]["avsed"]
    assert about["device"].startswith("cpu")
    kinds = [json.loads(line)["kind"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert kinds.count("validation") == 2
    assert "train" in kinds


def test_the_same_training_again_is_done_and_another_is_refused(home: Path) -> None:
    (home / "run" / f".checkpoint-{'0' * 32}.safetensors").touch()
    from safetensors.torch import load_file

    before = load_file(home / "run/system.safetensors")
    avsed("train", home / "data", "--out", home / "run", "--seed", 4, *TINY, cache=home / "cache")
    after = load_file(home / "run/system.safetensors")
    assert all(after[name].equal(value) for name, value in before.items())
    assert not list((home / "run").glob(".checkpoint*"))
    refused = avsed("train", home / "data", "--out", home / "run", "--seed", 5, *TINY, cache=home / "cache", status=2)
    assert "another configuration (seed: 4 -> 5)" in refused.stderr
    refused = avsed("train", home / "data", "--out", home / "data", *TINY, cache=home / "cache", status=2)
    assert "neither empty nor a training" in refused.stderr


def test_evaluate_and_score_agree(home: Path) -> None:
    done = avsed("evaluate", home / "run", "--json", "--set=postprocessing.threshold=0.3", cache=home / "cache")
    told = json.loads(done.stdout)
    assert set(told["headline"]) == {"clip_micro_f1", "segment_micro_f1", "event_macro_f1"}
    assert told["fingerprint"]["clips"] == 3
    assert told["postprocessing"]["threshold"] == 0.3
    assert set(told["event"]["classes"]) == set(LABELS)
    scored = avsed(
        "score",
        home / "data/metadata/test.tsv",
        home / "run/results/test.tsv",
        "--durations",
        home / "data/metadata/test_durations.tsv",
        f"--set=data.labels={json.dumps(LABELS)}",
        "--json",
        cache=home / "cache",
    )
    from_files = json.loads(scored.stdout)
    for kind in ("segment", "event"):
        for ours, theirs in (("correct", "correct"), ("estimated", "estimated"), ("reference", "reference")):
            assert told[kind]["micro"][ours] == from_files[kind]["micro"][theirs]
    assert from_files["tags_from_events"]["definition"]["name"] == "tags from events"
    assert set(from_files["headline"]) == {"tags_from_events_micro_f1", "segment_micro_f1", "event_macro_f1"}
    assert from_files["fingerprint"]["sha256"] == told["fingerprint"]["sha256"]  # the same clips and labels
    assert from_files["metrics"] == told["metrics"]
    assert from_files["versions"] == told["versions"]
    shown = avsed("evaluate", home / "run", cache=home / "cache").stdout
    assert "event-based macro F1" in shown


def test_predict_writes_what_it_finds_and_names_what_it_cannot_read(home: Path) -> None:
    broken = home / "broken.mp4"
    broken.write_bytes(b"nothing")
    clip = home / "data/clips/test/test_00000.mp4"
    out = home / "out"
    done = avsed(
        "predict",
        home / "run",
        clip,
        broken,
        "--out",
        out,
        "--scores",
        "--threshold",
        0.2,
        "--json",
        cache=home,
        status=1,
    )
    told = json.loads(done.stdout)
    assert [r["file"] for r in told["recordings"]] == [str(clip)]
    assert [f["file"] for f in told["failures"]] == [str(broken)]
    assert told["frame_period"] == pytest.approx(4 * 366 / 22100)
    events = read_events(out / "events.tsv")
    assert set(events) == {str(clip)}
    assert (out / "tags.tsv").is_file()
    assert [scores.clip for scores in read_scores(out / "scores.safetensors")] == [str(clip)]
    assert json.loads((out / "predictions.json").read_text()) == told
    lines = avsed("predict", home / "run", clip, cache=home).stdout.splitlines()
    assert lines[0] == "filename\tonset\toffset\tevent_label"
    assert all(line.startswith(f"{clip}\t") and line.count("\t") == 3 for line in lines[1:])
    assert len(lines) > 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "absent", "--out", "x"], "absent: no such folder"),
        (["check", "absent"], "absent: no such folder"),
        (["extract", "absent"], "absent: no such folder"),
        (["extract", "data", "--features", "logmel", "vgish"], "'vgish' is unknown (did you mean 'vggish'?)"),
        (["extract", "data", "--features", "efficientnet-lite0", "--device", "cuda:7"], "cuda:7"),
        (["extract", "data", "--features", "vggish", "--set=extractors.vggish.weights=/x.pt"], "/x.pt: cannot be read"),
        (["evaluate", "absent"], "absent: not the folder of a training"),
        (["predict", "absent", "a.mp4"], "absent"),
        (["score", "a.tsv", "b.tsv"], "a.tsv: cannot read"),
        (["train", "data", "--out", "x", "--set", "training.step=3"], "did you mean 'steps'"),
        (["train", "data", "--out", "x", "--device", "cuda:7"], "cuda:7"),
        (["train", "data", "--out", "x", "--device", "tpu"], "device 'tpu' is unknown"),
        (["evaluate", "run", "--split", "tset"], "no split 'tset'"),
        (["evaluate", "run", "--set", "training.steps=3"], "only postprocessing, metrics and data"),
        (["predict", "run", "data/metadata"], "no recordings found"),
        (["predict", "run", "data/metadata/test.tsv", "--scores"], "--scores needs --out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_ends_in_one_line(home: Path, words: list[str], message: str) -> None:
    places = [str(home / word) if word in ("data", "run") or word.startswith("data/") else word for word in words]
    done = avsed(*places, cache=home / "cache", status=2)
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.splitlines()[-1].startswith("avsed: error: ")


@pytest.mark.parametrize("words", [["stray"], ["--workers", "1", "stray"], ["--features"]])
def test_stray_words_and_empty_options_are_refused(home: Path, words: list[str]) -> None:
    done = avsed("extract", home / "data", *words, cache=home / "cache", status=2)
    assert done.stdout == "" and ("unexpected extra argument" in done.stderr or "requires an argument" in done.stderr)


def test_the_timeline_example_draws_a_picture(home: Path, tmp_path: Path) -> None:
    example = Path(__file__).parents[1] / "examples/timeline.py"
    clip, table = home / "data/clips/test/test_00001.mp4", home / "data/metadata/test.tsv"
    done = subprocess.run(
        [sys.executable, example, home / "run", clip, tmp_path / "out.png", table],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_an_unfinished_training_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text((home / "run/config.yaml").read_text())
    done = avsed("evaluate", tmp_path, cache=home / "cache", status=2)
    assert "the training has not ended" in done.stderr


def test_help_is_light() -> None:
    """Help and version import none of the heavy packages: that is what keeps them fast."""
    code = (
        "import sys; sys.argv = ['avsed', '--help']\n"
        "import avsed.cli\n"
        "try: avsed.cli.main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'numba', 'av', 'pydantic', 'yaml', 'tensorboard', 'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("check", "extract", "train", "evaluate", "tune", "score", "study", "predict", "demo"):
        assert command in done.stdout
