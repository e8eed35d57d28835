"""Strongly labelled clips in training, with augmentation and other encoders: targets, batches, loss, and whole trainings."""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runs import train_loop

from avsed.annotations import Event
from avsed.config import ModelConfig, TrainingConfig, load_config
from avsed.data.bank import FeatureBank, StreamBank
from avsed.data.clips import frame_targets
from avsed.detector import Detector
from avsed.errors import AnnotationError, ConfigError
from avsed.features.sequence import FeatureSequence
from avsed.media import write_clip
from avsed.model.batch import Batch
from avsed.model.crnn import Crnn, Output
from avsed.run import Run
from avsed.timeline import FrameGrid, frames_of_event
from avsed.training.batches import Batches, StrongClips, TrainingClips
from avsed.training.estimate import estimate
from avsed.training.loop import Interrupted
from avsed.training.objective import Losses, cross_entropy, frame_cross_entropy, objective
from avsed.training.options import AugmentationConfig, FiltersConfig, MasksConfig, MixupConfig, ShiftConfig
from avsed.training.step import MeanTeacher
from avsed.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

AUGMENTED = AugmentationConfig(
    shift=ShiftConfig(frames=2),
    mixup=MixupConfig(tags="max"),
    filters=FiltersConfig(width=1),
    masks=MasksConfig(time=2, band=2),
    teacher="own",
)

GRID = FrameGrid(start=-0.05, period=0.1, count=11, stop=1.0)  # boundaries 0, 0.05, 0.15, …, 0.95, 1.0


@pytest.mark.parametrize(
    ("onset", "offset", "frames"),
    [
        (0.0, 1.0, (0, 11)),
        (0.11, 0.34, (2, 4)),  # 0.11 is nearer to 0.15, 0.34 to 0.35
        (0.09, 0.36, (1, 4)),
        (0.16, 0.18, (2, 3)),  # no boundary within: the frame around its middle
        (0.13, 0.18, (2, 3)),
        (0.97, 0.98, (10, 11)),
        (0.5, 7.0, (5, 11)),  # past the end
        (1.0, 2.0, (0, 0)),
        (1.5, 2.0, (0, 0)),
    ],
)
def test_an_event_is_in_the_frames_between_the_nearest_boundaries(
    onset: float, offset: float, frames: tuple[int, int]
) -> None:
    assert frames_of_event(GRID, onset, offset) == slice(*frames)


@given(st.floats(0, 0.99), st.floats(0.001, 1))
def test_frames_that_an_event_covers_by_more_than_half_are_its_own(onset: float, length: float) -> None:
    offset = min(1.0, onset + length)
    chosen = frames_of_event(GRID, onset, offset)
    edges = GRID.boundaries
    covered = np.minimum(edges[1:], offset) - np.maximum(edges[:-1], onset)
    inside = np.zeros(11, bool)
    inside[chosen] = True
    assert inside.any()
    if inside.sum() > 1:
        half = np.diff(edges) / 2
        assert inside[covered > half + 1e-9].all() and not inside[covered < half - 1e-9].any()


def test_targets_follow_the_events() -> None:
    events = [Event(0.1, 0.35, "b"), Event(0.3, 0.5, "b"), Event(0.9, 1.0, "a"), Event(2.0, 3.0, "a")]
    targets = frame_targets(events, GRID, ["a", "b", "c"])
    assert targets.shape == (11, 3)
    assert [np.flatnonzero(column).tolist() for column in targets.T] == [[10], [1, 2, 3, 4], []]


def test_the_frames_cross_entropy_is_the_mean_over_real_frames() -> None:
    torch.manual_seed(0)
    probabilities, targets = torch.rand(3, 5, 2), torch.rand(3, 5, 2)
    lengths = [5, 2, 3]
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    rows = [(probabilities[n, :count], targets[n, :count]) for n, count in enumerate(lengths)]
    expected = cross_entropy(*(torch.cat(values) for values in zip(*rows, strict=True)))
    torch.testing.assert_close(frame_cross_entropy(probabilities, targets, mask), expected)
    # Of the objective it is the part of the strong clips: here the second of two with tags, of three.
    output = Output(probabilities * mask[:, :, None], torch.rand(3, 2), mask)
    tags = torch.tensor([[1.0, 0], [0, 1]])
    config = TrainingConfig(strong_weight=0.7)
    losses = objective(output, output, tags, config, targets=targets[1:2] * mask[1:2, :, None])
    assert losses.strong is not None
    torch.testing.assert_close(losses.strong, cross_entropy(probabilities[1, :2], targets[1, :2]))
    torch.testing.assert_close(losses.tagging, cross_entropy(output.clips[:2], tags))
    assert losses.total.item() == pytest.approx(losses.tagging.item() + 0.7 * losses.strong.item())
    assert objective(output, output, tags, config).strong is None


def bank(lengths: list[int], seed: int) -> FeatureBank:
    generator = np.random.default_rng(seed)
    rows = [
        FeatureSequence(generator.normal(size=(n, 8)).astype(np.float32), np.arange(n) * 0.1, 0, n) for n in lengths
    ]
    loads: list[Callable[[], FeatureSequence]] = [lambda s=s: s for s in rows]  # type: ignore[misc]
    device = torch.device("cpu")
    spectra = StreamBank(loads, lambda _, s: (s.values, np.arange(s.rows)), dims=8, device=device, rows=sum(lengths))
    return FeatureBank(spectra, {}, lengths, time_pool=4)


def clips() -> TrainingClips:
    generator = np.random.default_rng(3)
    lengths = [12, 30, 21]
    targets = [generator.random((-(-n // 4), 3)) < 0.5 for n in lengths]
    tags = torch.tensor(np.array([x.any(0) for x in targets]), dtype=torch.float32)
    weak = torch.tensor(generator.integers(0, 2, (5, 3)), dtype=torch.float32)
    return TrainingClips(
        bank([9, 16, 32, 20, 11], 0), weak, bank([24, 13, 32, 8], 1), StrongClips(bank(lengths, 2), tags, targets)
    )


def test_a_batch_holds_weak_strong_and_unlabelled_clips_in_this_order() -> None:
    data = clips()
    config = TrainingConfig(weak_batch=2, strong_batch=2, unlabelled_batch=3)
    batch, tags, targets = Batches(data, config, seed=1, time_pool=4)(7)
    assert batch.clips == 7 and tags.shape == (4, 3) and targets is not None and batch.lengths is not None
    assert targets.shape == (2, batch.model_frames(4), 3) and targets.dtype == torch.float32
    assert data.strong is not None
    for row, length in enumerate(batch.lengths[2:4].tolist()):
        clip = [12, 30, 21].index(length)
        assert torch.equal(tags[2 + row], data.strong.tags[clip])
        own = torch.from_numpy(data.strong.targets[clip]).float()
        assert torch.equal(targets[row, : len(own)], own) and not targets[row, len(own) :].any()
    # Without clips with events, the others are what they were.
    plain = Batches(data, config.model_copy(update={"strong_batch": 0}), seed=1, time_pool=4)(7)
    assert plain.targets is None
    assert torch.equal(plain.tags, tags[:2])
    assert plain.batch.lengths is not None
    assert plain.batch.lengths.tolist() == batch.lengths[[0, 1, 4, 5, 6]].tolist()


def trainer(config: TrainingConfig, convolution: str, sequence: str) -> MeanTeacher:
    torch.manual_seed(1)
    model = ModelConfig.model_validate(
        {"channels": (4, 4, 8), "pools": ((2, 2), (2, 2), (1, 2)), "hidden": 6}
        | {"attention": {"layers": 1, "width": 8, "heads": 2, "feedforward": 12, "kernel": 3}}
        | {"convolution": convolution, "sequence": sequence}
    )
    return MeanTeacher(Crnn(model, classes=3, bands=8), config, seed=1, deviation=np.ones(8, np.float32))


@pytest.mark.parametrize(
    ("convolution", "sequence"),
    [("paper", "gru"), ("gated", "transformer"), ("paper", "conformer")],
    ids=["paper", "gated transformer", "conformer"],
)
def test_an_interrupted_training_ends_in_the_same_weights_bit_for_bit(
    tmp_path: Path, convolution: str, sequence: str
) -> None:
    config = TrainingConfig(
        steps=16, weak_batch=2, strong_batch=2, unlabelled_batch=2, validations=3, augmentation=AUGMENTED
    )
    (tmp_path / "whole").mkdir()
    whole = trainer(config, convolution, sequence)
    train_loop(whole, clips(), Run(tmp_path / "whole"), validate=None)

    def stop() -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        return {}

    (tmp_path / "parts").mkdir()
    run, ended = Run(tmp_path / "parts"), trainer(config, convolution, sequence)
    for _ in range(2):
        with pytest.raises(Interrupted):
            train_loop(ended, clips(), run, validate=stop)
        ended = trainer(config, convolution, sequence)
    train_loop(ended, clips(), run, validate=None)
    for network in ("student", "teacher"):
        states = (getattr(one, network).state_dict() for one in (whole, ended))
        for (name, value), other in zip(next(states).items(), next(states).values(), strict=True):
            assert torch.equal(value, other), name
    records = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert all(math.isfinite(record["strong"]) for record in records if record["kind"] == "train")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: what a step does there is not tested")
@pytest.mark.parametrize("sequence", ["transformer", "conformer"])
def test_no_augmented_step_waits_for_the_gpu(sequence: str) -> None:
    config = TrainingConfig(
        steps=10, weak_batch=2, strong_batch=2, unlabelled_batch=2, precision="bf16", augmentation=AUGMENTED
    )
    one = trainer(config, "gated", sequence)
    one = MeanTeacher(one.student.cuda(), config, seed=1, deviation=np.ones(8, np.float32))
    steps = [Batches(clips(), config, seed=1, time_pool=4)(number) for number in range(2)]
    moved = [
        (step.batch._replace(spectra=step.batch.spectra.cuda()), step.tags.cuda(), step.targets.cuda())
        for step in steps
        if step.batch.spectra is not None and step.targets is not None
    ]
    one.step(0, *moved[0])
    try:
        torch.cuda.set_sync_debug_mode("error")
        losses = one.step(1, *moved[1])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(losses.total)


def test_targets_of_frames_are_learned() -> None:
    config = TrainingConfig(
        steps=80, ramp=0, decay=1, learning_rate=0.02, weak_batch=1, strong_batch=3, unlabelled_batch=0
    )
    one = trainer(config, "paper", "transformer")
    batches = Batches(clips(), config, seed=1, time_pool=4)
    losses = [one.step(number, *batches(number)).strong for number in range(80)]
    found = np.array([float(loss) for loss in losses if loss is not None])
    assert len(found) == 80
    assert found[-10:].mean() < 0.75 * found[:5].mean()


def test_a_split_of_clips_with_events_must_be_named_and_not_scored_on() -> None:
    with pytest.raises(ConfigError, match=r"strong_batch is 4, but data\.strong names no split"):
        load_config(None, ["training.strong_batch=4"])
    for role in ("validation", "test"):
        with pytest.raises(ConfigError, match=rf"data\.strong and data\.{role} are both '{role}'"):
            load_config(None, ["training.strong_batch=4", f"data.strong={role}"])
        for part in ("weak", "unlabelled"):
            with pytest.raises(ConfigError, match=rf"data\.{part} and data\.{role} are both '{role}'"):
                load_config(None, [f"data.{part}={role}"])
    assert load_config(None, ["training.strong_batch=4", "data.strong=strong"]).data.strong == "strong"


SETTINGS = [
    "features={rate: 8000, window: 512, hop: 256, bands: 8, highest: 4000}",
    "model={channels: [4, 8], pools: [[2, 2], [2, 4]], convolution: gated, sequence: conformer}",
    "model.attention={layers: 1, width: 8, heads: 2, feedforward: 12, kernel: 3}",
    "training={steps: 12, weak_batch: 2, strong_batch: 2, unlabelled_batch: 0, validations: 1}",
    "training.augmentation={shift: {}, mixup: {}, masks: {time: 4, band: 2}, filters: {width: 1}}",
    "data.strong=strong",
    "device=cpu",
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Noise (a) and a tone (b): three weakly and three strongly labelled clips, two for validation."""
    monkeypatch.setenv("AVSED_CACHE", str(tmp_path / "cache"))
    root, random = tmp_path / "data", np.random.default_rng(0)
    (root / "clips").mkdir(parents=True)
    events: dict[str, str] = {}
    for number in range(8):
        sound = 0.01 * random.normal(size=12_000)
        onset, label = 0.25 + 0.05 * number, "ab"[number % 2]
        place = slice(round(8000 * onset), round(8000 * (onset + 0.5)))
        sound[place] += 0.5 * (random.normal(size=4000) if label == "a" else np.sin(np.arange(4000) * 0.4))
        write_clip(root / f"clips/{number}.wav", samples=sound.astype(np.float32), rate=8000, audio_codec="pcm_s16le")
        events[f"{number}.wav"] = f"{number}.wav\t{onset:.2f}\t{onset + 0.5:.2f}\t{label}\n"
    header = "filename\tonset\toffset\tevent_label\n"
    (root / "weak.tsv").write_text("filename\tevent_labels\n0.wav\ta\n1.wav\tb\n2.wav\ta\n")
    (root / "strong.tsv").write_text(header + "".join(events[f"{n}.wav"] for n in (3, 4, 5)))
    (root / "validation.tsv").write_text(header + "".join(events[f"{n}.wav"] for n in (6, 7)))
    return root


def test_from_recordings_with_events_to_a_detector(data: Path, tmp_path: Path) -> None:
    config = load_config(None, [*SETTINGS, f"data.root={data}"])
    trained = train(config, tmp_path / "run", workers=1)
    assert trained.steps == 12 and trained.validation is not None
    run = Run(tmp_path / "run")
    records = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert all(math.isfinite(record["strong"]) for record in records if record["kind"] == "train")
    assert run.about()["splits"]["strong"]["clips"] == 3
    scores = Detector.load(run.folder, device="cpu").detect(data / "clips/7.wav").scores
    assert scores.classes == ("a", "b") and len(scores.frames) == 12
    again = train(config, tmp_path / "again", workers=1)  # the same seed, the same weights
    assert again.steps == 12
    assert Run(tmp_path / "again").system.read_bytes()[-2000:] == run.system.read_bytes()[-2000:]


def test_what_is_scored_is_not_learned_from(data: Path, tmp_path: Path) -> None:
    table = data / "strong.tsv"
    shutil.copy(data / "validation.tsv", table)
    config = load_config(None, [*SETTINGS, f"data.root={data}"])
    with pytest.raises(AnnotationError, match=r"strong\.tsv: 2 recordings are also in validation.*6\.wav, 7\.wav"):
        train(config, tmp_path / "run", workers=1)
    table.write_text("filename\tevent_labels\n3.wav\ta\n")
    with pytest.raises(AnnotationError, match=r"strong\.tsv: training\.strong_batch needs clips with events"):
        train(config, tmp_path / "run", workers=1)


def test_what_a_training_takes_counts_its_strong_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, int]] = []
    real = MeanTeacher.step

    def step(own: MeanTeacher, number: int, batch: Batch, tags: torch.Tensor, targets: torch.Tensor | None) -> Losses:
        seen.append((batch.clips, len(tags), 0 if targets is None else len(targets)))
        return real(own, number, batch, tags, targets)

    monkeypatch.setattr(MeanTeacher, "step", step)
    small = ["training.weak_batch=2", "training.unlabelled_batch=1", "threads=1", "model.channels=[4,4,4,4,4,4,4]"]
    small += ["training.augmentation.filters={}", "features.bands=128"]
    configs = [load_config(None, [*small, "data.strong=strong", f"training.strong_batch={count}"]) for count in (0, 3)]
    estimate(configs, device=torch.device("cpu"), duration=0.5, classes=2)
    assert set(seen) == {(3, 2, 0), (6, 5, 3)}
