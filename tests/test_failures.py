"""What the commands do when something is wrong, function by function: nothing is lost, nothing passes for something else."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from runs import TWO_STEPS as SMALL

from avsed import cli, commands
from avsed.data.demo import LABELS, Recipe, generate
from avsed.detector import Detector
from avsed.errors import AnnotationError, AvsedError, CheckpointError, MediaError
from avsed.run import Run
from avsed.scores import read_scores
from avsed.tables import read_events
from avsed.training.loop import Interrupted


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo data set and a training of two steps."""
    folder = tmp_path_factory.mktemp("home")
    clips = (("weak", 4), ("unlabeled", 1), ("validation", 2), ("test", 3))
    generate(folder / "data", Recipe(clips=clips, duration=1.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVSED_CACHE", str(folder / "cache"))
        commands.train(folder / "data", out=folder / "run", settings=SMALL)
    return folder


@pytest.fixture
def data(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data set that a test may spoil; features are computed once."""
    monkeypatch.setenv("AVSED_CACHE", str(home / "cache"))
    return Path(shutil.copytree(home / "data", tmp_path / "data"))


def relabel(table: Path) -> None:
    """Let the first clip of a weak table sound of something else."""
    header, first, *rest = table.read_text().splitlines()
    clip, labels = first.split("\t")
    table.write_text("\n".join([header, f"{clip}\t{'Dog' if labels != 'Dog' else 'Cat'}", *rest]) + "\n")


# --- train ---


def test_a_finished_training_is_not_continued_on_other_data(data: Path, tmp_path: Path, home: Path) -> None:
    out = Path(shutil.copytree(home / "run", tmp_path / "run"))
    before = {
        file.name: file.read_bytes() for file in (out / "run.json", out / "system.safetensors", out / "config.yaml")
    }
    relabel(data / "metadata/weak.tsv")
    with pytest.raises(CheckpointError, match=r"began with other data \(splits\.weak\.sha256: "):
        commands.train(data, out=out, settings=SMALL)
    assert before == {name: (out / name).read_bytes() for name in before}


def test_recordings_that_were_exchanged_are_noticed(data: Path, tmp_path: Path, home: Path) -> None:
    out = Path(shutil.copytree(home / "run", tmp_path / "run"))
    shutil.copy(data / "clips/weak/weak_00000.mp4", data / "clips/weak/weak_00001.mp4")
    with pytest.raises(CheckpointError, match=r"began with other data \(recordings: "):
        commands.train(data, out=out, settings=SMALL)


def test_a_training_that_failed_before_it_began_can_be_corrected(data: Path, tmp_path: Path) -> None:
    out, clip = tmp_path / "run", data / "clips/weak/weak_00000.mp4"
    clip.rename(tmp_path / "away.mp4")
    with pytest.raises(AnnotationError, match="weak_00000"):
        commands.train(data, out=out, settings=SMALL)
    (tmp_path / "away.mp4").rename(clip)
    commands.train(data, out=out, settings=[*SMALL, "seed=3"])
    assert Run(out).trained_system().is_file()


def test_the_run_s_data_is_found_from_anywhere(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(data.parent)
    commands.train("data", out="run", settings=SMALL)
    monkeypatch.chdir("/")
    assert commands.evaluate(tmp_path / "run").about["fingerprint"]["clips"] == 3


def test_clips_that_cannot_be_read_are_an_error_or_left_out_and_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("weak/weak_00001", "test/test_00001"):
        (data / f"clips/{name}.mp4").write_bytes(b"nothing")
    with pytest.raises(MediaError, match=r"weak_00001.*'avsed extract' lists all"):
        commands.train(data, out=tmp_path / "run", settings=SMALL)
    commands.train(data, out=tmp_path / "run", settings=[*SMALL, "data.missing=drop"])
    assert "1 of 4 recordings cannot be read and are left out: weak_00001.mp4" in capsys.readouterr().err
    weak = Run(tmp_path / "run").about()["splits"]["weak"]
    assert (weak["clips"], weak["left_out"]) == (3, ["weak_00001.mp4"])
    found = commands.evaluate(tmp_path / "run")
    assert found.clip.counts.clips == ("test_00000.mp4", "test_00002.mp4")
    assert found.about["fingerprint"]["left_out"] == ["test_00001.mp4"]
    for clip in data.glob("clips/weak/*"):
        clip.write_bytes(b"nothing")
    with pytest.raises(MediaError, match="4 of 4 recordings cannot be read"):
        commands.train(data, out=tmp_path / "other", settings=[*SMALL, "data.missing=drop"])


@pytest.mark.parametrize("units", [True, False])
def test_half_precision_that_would_be_slow_is_told(
    units: bool, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units}, raising=False)
    commands.train(data, out=tmp_path / "run", settings=[*SMALL, "training.precision=bf16"], device="cpu")
    assert ("bf16 is slow on this device" in capsys.readouterr().err) == (not units)


def test_validation_clips_are_looked_at_before_the_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*SMALL, "training.validations=1", "data.missing=drop"]
    table, weak = data / "metadata/validation.tsv", "filename\tevent_labels\nvalidation_00000.mp4\tDog\n"
    strong = table.read_text()
    table.write_text(weak)
    with pytest.raises(AnnotationError, match=r"validation\.tsv: scoring needs events with times"):
        commands.train(data, out=tmp_path / "run", settings=settings)
    assert not Run(tmp_path / "run").started
    table.write_text(strong)
    shutil.rmtree(data / "clips/validation")
    assert commands.train(data, out=tmp_path / "run", settings=settings).validation is None
    assert "no clips in 'validation': left out" in capsys.readouterr().err


def test_a_test_split_without_clips_is_named(data: Path, home: Path) -> None:
    shutil.rmtree(data / "clips/test")
    with pytest.raises(AnnotationError, match=r"test\.tsv: no clips to score"):
        commands.evaluate(home / "run", data=data, settings=["data.missing=drop"])
    (data / "metadata/test.tsv").write_text("filename\tonset\toffset\tevent_label\n")
    with pytest.raises(AnnotationError, match=r"test\.tsv: .*no clips"):
        commands.evaluate(home / "run", data=data)


# --- extract ---


def test_extract_lists_what_is_missing_or_unknown(data: Path) -> None:
    labels = SMALL[-1:]
    assert not commands.extract(data, settings=labels, workers=1).failed
    (data / "clips/weak/weak_00000.mp4").unlink()
    relabel(data / "metadata/weak.tsv")
    found = commands.extract(data, settings=labels, workers=1)
    assert found.failed and not found.failures
    assert any("weak_00000" in problem["message"] for problem in found.to_dict()["problems"])
    assert any(isinstance(line, str) and line.startswith("error: ") for line in found.render())
    assert not commands.extract(data, settings=[*labels, "data.missing=drop"], workers=1).failed
    (data / "clips/weak/weak_00001.mp4").write_bytes(b"nothing")
    assert commands.extract(data, settings=[*labels, "data.missing=drop"], workers=1).failed
    (data / "metadata/test.tsv").write_text("filename\tonset\toffset\tevent_label\ntest_00000.mp4\t0\t1\tDgo\n")
    unknown = commands.extract(data, settings=labels, workers=1)
    assert any("unknown label 'Dgo'" in str(line) for line in unknown.render())


# --- predict ---


class Stop(Exception):
    pass


@pytest.fixture
def detect_then(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let the detector raise an error at its second recording."""

    def arrange(error: BaseException) -> None:
        real, calls = Detector.detect, []

        def detect(self: Detector, path: Path) -> object:
            calls.append(path)
            if len(calls) == 2:
                raise error
            return real(self, path)

        monkeypatch.setattr(Detector, "detect", detect)

    return arrange


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stop()], ids=["Ctrl-C", "error"])
def test_what_was_found_is_kept(
    home: Path, tmp_path: Path, detect_then: Callable[[BaseException], None], error: BaseException
) -> None:
    detect_then(error)
    with pytest.raises(type(error)):
        commands.predict(home / "run", [home / "data/clips/test"], out=tmp_path / "out", keep_scores=True)
    (kept,) = read_events(tmp_path / "out/events.tsv")
    assert kept.endswith("test_00000.mp4")
    assert len(json.loads((tmp_path / "out/predictions.json").read_text())["recordings"]) == 1
    assert [scores.clip for scores in read_scores(tmp_path / "out/scores.safetensors")] == [kept]


def test_names_of_recordings(home: Path, tmp_path: Path) -> None:
    """Equal base names stay apart, a file given twice counts once, and a name that tables cannot hold is listed."""
    clip = home / "data/clips/test/test_00000.mp4"
    for folder in "ab":
        (tmp_path / folder).mkdir()
        shutil.copy(clip, tmp_path / folder / "same.mp4")
    odd = tmp_path / "b/tab\there.mp4"
    shutil.copy(clip, odd)
    files = [tmp_path / "a/same.mp4", tmp_path / "b", tmp_path / "a/../a/same.mp4", tmp_path / "b/same.mp4"]
    found = commands.predict(home / "run", files, out=tmp_path / "out", keep_scores=True)
    names = [str(tmp_path / "a/same.mp4"), str(tmp_path / "b/same.mp4")]
    assert [str(d.file) for d in found.detections] == names
    assert list(read_events(tmp_path / "out/events.tsv")) == names
    assert [scores.clip for scores in read_scores(tmp_path / "out/scores.safetensors")] == names
    assert list(found.failures) == [str(odd)]
    assert "tabs" in found.failures[str(odd)]


def test_the_shortest_recording_is_one_sample(home: Path, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "short.wav", [0.5], 44100)
    (found,) = commands.predict(home / "run", [tmp_path / "short.wav"]).detections
    assert found.scores.frames.shape == (1, len(LABELS))


# --- the command line ---


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the command line in this process: exit status and the last line on standard error."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["avsed", *map(str, words)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # which main replaces
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, capsys.readouterr().err.rstrip().rpartition("\n")[2]  # type: ignore[return-value]

    return run


@pytest.mark.parametrize("place", ["file", "file/below"])
@pytest.mark.parametrize("command", ["train", "predict", "demo"])
def test_a_place_that_cannot_be_written_ends_in_one_line(
    run_main: Callable[..., tuple[int, str]], data: Path, home: Path, tmp_path: Path, command: str, place: str
) -> None:
    (tmp_path / "file").touch()
    words = {
        "train": ["train", data, *(f"--set={setting}" for setting in SMALL)],
        "predict": ["predict", home / "run", data / "clips/test/test_00000.mp4"],
        "demo": ["demo", "--device", "cpu"],
    }[command]
    status, line = run_main(*words, "--out", tmp_path / place)
    assert status == 2
    assert line.startswith("avsed: error: ") and str(tmp_path / "file") in line


def test_ctrl_c_is_told_by_the_exit_status(
    run_main: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    def stopped(error: BaseException) -> Callable[..., object]:
        def command(*_: object, **__: object) -> object:
            raise error

        return command

    monkeypatch.setattr(commands, "predict", stopped(KeyboardInterrupt()))
    assert run_main("predict", home / "run", "x")[0] == 130
    monkeypatch.setattr(commands, "train", stopped(Interrupted("run: stopped after step 5", signal.SIGINT)))
    assert run_main("train", home / "data", "--out", "x") == (130, "avsed: run: stopped after step 5")
    monkeypatch.setattr(commands, "train", stopped(AvsedError("wrong")))
    assert run_main("train", home / "data", "--out", "x") == (2, "avsed: error: wrong")
