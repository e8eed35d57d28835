"""A system applied to recordings: the same as evaluation for a clip, windows for more, nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from avsed.config import Config
from avsed.detector import Detector
from avsed.errors import CheckpointError, MediaError
from avsed.features.extractors import describe
from avsed.features.live import Recording
from avsed.features.logmel import LogMel, log_mel
from avsed.features.options import LOGMEL
from avsed.features.sequence import FeatureSequence
from avsed.features.standardise import Standardiser
from avsed.media import Audio, read_audio, write_clip
from avsed.model.batch import Batch
from avsed.model.crnn import Crnn
from avsed.scores import Scores
from avsed.system import System

RATE = 22100


@pytest.fixture(scope="module")
def system() -> System:
    """The paper's network, not trained, but with batch norms that have seen noise, for clips of up to 2 seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = Config()
    model = Crnn(config.model, classes=3, bands=128)
    noise = log_mel(np.random.default_rng(0).normal(size=2 * RATE).astype(np.float32), config.features)
    standardiser = Standardiser(noise.mean(0), np.ones(128, np.float32))
    with torch.no_grad():
        model.classifier.weight.mul_(8)  # so that probabilities differ between frames
        for _ in range(20):
            model(Batch(torch.from_numpy(standardiser.apply(noise))[None, :120]))
    return System(
        config,
        ("a", "b", "c"),
        standardiser,
        model.eval(),
        2 * RATE // 366 + 1,
        {LOGMEL: describe(LogMel(config.features))},
    )


def sound(seconds: float, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 0.7 * t)
    return (0.2 * random.normal(size=len(t)) * swell + 0.3 * np.sin(2 * np.pi * 300 * t * (1 + 0.1 * t))).astype(
        np.float32
    )


@dataclass(frozen=True)
class Heard(Recording):
    """A recording that arrives as blocks of sound, and has no pictures."""

    blocks: Iterator[Audio] = field(default=iter(()))

    def sound(self, rate: int) -> Iterator[Audio]:
        return self.blocks


def score_stream(system: System, name: str, blocks: Iterator[Audio]) -> Scores:
    return Detector(system).score(Heard(Path(name), blocks))


def blocks(samples: np.ndarray, size: int, start: float = 0.0):  # type: ignore[no-untyped-def]
    for begin in range(0, len(samples), size):
        yield Audio(samples[begin : begin + size], RATE, start + begin / RATE)


@pytest.mark.parametrize("seconds", [2.0, 1.3, 0.05, 1 / RATE])
def test_a_clip_is_scored_as_in_evaluation(system: System, seconds: float) -> None:
    samples = sound(seconds)
    streamed = score_stream(system, "x", blocks(samples, 1000, start=0.25))
    features = LogMel(system.config.features).extract(Audio(samples, RATE, 0.25))
    (evaluated,) = system.score(["x"], [{LOGMEL: features}])
    assert np.array_equal(streamed.frames, evaluated.frames)
    assert np.array_equal(streamed.boundaries, evaluated.boundaries)
    assert np.array_equal(streamed.tags, evaluated.tags)
    assert streamed.boundaries[0] == 0.25
    assert streamed.boundaries[-1] == pytest.approx(0.25 + len(samples) / RATE)


def test_a_batch_of_clips_scores_as_each_alone(system: System) -> None:
    extractor = LogMel(system.config.features)
    clips = {str(n): extractor.extract(Audio(sound(s, n), RATE, 0.0)) for n, s in enumerate((0.4, 2.0, 1.1, 0.03, 1.9))}
    together = list(system.score(list(clips), [{LOGMEL: clip} for clip in clips.values()], batch=3))
    assert [scores.clip for scores in together] == list(clips)
    for scores in together:
        (alone,) = system.score([scores.clip], [{LOGMEL: clips[scores.clip]}])
        assert np.abs(alone.frames - scores.frames).max() < 1e-5
        assert np.abs(alone.tags - scores.tags).max() < 1e-5


@pytest.mark.parametrize("seconds", [2.02, 2.9, 3.0, 4.1, 11.7])
def test_a_long_recording_does_not_depend_on_how_it_arrives(system: System, seconds: float) -> None:
    samples = sound(seconds)
    found = [score_stream(system, "x", blocks(samples, size)) for size in (700, RATE, 10**9)]
    for other in found[1:]:
        assert np.array_equal(found[0].boundaries, other.boundaries)
        assert np.abs(found[0].frames - other.frames).max() < 1e-5
    count = -(-(len(samples) // 366 + 1) // 4)
    assert found[0].frames.shape == (count, 3)
    # The last frame ends with the recording, or up to half a hop before it: (4j + 3½) · hop.
    assert found[0].boundaries[-1] == pytest.approx(len(samples) / RATE, abs=0.5 * 366 / RATE + 1e-9)


@pytest.mark.parametrize("seconds", [1.0, 30.0])
def test_threads_change_neither_scores_nor_pytorch(system: System, seconds: float) -> None:
    samples = sound(seconds)
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(score_stream(system, "x", blocks(samples, 50_000)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    assert all(np.array_equal(found[0].frames, other.frames) for other in found)
    assert all(np.array_equal(found[0].tags, other.tags) for other in found)
    assert not system.model.training


def test_an_error_midway_leaves_no_threads_behind(system: System) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield from blocks(sound(20.0), RATE)
        raise MediaError("x.mp4", "it is damaged")

    with pytest.raises(MediaError, match="damaged"):
        score_stream(system, "x", broken())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("windows")]
    noise = np.full(RATE * 20, np.nan, np.float32)  # this error arises in one of the threads
    with pytest.raises(ValueError, match="not finite"):
        score_stream(system, "x", blocks(noise, RATE))


def test_windows_agree_with_the_whole_where_both_see_the_same(system: System) -> None:
    """A recording that repeats itself is scored nearly the same in windows as whole: each frame from its own time."""
    period = 4 * 366
    tile = sound(2.0)[: 30 * period]
    samples = np.concatenate([tile] * 6)
    samples[:: 5 * period] = 0.99  # every window has the same peak, so the same normalisation
    windows = score_stream(system, "x", blocks(samples, 5000)).frames
    features = LogMel(system.config.features).extract(Audio(samples, RATE, 0.0))
    (whole,) = system.score(["x"], [{LOGMEL: features}])
    difference = np.abs(windows - whole.frames)
    assert np.median(difference) < 0.02
    shifted = np.abs(windows[3:] - whole.frames[:-3])
    assert difference.mean() < 0.5 * shifted.mean()


def test_a_saved_system_is_the_same(system: System, tmp_path: Path) -> None:
    system.save(tmp_path / "system.safetensors")
    loaded = System.load(tmp_path / "system.safetensors", device=torch.device("cpu"))
    assert (loaded.labels, loaded.window, loaded.config) == (system.labels, system.window, system.config)
    one, other = (score_stream(s, "x", blocks(sound(1.0), 999)) for s in (system, loaded))
    assert np.array_equal(one.frames, other.frames)


def test_a_file_is_detected_with_its_times(system: System, tmp_path: Path) -> None:
    system.save(tmp_path / "system.safetensors")
    write_clip(tmp_path / "long.mp4", samples=sound(5.0), rate=44100)
    detection = Detector.load(tmp_path / "system.safetensors", device="cpu").detect(tmp_path / "long.mp4")
    duration = read_audio(tmp_path / "long.mp4", rate=RATE).duration
    assert detection.scores.duration == pytest.approx(duration)
    for event in detection.events:
        assert 0 <= event.onset < event.offset <= duration + 1e-9
    told = detection.to_dict()
    assert {tag["label"] for tag in told["tags"]} == set(detection.tags)


@pytest.mark.parametrize("content", [None, b"", b"nonsense", "foreign"])
def test_what_is_no_system_is_named(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "system.safetensors"
    if content == "foreign":
        from safetensors.torch import save_file

        save_file({"x": torch.zeros(1)}, path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"system\.safetensors"):
        Detector.load(path, device="cpu")
    with pytest.raises(CheckpointError, match="not the folder of a training"):
        (tmp_path / "system.safetensors").unlink(missing_ok=True)
        Detector.load(tmp_path, device="cpu")


def test_late_sound_keeps_its_time(system: System) -> None:
    scores = score_stream(system, "x", blocks(sound(6.0), 5000, start=1.5))
    assert scores.boundaries[0] == 1.5
    assert scores.boundaries[-1] == pytest.approx(7.5)
    sequence = FeatureSequence.regular(
        log_mel(sound(1.0), system.config.features), system.config.features, begin=1.5, duration=1.0
    )
    (short,) = system.score(["x"], [{LOGMEL: sequence}])
    assert np.diff(short.boundaries)[1:-1] == pytest.approx(system.period)
