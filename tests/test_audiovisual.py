"""A system that hears and sees, from a folder of videos to events: train, evaluate, predict, and what may be missing."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from test_visual import lite0_state

from avsed import commands
from avsed.data.demo import LABELS, Recipe, generate
from avsed.detector import Detector
from avsed.errors import CheckpointError, ConfigError, MediaError, WeightsError
from avsed.features.efficientat import WIDTHS
from avsed.features.mobilenet import MobileNet
from avsed.run import Run
from avsed.scores import read_scores
from avsed.system import System

INPUTS = "spectral+auditory+visual"
SMALL = (
    "training.steps=2",
    "training.weak_batch=2",
    "training.unlabelled_batch=1",
    "training.validations=1",
    "model={channels: [4], pools: [[4, 128]], hidden: 4, layers: 1}",
    "threads=1",
    f"data.labels={json.dumps(LABELS)}",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo data set, random weights of an ear and an eye, and a training of two steps with both."""
    folder = tmp_path_factory.mktemp("home")
    generate(
        folder / "data",
        Recipe(clips=(("weak", 4), ("unlabeled", 2), ("validation", 2), ("test", 3)), duration=1.5),
    )
    for clip in (folder / "data/clips").rglob("*.mp4"):
        os.utime(clip, (time.time() - 3600,) * 2)  # what has just been written is not taken for known
    torch.manual_seed(0)
    torch.save(MobileNet(WIDTHS["mn01"]).state_dict(), folder / "ear.pt")
    torch.save(lite0_state(), folder / "eye.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVSED_CACHE", str(folder / "cache"))
        commands.train(folder / "data", out=folder / "run", inputs=INPUTS, settings=settings(folder))
        learned = [*settings(folder), "training.steps=4", "fusion.stream_dropout=0.3"]
        commands.train(folder / "data", out=folder / "learned", inputs=INPUTS, missing="learned", settings=learned)
    return folder


def settings(folder: Path) -> list[str]:
    return [
        *SMALL,
        "fusion.auditory=efficientat",
        "fusion.visual=efficientnet-lite0",
        "extractors.efficientat.size=mn01",
        f"extractors.efficientat.weights={folder / 'ear.pt'}",
        f"extractors.efficientnet-lite0.weights={folder / 'eye.pt'}",
        "extractors.efficientnet-lite0.images_per_second=2",
    ]


@pytest.fixture(autouse=True)
def _cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVSED_CACHE", str(home / "cache"))
    torch.set_num_threads(1)


@pytest.fixture
def data(home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(home / "data", tmp_path / "data"))


def without_pictures(path: Path) -> None:
    """Copy the sound of a recording into its place, bit by bit."""
    sound = path.with_suffix(".sound.mp4")
    with av.open(str(path)) as source, av.open(str(sound), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    sound.replace(path)


def test_a_run_says_what_it_rests_on(home: Path) -> None:
    told = Run(home / "run").about()["extractors"]
    assert list(told) == ["logmel", "efficientat", "efficientnet-lite0"]
    for name, file in (("efficientat", "ear.pt"), ("efficientnet-lite0", "eye.pt")):
        assert told[name]["weights"]["file"] == file
        assert len(told[name]["weights"]["sha256"]) == 64
        assert told[name]["weights"]["sha256"] in told[name]["parameters"].values()
        assert told[name]["weights"]["pretrained_on"] == ["not declared"]
    assert System.load(home / "run/system.safetensors", device=torch.device("cpu")).extractors == told


def test_prediction_of_a_clip_is_its_evaluation(home: Path) -> None:
    evaluation = commands.evaluate(home / "run", settings=["data.sources=[AudioSet]"])
    assert evaluation.about["provenance"]["efficientat"]["overlap"] == ["not declared"]
    assert any("†" in part for part in evaluation.render() if isinstance(part, str))
    scores = read_scores(home / "run/scores/test.safetensors")
    detector = Detector.load(home / "run")
    for own in scores:
        live = detector.detect(home / "data/clips/test" / own.clip).scores
        np.testing.assert_allclose(live.frames, own.frames, atol=1e-5)
        np.testing.assert_allclose(live.boundaries, own.boundaries, atol=1e-4)
        np.testing.assert_allclose(live.tags, own.tags, atol=1e-5)


def test_weights_may_move_but_not_change(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = next((home / "data/clips/test").iterdir())
    expected = Detector.load(home / "run").detect(clip).scores.frames
    try:
        (home / "ear.pt").rename(tmp_path / "ear.pt")
        with pytest.raises(WeightsError, match=r"ear\.pt"):
            Detector.load(home / "run")
        monkeypatch.setenv("AVSED_WEIGHTS", str(tmp_path))
        assert np.array_equal(Detector.load(home / "run").detect(clip).scores.frames, expected)
        torch.save(MobileNet(WIDTHS["mn01"]).state_dict(), home / "ear.pt")
        with pytest.raises(WeightsError, match="SHA-256"):
            Detector.load(home / "run")
        commands.evaluate(home / "run", split="validation")  # needs features only, and the store has them
    finally:
        shutil.move(tmp_path / "ear.pt", home / "ear.pt")


def test_features_of_another_version_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from avsed.features import efficientat

    fields = efficientat.EfficientAT.__dataclass_fields__
    monkeypatch.setattr(fields["version"], "default", 2)
    system = System.load(home / "run/system.safetensors", device=torch.device("cpu"))
    told = {name: dict(about) for name, about in system.extractors.items()}
    told["efficientat"]["key"] = "efficientat-0-0123456789abcdef"
    with pytest.raises(CheckpointError, match=r"efficientat-0-0123456789abcdef.*train again"):
        Detector(replace(system, extractors=told))


def test_a_clip_without_pictures_is_an_error_left_out_or_learned(
    home: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for clip in ("weak/weak_00001.mp4", "unlabeled/unlabeled_00000.mp4", "test/test_00001.mp4"):
        without_pictures(data / "clips" / clip)
    given = {"inputs": INPUTS, "settings": settings(home)}
    with pytest.raises(MediaError, match=r"1 of 4 .*weak_00001\.mp4: has no video stream.*fusion\.missing=drop"):
        commands.train(data, out=tmp_path / "run", **given)  # type: ignore[arg-type]
    commands.train(data, out=tmp_path / "run", missing="drop", **given)  # type: ignore[arg-type]
    assert "are left out: weak_00001.mp4" in capsys.readouterr().err
    about = Run(tmp_path / "run").about()["splits"]
    assert (about["weak"]["clips"], about["weak"]["left_out"]) == (3, ["weak_00001.mp4"])
    assert about["unlabeled"]["clips"] == 1
    assert len(commands.evaluate(tmp_path / "run").clip.counts.clips) == 2

    commands.train(data, out=tmp_path / "learned", missing="learned", **given)  # type: ignore[arg-type]
    assert Run(tmp_path / "learned").about()["splits"]["weak"]["clips"] == 4
    assert len(commands.evaluate(tmp_path / "learned").clip.counts.clips) == 3
    blind = data / "clips/test/test_00001.mp4"
    own = next(s for s in read_scores(tmp_path / "learned/scores/test.safetensors") if s.clip == blind.name)
    live = Detector.load(tmp_path / "learned").detect(blind).scores
    np.testing.assert_allclose(live.frames, own.frames, atol=1e-5)
    found = commands.predict(tmp_path / "run", [blind])  # this one has learned nothing for it
    assert list(found.failures.values()) == ["has no video stream"]


def test_a_damaged_clip_without_pictures_is_left_out_once(home: Path, data: Path, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(32_000, np.float32), 16_000)
    (data / "clips/weak/weak_00001.mp4").write_bytes((tmp_path / "a.wav").read_bytes()[:30_000])  # cut short
    given = [*settings(home), "data.missing=drop"]
    commands.train(data, out=tmp_path / "run", inputs=INPUTS, settings=given)
    weak = Run(tmp_path / "run").about()["splits"]["weak"]
    assert (weak["clips"], weak["left_out"]) == (3, ["weak_00001.mp4"])


def test_a_model_that_has_learned_it_takes_sound_alone(home: Path, data: Path) -> None:
    clip = data / "clips/test/test_00000.mp4"
    detector = Detector.load(home / "learned")
    seen = detector.detect(clip).scores.frames
    without_pictures(clip)
    heard = detector.detect(clip).scores.frames
    assert heard.shape == seen.shape
    assert not np.allclose(heard, seen)


def test_a_stream_that_no_training_clip_has_is_an_error(home: Path, data: Path, tmp_path: Path) -> None:
    for clip in data.glob("clips/*/*.mp4"):
        without_pictures(clip)
    with pytest.raises(MediaError, match="no training clip has what efficientnet-lite0 takes"):
        commands.train(data, out=tmp_path / "run", inputs=INPUTS, missing="learned", settings=settings(home))


@pytest.mark.parametrize(("run", "missing"), [("run", "learned"), ("learned", "drop"), ("learned", "error")])
def test_what_was_learned_is_not_changed_in_evaluation(home: Path, run: str, missing: str) -> None:
    with pytest.raises(ConfigError, match=f"--missing {missing}"):
        commands.evaluate(home / run, missing=missing)
    with pytest.raises(ConfigError, match="'error', 'drop' or 'learned', got 'never'"):
        commands.evaluate(home / run, missing="never")


def test_eyes_alone_make_a_system(home: Path, tmp_path: Path) -> None:
    commands.train(home / "data", out=tmp_path / "run", inputs="visual", settings=settings(home))
    system = System.load(tmp_path / "run/system.safetensors", device=torch.device("cpu"))
    assert system.standardiser is None and system.model.convolutions is None
    commands.evaluate(tmp_path / "run")
    own = read_scores(tmp_path / "run/scores/test.safetensors")[0]
    clip = home / "data/clips/test" / own.clip
    np.testing.assert_allclose(Detector.load(tmp_path / "run").detect(clip).scores.frames, own.frames, atol=1e-5)


def test_ears_alone_score_a_long_recording(home: Path, tmp_path: Path) -> None:
    from avsed.media import write_clip

    commands.train(home / "data", out=tmp_path / "run", inputs="auditory", settings=settings(home))
    system = System.load(tmp_path / "run/system.safetensors", device=torch.device("cpu"))
    samples = 0.1 * np.random.default_rng(0).normal(size=32_000 * 18).astype(np.float32)
    write_clip(tmp_path / "long.mp4", samples=samples, rate=32_000)
    scores = Detector(replace(system, window=604)).detect(tmp_path / "long.mp4").scores
    assert scores.boundaries[-1] == pytest.approx(18.0, abs=0.05)
    assert np.isfinite(scores.frames).all()


def test_a_long_recording_is_seen_and_heard_window_by_window(home: Path, tmp_path: Path) -> None:
    """Several windows: frames cover the recording, and each window's pictures are those of its own time."""
    from avsed.media import write_clip

    rate, seconds = 32_000, 7.0
    samples = 0.1 * np.random.default_rng(0).normal(size=round(rate * seconds)).astype(np.float32)
    images = [np.full((64, 64, 3), 30 * (n // 10), np.uint8) for n in range(70)]
    write_clip(tmp_path / "long.mp4", samples=samples, rate=rate, images=images, fps=10)
    detector = Detector.load(home / "run")
    one = detector.detect(tmp_path / "long.mp4").scores
    assert one.boundaries[-1] == pytest.approx(seconds, abs=0.03)
    assert np.isfinite(one.frames).all()
    torch.set_num_threads(3)
    try:
        np.testing.assert_array_equal(detector.detect(tmp_path / "long.mp4").scores.frames, one.frames)
    finally:
        torch.set_num_threads(1)


def test_rows_by_number_need_the_model_s_pace(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"efficientat.*320 ms"):
        commands.train(
            home / "data", out=tmp_path / "run", inputs=INPUTS, settings=[*settings(home), "fusion.alignment=index"]
        )


def test_the_demo_shows_what_the_borrowed_features_added(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import avsed.demo
    from avsed.features import weights as known

    real, here = known.look, {"aisfx": None, "efficientnet-lite0-imagenet": home / "eye.pt"}
    monkeypatch.setattr(known, "look", lambda own, given=None: here.get(own.name, real(own, given=given)))
    keys = [key for key in settings(home) if not key.startswith(("training.steps", "threads", "data."))]
    monkeypatch.setattr(avsed.demo, "QUICK", ("training.steps=2", *keys))
    monkeypatch.setattr(avsed.demo, "QUICK_CLIPS", (("weak", 3), ("unlabeled", 1), ("validation", 1), ("test", 2)))
    found = avsed.demo.demo(tmp_path / "demo", quick=True, threads=1)
    assert list(found.evaluations) == ["spectral", "spectral+visual"]
    assert found.unavailable == ("aisfx",)
    assert (tmp_path / "demo/runs/spectral+visual/results/test.json").is_file()
    words = "\n".join(part for part in found.render() if isinstance(part, str))
    assert "avsed weights get aisfx" in words and "runs/spectral+visual" in words


def test_the_demo_s_settings_are_named_in_any_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from avsed.demo import _choose
    from avsed.features import weights as known
    from avsed.study.paper import SETTINGS

    monkeypatch.setattr(known, "find", lambda own: home / "eye.pt")
    assert _choose(["visual+spectral,auditory", "spectral+visual"]) == (["spectral+visual", "auditory"], ())
    assert _choose(["visual,all"])[0] == ["visual", *(name for name in SETTINGS if name != "visual")]
    with pytest.raises(ConfigError, match="--settings foo: unknown"):
        _choose(["all", "foo"])
