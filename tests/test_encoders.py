"""Gated convolutions, transformer and conformer: their definitions, and what every encoder of the network keeps to."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsed.config import Config, ModelConfig, TrainingConfig, load_config
from avsed.detector import Detector
from avsed.errors import ConfigError
from avsed.features.extractors import describe
from avsed.features.logmel import LogMel, LogMelParameters
from avsed.features.options import LOGMEL
from avsed.features.standardise import Standardiser
from avsed.media import write_clip
from avsed.model.batch import Batch
from avsed.model.crnn import Crnn, parameter_count
from avsed.model.encoders import ConvolutionModule, GatedBlock, Places, SelfAttention, rotate
from avsed.model.options import AttentionConfig
from avsed.system import System
from avsed.training.step import MeanTeacher

TINY = AttentionConfig(layers=2, width=8, heads=2, feedforward=12, kernel=3)
CHOICES = list(itertools.product(("paper", "gated"), ("gru", "transformer", "conformer")))[1:]
choices = pytest.mark.parametrize(("convolution", "sequence"), CHOICES, ids="-".join)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def options(convolution: str, sequence: str) -> ModelConfig:
    return ModelConfig.model_validate(
        {"channels": (4, 4, 8), "pools": ((2, 2), (2, 2), (1, 2)), "hidden": 6, "attention": TINY}
        | {"convolution": convolution, "sequence": sequence}
    )


def small(convolution: str, sequence: str) -> Crnn:
    """A small network whose norms have seen something, so that padding cannot hide behind zeros."""
    model = Crnn(options(convolution, sequence), classes=3, bands=8)
    with torch.no_grad():
        for _ in range(3):
            model(Batch(torch.randn(4, 16, 8), lengths=torch.tensor([16, 16, 9, 12])))
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(0.3)
    return model.eval()


@pytest.mark.parametrize(
    ("convolution", "sequence", "count"),
    [
        ("paper", "gru", 1_037_690),
        ("gated", "gru", 1_578_218),
        ("paper", "transformer", 1_312_954),
        ("paper", "conformer", 2_006_890),
        ("gated", "conformer", 2_547_418),
    ],
)
def test_sizes_are_those_of_the_documentation(convolution: str, sequence: str, count: int) -> None:
    config = ModelConfig.model_validate({"convolution": convolution, "sequence": sequence})
    assert parameter_count(Crnn(config, classes=10, bands=128)) == count
    width, hidden, kernel = 144, 576, 7
    feed = 2 * width + width * hidden + hidden + hidden * width + width
    attention = 2 * width + 3 * (width + 1) * width + (width + 1) * width
    module = 2 * width + (width + 1) * 2 * width + kernel * width + 2 * width + (width + 1) * width
    own = {
        "gru": 2 * 3 * 128 * (128 + 128 + 2) + 2 * 3 * 128 * (256 + 128 + 2) + (256 + 1) * 10,
        "transformer": 129 * width + 3 * (attention + feed) + 2 * width + (width + 1) * 10,
        "conformer": 129 * width + 3 * (attention + 2 * feed + module + 2 * width) + (width + 1) * 10,
    }
    assert count == 540_528 * (2 if convolution == "gated" else 1) + own[sequence]
    assert f"{count:,}" in (Path(__file__).parents[1] / "docs/encoders.md").read_text()


def test_a_gate_is_one_half_times_the_sigmoid_of_the_other() -> None:
    block = GatedBlock(2, 3, pool=(2, 1), kernel=3, dropout=0.5).eval()
    x = torch.randn(2, 2, 8, 4)
    mask = torch.tensor([[True] * 8, [True] * 5 + [False] * 3])
    y = block.norm(block.convolution(x)).detach()
    expected = y[:, :3] * torch.sigmoid(y[:, 3:]) * mask[:, None, :, None]
    found = block(x, mask).detach()
    torch.testing.assert_close(found, (expected[:, :, ::2] + expected[:, :, 1::2]) / 2)


def test_attention_is_its_definition() -> None:
    layer = SelfAttention(TINY).eval()
    x, lengths = torch.randn(2, 5, 8), [5, 3]
    found = layer(x, Places(torch.tensor(lengths), 5, x.device))
    for clip, length in enumerate(lengths):
        q, k, v = layer.inputs(layer.norm(x[clip])).chunk(3, 1)
        heads = []
        for columns in (slice(0, 4), slice(4, 8)):
            products = rotate(q[:, columns]) @ rotate(k[:length, columns]).T / math.sqrt(4)
            heads.append(torch.softmax(products, 1) @ v[:length, columns])
        expected = layer.output(torch.cat(heads, 1))
        torch.testing.assert_close(found[clip, :length], expected[:length])


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 500))
def test_products_depend_on_the_distance_of_two_frames_alone(i: int, j: int, by: int) -> None:
    generator = torch.Generator().manual_seed(i)
    q, k = torch.randn(2, 12, generator=generator, dtype=torch.float64)

    def product(one: int, other: int) -> float:
        turned = (rotate(x.expand(600, 12))[place] for x, place in ((q, one), (k, other)))
        return float(torch.dot(*turned))

    assert product(i, j) == pytest.approx(product(i + by, j + by), abs=1e-4)
    assert rotate(q.expand(600, 12))[i].norm().item() == pytest.approx(q.norm().item(), rel=1e-5)
    torch.testing.assert_close(rotate(q.expand(2, 12))[0], q)


def test_attention_hears_which_frame_comes_first() -> None:
    model = small("paper", "transformer")
    x = torch.randn(1, 6, 8)
    there, back = model.recurrent(x, None), model.recurrent(x.flip(1), None).flip(1)
    assert not torch.allclose(there, back, atol=1e-3)


def test_padding_is_no_part_of_the_conformer_s_batch_norm() -> None:
    found = []
    for length in (6, 11):
        torch.manual_seed(1)
        module = ConvolutionModule(TINY)
        x = torch.randn(2, 6, 8)
        padded = torch.cat([x, torch.full((2, length - 6, 8), 9.0)], 1)
        padded[1, 4:] = 9.0
        module(padded, Places(torch.tensor([6, 4]), length, x.device))
        found.append((module.norm.running_mean, module.norm.running_var))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("masked", [True, False])
def test_the_conformer_learns_from_a_single_frame(masked: bool) -> None:
    module = ConvolutionModule(TINY).train()
    places = Places(torch.tensor([1]), 2, torch.device("cpu")) if masked else None
    module(torch.randn(1, 2 if masked else 1, 8), places).sum().backward()
    assert module.norm.num_batches_tracked == 0  # its variance says nothing
    assert module.norm.weight.grad is not None and module.norm.weight.grad.isfinite().all()


@choices
def test_a_clip_gives_the_same_frames_alone_or_in_any_batch(convolution: str, sequence: str) -> None:
    model = small(convolution, sequence)

    @settings(max_examples=12)
    @given(st.lists(st.integers(1, 41), min_size=1, max_size=4), st.integers(0, 2))
    def check(lengths: list[int], more: int) -> None:
        batch = torch.full((len(lengths), 4 * (-(-max(lengths) // 4) + more), 8), 0.0)
        for row, length in enumerate(lengths):
            batch[row, :length] = torch.randn(length, 8)
        with torch.no_grad():
            together = model(Batch(batch, lengths=torch.tensor(lengths)))
            for row, length in enumerate(lengths):
                count = -(-length // 4)
                alone = model(Batch(batch[row : row + 1, : 4 * count], lengths=torch.tensor([length])))
                torch.testing.assert_close(together.frames[row, :count], alone.frames[0], atol=1e-5, rtol=0)
                torch.testing.assert_close(together.clips[row], alone.clips[0], atol=1e-5, rtol=0)
                assert not together.frames[row, count:].any()
                if length % 4 == 0:  # as many frames as it holds: nothing to mask
                    whole = model(Batch(batch[row : row + 1, : 4 * count]))
                    torch.testing.assert_close(whole.frames[0], alone.frames[0], atol=1e-5, rtol=0)

    check()


@choices
def test_what_stands_past_a_clip_s_end_gets_no_gradient(convolution: str, sequence: str) -> None:
    model = small(convolution, sequence)
    x = torch.zeros(2, 24, 8)
    x[0], x[1, :6] = torch.randn(24, 8), torch.randn(6, 8)
    x.requires_grad_()
    model(Batch(x, lengths=torch.tensor([24, 6]))).clips.sum().backward()
    assert x.grad is not None
    assert x.grad[1, :6].abs().sum() > 0
    assert x.grad[1, 10:].abs().sum() == 0  # beyond the reach of the first convolution's kernel


@choices
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_four_clips_can_be_learned_by_heart(convolution: str, sequence: str, precision: str) -> None:
    config = TrainingConfig(steps=60, ramp=0, learning_rate=0.01, average=0.9, precision=precision, decay=1.0)
    trainer = MeanTeacher(Crnn(options(convolution, sequence), classes=3, bands=8), config, seed=0)
    before = {name: value.clone() for name, value in trainer.student.named_parameters()}
    batch = Batch(torch.randn(4, 16, 8), lengths=torch.tensor([16, 9, 16, 3]))
    for row, length in enumerate((16, 9, 16, 3)):
        batch.spectra[row, length:] = 0
    tags = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    losses = [float(trainer.step(number, batch, tags).tagging) for number in range(60 if precision == "fp32" else 4)]
    unmoved = [name for name, value in trainer.student.named_parameters() if torch.equal(value, before[name])]
    assert not unmoved  # a gradient reaches every parameter
    assert all(math.isfinite(loss) for loss in losses)
    if precision == "fp32":
        assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    with torch.no_grad():
        assert not torch.equal(trainer.student(batch).frames, trainer.student(batch).frames)  # dropout


@pytest.mark.parametrize(("convolution", "sequence"), [("gated", "conformer"), ("paper", "transformer")])
def test_a_system_is_saved_and_hears_recordings_of_any_length(tmp_path: Path, convolution: str, sequence: str) -> None:
    features = LogMelParameters(rate=8000, window=512, hop=256, bands=8, highest=4000)
    config = Config(model=options(convolution, sequence), features=features)
    model = small(convolution, sequence)
    standardiser = Standardiser(np.full(8, -5, np.float32), np.ones(8, np.float32))
    about = {LOGMEL: describe(LogMel(features))}
    system = System(config, ("a", "b", "c"), standardiser, model, 63, about)
    system.save(tmp_path / "system.safetensors")
    detector = Detector.load(tmp_path / "system.safetensors", device="cpu")
    assert detector.system.config == config
    for name, value in model.state_dict().items():
        assert torch.equal(detector.system.model.state_dict()[name], value), name
    noise = np.random.default_rng(0).normal(size=8000 * 9).astype(np.float32) / 8
    for seconds in (9.0, 1.5, 0.01):  # several windows, one, and less than a frame
        samples = noise[: round(seconds * 8000)]
        write_clip(tmp_path / "x.wav", samples=samples, rate=8000, audio_codec="pcm_s16le")
        scores, kept = (d.detect(tmp_path / "x.wav").scores for d in (detector, Detector(system)))
        assert len(scores.frames) == -(-(round(seconds * 8000) // 256 + 1) // 4)
        assert np.array_equal(scores.frames, kept.frames)
        assert ((scores.frames > 0) & (scores.frames < 1)).all()


def test_options_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="multiple of twice the heads, got 10 values and 4 heads"):
        load_config(None, ["model.attention={width: 10, heads: 4}"])
    with pytest.raises(ConfigError, match=r"model\.dropout: .*less than or equal to 0\.99"):
        load_config(None, ["model.dropout=0.999999"])
    with pytest.raises(ConfigError, match="kernel must be odd, got 4"):
        load_config(None, ["model.attention.kernel=4"])
    with pytest.raises(ConfigError, match=r"model\.sequence.*'gru', 'transformer' or 'conformer'"):
        load_config(None, ["model.sequence=lstm"])
