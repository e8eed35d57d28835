"""The fast training path against the plain one, which is the truth."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from avsed.config import ModelConfig
from avsed.model import fused, kernels
from avsed.model.batch import Batch
from avsed.model.crnn import ConvolutionBlock, Crnn, Output, RecurrentEncoder
from avsed.model.fused import actual_rate


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    ConvolutionBlock.fused = RecurrentEncoder.fused = True


@pytest.mark.parametrize("piece", [1, 70_000, 10**9], ids=["a clip at a time", "some clips", "all at once"])
@pytest.mark.parametrize("lengths", [None, [64, 40, 7, 64, 1]], ids=["full", "padded"])
@pytest.mark.parametrize("threads", [1, 3])
def test_outputs_gradients_and_statistics_equal_the_plain_path(
    threads: int, lengths: list[int] | None, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(threads)
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
        output = model.to(dtype)(Batch(x.to(dtype), lengths=frames))
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


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("channels", [1, 16])
def test_products_in_half_precision_are_those_of_the_plain_path(channels: int, threads: int) -> None:
    torch.set_num_threads(threads)
    block = ConvolutionBlock(channels, 32, pool=(2, 2), kernel=3, dropout=0.0).train()
    block.norm.weight.data.normal_()
    mask = torch.arange(24) < torch.tensor([24, 24, 17, 1, 24])[:, None]
    x = torch.randn(5, channels, 24, 16)
    weights = torch.randn(5, 32, 12, 8)

    def run(*, half: bool, fused: bool) -> list[torch.Tensor]:
        own = copy.deepcopy(block)
        own.fused, own.convolution.in_half = fused, half
        given = x.clone().requires_grad_()
        y = own(given, mask)
        assert y.dtype == torch.float32
        (y * weights).sum().backward()
        found = [y, given.grad, own.norm.running_mean, own.norm.running_var, *(one.grad for one in own.parameters())]
        return [one.detach() for one in found if one is not None]

    single, plain, fast = run(half=False, fused=False), run(half=True, fused=False), run(half=True, fused=True)
    for exact, expected, found in zip(single, plain, fast, strict=True):
        largest = exact.abs().max()
        # What differs are roundings to 8 bits, where the two ways are not equal to the last of 24.
        assert (found - expected).abs().max() < 0.004 * largest
        assert (found - expected).square().mean().sqrt() < 0.0005 * largest
        error = (found - exact).square().mean().sqrt() / exact.square().mean().sqrt()
        assert 1e-6 < error < 0.05  # half precision, and no less; near zero ReLU takes some other decisions
    assert (fast[0] - plain[0]).abs().max() < 1e-5 * plain[0].abs().max()
    own = copy.deepcopy(block).eval()
    own.convolution.in_half = True
    torch.testing.assert_close(
        own(x, mask), block.eval()(x, mask), atol=0, rtol=0
    )  # only training is in half precision


def test_rows_in_half_precision_are_read_and_written_as_pytorch_does() -> None:
    shape = kernels.Shape(4, 16, 1, 1)
    y = torch.cat(
        [torch.randn(62, 16), torch.full((1, 16), float("nan")), torch.full((1, 16), float("-inf"))]
    ).bfloat16()
    rows = y.view(torch.uint16).numpy()
    one, none = np.ones(16, np.float32), np.zeros(16, np.float32)
    nothing = np.zeros((64, 1, 16), np.float32)
    keep = kernels.Dropout(np.uint32(1), np.uint32(2), np.uint32(0), 0)
    expected = (y.float() * np.float32(1.01)).bfloat16()
    kernels.put_gradients(
        rows, one, none, keep, np.full(16, 4), shape, np.float32(1), nothing, np.full(16, 1.01, np.float32), none
    )
    torch.testing.assert_close(y, expected, atol=0, rtol=0, equal_nan=True)


def kept(clips: int, rate: float, *, time: int = 2) -> torch.Tensor:
    """What the kernels' dropout keeps: bool (clips, 64 frames, 32 bands, 16 channels), from a block whose map is 1 everywhere."""
    block = ConvolutionBlock(1, 16, pool=(1, 1), kernel=3, dropout=rate).train()
    torch.nn.init.zeros_(block.convolution.weight)
    torch.nn.init.ones_(block.norm.bias)
    block.pool.kernel_size = (time, 1)
    x = torch.randn(clips, 1, 64, 32)
    with torch.no_grad():
        found = block(x, None).permute(0, 2, 3, 1)  # (clips, frames / time, bands, channels)
    return (found * (1 - actual_rate(rate)) * time).round().bool() if time == 1 else found


@pytest.mark.parametrize("rate", [0.1, 0.33, 0.5, 0.75, 0.9])
def test_dropout_keeps_the_stated_share_independently(rate: float) -> None:
    found = kept(60, rate, time=1).double().reshape(-1)
    expected, count = 1 - rate, found.numel()  # two million
    variance = expected * (1 - expected)
    assert found.mean().item() == pytest.approx(expected, abs=5 * (variance / count) ** 0.5)
    centred = found - expected
    row, clip = 32 * 16, 64 * 32 * 16
    for lag in (1, 2, 7, 16, 64, row, 2 * row, clip, 17 * clip):  # neighbours in channel, band, frame and clip
        correlation = (centred[lag:] * centred[:-lag]).mean() / variance
        assert abs(correlation.item()) < 5 / count**0.5, lag


def test_pooled_frames_are_dropped_independently() -> None:
    shares = torch.bincount((kept(60, 0.33, time=2) * 0.67 * 2).round().int().reshape(-1), minlength=3).double()
    expected = torch.tensor([0.33**2, 2 * 0.33 * 0.67, 0.67**2], dtype=torch.float64)
    torch.testing.assert_close(shares / shares.sum(), expected, atol=0.003, rtol=0)


def test_every_call_drops_anew_and_a_seed_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn() -> list[torch.Tensor]:
        torch.manual_seed(3)
        return [kept(4, 0.5, time=1) for _ in range(2)]

    first, second = drawn()
    assert (first == second).double().mean().item() == pytest.approx(0.5, abs=0.01)
    monkeypatch.setattr(fused, "PIECE", 1)  # however the work is divided
    torch.set_num_threads(3)
    for one, other in zip(drawn(), (first, second), strict=True):
        assert torch.equal(one, other)


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
    step = 1e-3  # small, since a ReLU that changes sides within it is no slope

    def value(at: torch.Tensor) -> float:
        torch.manual_seed(5)
        with torch.no_grad():
            return float((block(at, None).double() * y.detach()).sum())

    slope = (value(x.detach() + step * direction) - value(x.detach() - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=0.005)


def test_evaluation_and_other_precisions_take_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError("the fast path was taken")

    monkeypatch.setattr(fused, "fused_block", unexpected)
    block = ConvolutionBlock(1, 2, pool=(1, 2), kernel=3, dropout=0.1)
    block.eval()(torch.randn(1, 1, 4, 4), None)
    block.double().train()(torch.randn(1, 1, 4, 4, dtype=torch.float64), None)
    with pytest.raises(AssertionError, match="fast path"):
        block.float()(torch.randn(1, 1, 4, 4), None)


@pytest.mark.parametrize("lengths", [None, [9, 4, 1, 9, 6, 9, 9, 9, 2, 9, 3]], ids=["full", "padded"])
@pytest.mark.parametrize(("hidden", "layers"), [(13, 2), (16, 1)])
def test_the_recurrence_is_pytorch_s(hidden: int, layers: int, lengths: list[int] | None) -> None:
    encoder = RecurrentEncoder(7, ModelConfig(hidden=hidden, layers=layers))
    x = torch.randn(11, 9, 7)  # more clips than a piece, an odd number of them in the last
    frames = None if lengths is None else torch.tensor(lengths)
    weights = torch.randn(11, 9, 2 * hidden)

    def run(model: RecurrentEncoder, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        x = x.clone().requires_grad_()
        y = model(x, frames)
        assert x.grad is None
        (y.sin() * weights.to(y.dtype)).sum().backward()
        assert x.grad is not None
        return y.detach(), {"x": x.grad} | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    expected, slopes = run(copy.deepcopy(encoder).double(), x.double())
    found, own = run(encoder, x)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)
    assert own.keys() == slopes.keys()
    assert len(own) == 1 + 8 * layers
    for name, slope in slopes.items():
        assert (own[name] - slope).abs().max() / slope.abs().max() < 1e-5, name
    if frames is not None:
        assert (found[torch.arange(9) >= frames[:, None]] == 0).all()


def test_large_and_small_values_saturate_the_gates_as_in_pytorch() -> None:
    encoder = RecurrentEncoder(5, ModelConfig(hidden=8, layers=1))
    x = torch.randn(3, 6, 5) * torch.tensor([1e-6, 30.0, 1e6])[:, None, None]
    expected = copy.deepcopy(encoder).double()(x.double(), None)
    torch.testing.assert_close(encoder(x, None).double(), expected, atol=1e-6, rtol=0)


def test_what_is_no_number_stays_none() -> None:
    x = torch.zeros(2, 6, 5)
    x[1, 3] = float("nan")
    y = RecurrentEncoder(5, ModelConfig(hidden=8, layers=1))(x, None)
    assert y[0].isfinite().all()
    assert y[1, 3].isnan().all()


def test_the_recurrence_is_the_same_for_any_number_of_threads_and_alone() -> None:
    encoder = RecurrentEncoder(7, ModelConfig(hidden=16))
    x = torch.randn(19, 12, 7, requires_grad=True)

    def run() -> list[torch.Tensor]:
        y = encoder(x, None)
        return [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *encoder.parameters()])]

    one = run()
    torch.set_num_threads(4)
    assert all(map(torch.equal, run(), one))
    torch.testing.assert_close(encoder(x[7:8], None), one[0][7:8], atol=1e-6, rtol=0)


def test_the_recurrence_s_gradients_are_there_once() -> None:
    encoder = RecurrentEncoder(5, ModelConfig(hidden=8, layers=1))
    y = encoder(torch.randn(2, 3, 5), None).sum()
    y.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="can be asked for once"):
        y.backward()


def test_training_s_option_takes_pytorch_s_own_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError("the fast path was taken")

    monkeypatch.setattr("avsed.model.recurrence.recur", unexpected)
    encoder = RecurrentEncoder(5, ModelConfig(hidden=8))
    with pytest.raises(AssertionError, match="fast path"):
        encoder(torch.randn(1, 3, 5), None)
    encoder.fused = False
    encoder(torch.randn(1, 3, 5), None)
    encoder.double()(torch.randn(1, 3, 5, dtype=torch.float64), None)
