"""The fast training path against the plain one, which is the truth."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch

from avsed.config import ModelConfig
from avsed.model import fused
from avsed.model.crnn import ConvolutionBlock, Crnn, Output
from avsed.model.fused import actual_rate, keep_bytes, keep_mask


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    ConvolutionBlock.fused = True


@pytest.mark.parametrize("piece", [1, 70_000, 10**9], ids=["a clip at a time", "some clips", "all at once"])
@pytest.mark.parametrize("lengths", [None, [64, 40, 7, 64, 1]], ids=["full", "padded"])
def test_outputs_gradients_and_statistics_equal_the_plain_path(
    lengths: list[int] | None, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "PIECE", piece)
    plain = Crnn(ModelConfig(dropout=0.0), classes=10, bands=128).train()
    with torch.no_grad():  # batch norm's factors are 1 and 0 in a new network: take others, some of them negative
        for block in plain.convolutions.blocks:
            block.norm.weight.normal_()
            block.norm.bias.normal_()
    x = torch.randn(5, 64, 128)
    frames = None if lengths is None else torch.tensor(lengths)
    weights = torch.randn(5, 16, 10)

    def run(model: Crnn, dtype: torch.dtype) -> tuple[Output, Crnn]:
        output = model.to(dtype)(x.to(dtype), frames)
        ((output.frames * weights).sum() + output.clips.square().sum()).backward()
        return output, model

    # In double precision the plain path runs: there the truth is known to more digits than either path has in single.
    expected, truth = run(copy.deepcopy(plain), torch.float64)
    found, fast = run(plain, torch.float32)
    torch.testing.assert_close(found.frames.double(), expected.frames, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.clips.double(), expected.clips, atol=1e-5, rtol=0)
    for (name, one), other in zip(fast.named_parameters(), truth.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        error = (one.grad - other.grad).abs().max() / other.grad.abs().max()
        assert error < 1e-4, name
    for one, other in zip(fast.buffers(), truth.buffers(), strict=True):
        torch.testing.assert_close(one.double(), other.double(), atol=1e-5, rtol=1e-5)


def test_the_input_s_gradient_is_the_plain_one() -> None:
    block = ConvolutionBlock(3, 8, pool=(2, 2), kernel=3, dropout=0.0).double()
    block.norm.weight.data.normal_()
    x = torch.randn(2, 3, 8, 4, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 8, 4, 2, dtype=torch.float64)
    (expected,) = torch.autograd.grad((block.train()(x, None) * w).sum(), x)  # double precision takes the plain path
    single = x.detach().float().requires_grad_()
    (found,) = torch.autograd.grad((block.float()(single, None) * w.float()).sum(), single)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.33, 0.5, 0.75, 0.9])
def test_masks_keep_the_stated_share_independently(rate: float) -> None:
    count = 2_000_003
    mask = keep_mask(keep_bytes(count, rate), count, torch.empty(count + 8, dtype=torch.int32))
    assert mask.shape == (count,)
    assert set(mask.unique().tolist()) <= {0, -1}
    kept = (mask != 0).double()
    expected = 1 - actual_rate(rate)
    spread = (expected * (1 - expected) / count) ** 0.5
    assert kept.mean().item() == pytest.approx(expected, abs=5 * spread + 1e-12)
    if rate > 0:
        centred = kept - expected
        for lag in (1, 2, 7, 8, 64, count // 4 // 8 * 8):  # neighbours, and values that share a random word
            correlation = (centred[lag:] * centred[:-lag]).mean() / (expected * (1 - expected))
            assert abs(correlation.item()) < 5 / count**0.5, lag


def test_dropout_has_the_plain_path_s_mean_and_variance() -> None:
    block = ConvolutionBlock(1, 16, pool=(1, 1), kernel=3, dropout=0.33).train()
    x = torch.randn(4, 1, 64, 64)
    with torch.no_grad():
        block.dropout.p = 0.0
        undropped = block(x, None)
        block.dropout.p = 0.33
        fast = torch.stack([block(x, None) for _ in range(60)])
        ConvolutionBlock.fused = False
        plain = torch.stack([block(x, None) for _ in range(60)])
    chosen = undropped > 0.5
    for found in (fast, plain):
        ratios = found[:, chosen] / undropped[chosen]
        assert ratios.mean().item() == pytest.approx(1.0, abs=0.005)
        assert ratios.var().item() == pytest.approx(0.33 / 0.67, rel=0.02)
        assert (found[:, undropped <= 0] == 0).all()


def test_the_gradient_flows_only_through_what_was_kept() -> None:
    block = ConvolutionBlock(2, 8, pool=(1, 2), kernel=3, dropout=0.5).train()
    x = torch.randn(3, 2, 8, 8, requires_grad=True)
    torch.manual_seed(5)
    y = block(x, None)
    (gradient,) = torch.autograd.grad((y * y.detach()).sum(), x)
    # Finite differences with the same masks: batch statistics, masks and pooling all take part.
    direction = torch.randn_like(x)
    step = 1e-2

    def value(at: torch.Tensor) -> float:
        torch.manual_seed(5)
        with torch.no_grad():
            return float((block(at, None).double() * y.detach()).sum())

    slope = (value(x.detach() + step * direction) - value(x.detach() - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=0.03)


def test_evaluation_and_other_precisions_take_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError("the fast path was taken")

    monkeypatch.setattr("avsed.model.crnn.fused_block", unexpected)
    block = ConvolutionBlock(1, 2, pool=(1, 2), kernel=3, dropout=0.1)
    block.eval()(torch.randn(1, 1, 4, 4), None)
    block.double().train()(torch.randn(1, 1, 4, 4, dtype=torch.float64), None)
    with pytest.raises(AssertionError, match="fast path"):
        block.float()(torch.randn(1, 1, 4, 4), None)
