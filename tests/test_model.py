"""The network against the paper's numbers, and against itself with and without padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsed.config import ModelConfig
from avsed.model.batch import Batch
from avsed.model.crnn import Crnn, padded_length, parameter_count
from avsed.model.pooling import linear_softmax, real_frames

SMALL = ModelConfig(channels=(4, 4, 8), pools=((2, 2), (2, 2), (1, 2)), hidden=6)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def small() -> Crnn:
    """A small network whose batch norms have seen something, so that padding cannot hide behind zeros."""
    model = Crnn(SMALL, classes=3, bands=8)
    with torch.no_grad():
        for _ in range(3):
            model(Batch(torch.randn(4, 16, 8)))
        for name, parameter in model.named_parameters():
            if "norm.bias" in name:
                parameter.fill_(0.3)  # makes padding non-zero after batch norm unless it is masked
    return model.eval()


def test_the_paper_s_model_has_its_size_and_shapes() -> None:
    model = Crnn(ModelConfig(), classes=10, bands=128).eval()
    assert parameter_count(model) == 1_037_690
    with torch.no_grad():
        output = model(Batch(torch.randn(1, 604, 128)))
    assert output.frames.shape == (1, 151, 10)
    assert output.clips.shape == (1, 10)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [16, 32, 64, 128, 128, 128, 128]
    assert all(c.kernel_size == (3, 3) and c.stride == (1, 1) and c.bias is None for c in convolutions)
    assert [m.p for m in model.convolutions.modules() if isinstance(m, torch.nn.Dropout)] == [0.33] * 7


def test_linear_softmax_is_equation_1() -> None:
    assert linear_softmax(torch.tensor([[[0.2], [0.4], [0.6]]])).item() == pytest.approx(0.56 / 1.2)
    assert linear_softmax(torch.zeros(1, 3, 2)).tolist() == [[0.0, 0.0]]
    assert linear_softmax(torch.full((1, 7, 1), 0.3)).item() == pytest.approx(0.3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 5))
def test_linear_softmax_lies_between_mean_and_maximum_and_ignores_padding(values: list[float], padding: int) -> None:
    real = torch.tensor(values, dtype=torch.float64)[None, :, None]
    padded = torch.cat([real, torch.ones(1, padding, 1, dtype=torch.float64)], dim=1)
    mask = real_frames(torch.tensor([len(values)]), padded.shape[1])
    clip = linear_softmax(padded, mask)
    assert torch.equal(clip, linear_softmax(real)) or torch.allclose(clip, linear_softmax(real))
    assert real.mean() - 1e-9 <= clip.item() <= real.max() + 1e-9


@settings(max_examples=30)
@given(st.lists(st.integers(1, 41), min_size=1, max_size=5))
def test_a_clip_gives_the_same_frames_alone_or_in_any_batch(lengths: list[int]) -> None:
    model = small()
    clips = [torch.randn(length, 8) for length in lengths]
    frames = torch.tensor(lengths)
    batch = torch.zeros(len(clips), padded_length(max(lengths), 4) + 8, 8)
    for row, clip in enumerate(clips):
        batch[row, : len(clip)] = clip
    with torch.no_grad():
        together = model(Batch(batch, lengths=frames))
        for row, clip in enumerate(clips):
            alone_batch = torch.zeros(1, padded_length(len(clip), 4), 8)
            alone_batch[0, : len(clip)] = clip
            alone = model(Batch(alone_batch, lengths=frames[row : row + 1]))
            count = -(-len(clip) // 4)
            assert alone.frames.shape[1] == count
            torch.testing.assert_close(together.frames[row, :count], alone.frames[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.clips[row], alone.clips[0], atol=1e-5, rtol=0)
            assert together.frames[row, count:].abs().max() == 0 if count < together.frames.shape[1] else True


def test_the_paper_s_model_gives_a_short_clip_the_same_frames_alone_or_in_a_batch() -> None:
    model = Crnn(ModelConfig(), classes=10, bands=128)
    with torch.no_grad():
        model(Batch(torch.randn(2, 64, 128)))  # moves the running statistics away from 0 and 1
    model.eval()
    short = torch.randn(1, 300, 128)
    batch = torch.zeros(2, 604, 128)
    batch[0, :300], batch[1] = short[0], torch.randn(604, 128)
    with torch.no_grad():
        alone, together = model(Batch(short)), model(Batch(batch, lengths=torch.tensor([300, 604])))
    torch.testing.assert_close(together.frames[0, :75], alone.frames[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(together.clips[0], alone.clips[0], atol=1e-5, rtol=0)


def test_what_stands_past_a_clip_s_end_does_not_matter_to_the_gradient() -> None:
    model = small()  # in evaluation mode: batch norm in training may see padding
    x = torch.zeros(2, 16, 8)
    x[0], x[1, :6] = torch.randn(16, 8), torch.randn(6, 8)
    x.requires_grad_()
    model(Batch(x, lengths=torch.tensor([16, 6]))).clips.sum().backward()
    assert x.grad is not None
    assert x.grad[1, :6].abs().sum() > 0
    assert x.grad[1, 10:].abs().sum() == 0  # beyond the reach of the first convolution's kernel


def test_wrong_lengths_are_named() -> None:
    model = small()
    with pytest.raises(ValueError, match="15 frames are no multiple of 4"):
        model(Batch(torch.zeros(1, 15, 8)))
    with pytest.raises(ValueError, match="17 frames, but the batch only 16"):
        model(Batch(torch.zeros(1, 16, 8), lengths=torch.tensor([17])))
    with pytest.raises(ValueError, match="reduce 8 bands to one"):
        Crnn(SMALL, classes=3, bands=128)
