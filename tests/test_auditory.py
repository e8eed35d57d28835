"""The pretrained ears: networks against plain references, rows and their times, short clips."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ears import CHUNK, EARS, NAMES, applied, noise
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from avsed.features import mobilenet, vggish
from avsed.features.aisfx import AisfxNetwork
from avsed.features.efficientat import WIDTHS
from avsed.features.mobilenet import MobileNet
from avsed.features.pretrained import Prepared, embed
from avsed.features.vggish import Vggish, VggishNetwork
from avsed.media import Audio


def unsettled(network: nn.Module) -> nn.Module:
    """A network whose batch norms have seen something, so that each of their numbers counts."""
    torch.manual_seed(4)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.8, 1.4)
            nn.init.normal_(layer.bias, 0.0, 0.2)
            nn.init.normal_(layer.running_mean, 0.0, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, nn.Module]:
    """The networks of `EARS` with random weights, by `NAMES`."""
    torch.manual_seed(0)
    mobile = unsettled(MobileNet(WIDTHS["mn04"]))
    small = unsettled(AisfxNetwork())
    large = VggishNetwork(relu=False).eval()
    frames, pooled = mobilenet.FrameEmbedding(mobile).eval(), mobilenet.PooledEmbedding(mobile).eval()
    return dict(zip(NAMES, (large, frames, pooled, small), strict=True))


# --- networks ---


def test_the_network_of_vggish_is_googles(networks: dict[str, nn.Module]) -> None:
    """Written out again, in TensorFlow's order of axes: images (time, frequency, channels), flattened as they are."""
    network = networks["vggish"]
    tensors = network.state_dict()
    inputs = torch.from_numpy(vggish.log_mel(noise(CHUNK + 3 * 160, 16_000).samples)).unfold(0, 96, 3).transpose(1, 2)
    x = inputs[:, None]
    for number, pooled in ((0, True), (3, True), (6, False), (8, True), (11, False), (13, True)):
        x = torch.relu(F.conv2d(x, tensors[f"features.{number}.weight"], tensors[f"features.{number}.bias"], padding=1))
        x = F.max_pool2d(x, 2, 2) if pooled else x
    x = x.permute(0, 2, 3, 1).reshape(len(inputs), 6 * 4 * 512)
    for number in (0, 2, 4):
        x = x @ tensors[f"embeddings.{number}.weight"].T + tensors[f"embeddings.{number}.bias"]
        x = torch.relu(x) if number < 4 else x
    found = applied(network, inputs.numpy())
    assert found.shape == (2, 128) and (found < 0).any()
    np.testing.assert_allclose(found, x.numpy(), rtol=0, atol=1e-5)


def test_the_tensors_of_vggish_have_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        plain, with_relu = VggishNetwork(relu=False), VggishNetwork(relu=True)
    channels = {0: (1, 64), 3: (64, 128), 6: (128, 256), 8: (256, 256), 11: (256, 512), 13: (512, 512)}
    layers = {0: (12_288, 4096), 2: (4096, 4096), 4: (4096, 128)}
    expected: dict[str, tuple[int, ...]] = {}
    for number, (inside, out) in channels.items():
        expected |= {f"features.{number}.weight": (out, inside, 3, 3), f"features.{number}.bias": (out,)}
    for number, (inside, out) in layers.items():
        expected |= {f"embeddings.{number}.weight": (out, inside), f"embeddings.{number}.bias": (out,)}
    for network in (plain, with_relu):
        assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == expected
    # The published file holds these numbers and little beside them, such as their names.
    assert 0 < vggish.PUBLISHED.size - 4 * sum(math.prod(shape) for shape in expected.values()) < 10_000


def test_a_state_dict_of_vggish_loads_unchanged(networks: dict[str, nn.Module], tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).standard_normal((2, 96, 64)).astype(np.float32)
    file = tmp_path / "vggish.safetensors"  # 288 MB, for a moment
    save_file(networks["vggish"].state_dict(), file)
    try:
        network = Vggish().network(file)
        assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
        plain, cut = applied(network, inputs), applied(Vggish(relu=True).network(file), inputs)
        np.testing.assert_allclose(plain, applied(networks["vggish"], inputs), rtol=0, atol=1e-6)
        assert np.array_equal(cut, np.maximum(plain, 0))
    finally:
        file.unlink()


def reference_mobilenet(tensors: dict[str, Tensor], spectra: Tensor) -> tuple[Tensor, Tensor]:
    """The last feature map and the logits, by the tensors' names and MobileNetV3's table of strides and activations."""

    def normalised(x: Tensor, name: str) -> Tensor:
        mean, variance = tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"]
        scale = tensors[f"{name}.weight"] / (variance + 1e-3).sqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + tensors[f"{name}.bias"][:, None, None]

    def hard(x: Tensor) -> Tensor:
        return x * (x + 3).clamp(0, 6) / 6

    strides = {2: 2, 4: 2, 7: 2, 13: 2}
    x = spectra.transpose(1, 2)[:, None]
    x = hard(normalised(F.conv2d(x, tensors["features.0.0.weight"], stride=2, padding=1), "features.0.1"))
    for block in range(1, 16):
        act: Callable[[Tensor], Tensor] = torch.relu if block < 7 else hard
        before, part = x, 0
        while f"features.{block}.block.{part + 1}.0.weight" in tensors or (
            f"features.{block}.block.{part + 1}.conc_se_layers.0.fc1.weight" in tensors
        ):
            name = f"features.{block}.block.{part}"
            if f"{name}.0.weight" in tensors:
                weight = tensors[f"{name}.0.weight"]
                depthwise = weight.shape[1] == 1 and weight.shape[2] > 1
                x = F.conv2d(
                    x,
                    weight,
                    stride=strides.get(block, 1) if depthwise else 1,
                    padding=weight.shape[2] // 2,
                    groups=len(weight) if depthwise else 1,
                )
                x = act(normalised(x, f"{name}.1"))
            else:
                x = gated(tensors, x, f"{name}.conc_se_layers.0")
            part += 1
        name = f"features.{block}.block.{part}"
        if f"{name}.conc_se_layers.0.fc1.weight" in tensors:
            x = gated(tensors, x, f"{name}.conc_se_layers.0")
            name = f"features.{block}.block.{part + 1}"
        x = normalised(F.conv2d(x, tensors[f"{name}.0.weight"]), f"{name}.1")
        x = x + before if x.shape == before.shape else x
    x = hard(normalised(F.conv2d(x, tensors["features.16.0.weight"]), "features.16.1"))
    hidden = hard(x.mean((2, 3)) @ tensors["classifier.2.weight"].T + tensors["classifier.2.bias"])
    return x, hidden @ tensors["classifier.5.weight"].T + tensors["classifier.5.bias"]


def gated(tensors: dict[str, Tensor], x: Tensor, name: str) -> Tensor:
    means = x.mean((2, 3))
    squeezed = torch.relu(means @ tensors[f"{name}.fc1.weight"].T + tensors[f"{name}.fc1.bias"])
    gates = torch.sigmoid(squeezed @ tensors[f"{name}.fc2.weight"].T + tensors[f"{name}.fc2.bias"])
    return x * gates[:, :, None, None]


@pytest.mark.parametrize(("size", "channels"), [("mn01", 96), ("mn04", 384)])
def test_the_network_of_efficientat_is_mobilenet_v3(size: Any, channels: int) -> None:
    torch.manual_seed(2)
    network = unsettled(MobileNet(WIDTHS[size]))
    spectra = torch.randn(2, 100, 128)
    with torch.inference_mode():
        maps, logits = reference_mobilenet(network.state_dict(), spectra)
        assert maps.shape == (2, channels, 4, 4)
        np.testing.assert_allclose(network(spectra), logits, rtol=0, atol=1e-5)
        frames = mobilenet.FrameEmbedding(network)(spectra)
        np.testing.assert_allclose(frames, maps.mean(2).transpose(1, 2), rtol=0, atol=1e-5)
        np.testing.assert_allclose(mobilenet.PooledEmbedding(network)(spectra), frames.mean(1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "millions"),
    [("mn04", 0.983), ("mn05", 1.43), ("mn10", 4.88), ("mn20", 17.91), ("mn30", 39.09), ("mn40", 68.43)],
)
def test_every_width_has_the_published_number_of_parameters(size: Any, millions: float) -> None:
    with torch.device("meta"):
        network = MobileNet(WIDTHS[size])
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.0051)


def test_the_network_of_aisfx_is_the_published_one(networks: dict[str, nn.Module]) -> None:
    network = networks["aisfx"]
    tensors = network.state_dict()
    spectra = torch.rand(2, 21, 96)
    x = spectra[:, None]
    for block in range(1, 5):
        for number in (1, 2):
            name = f"embedding_net.conv_block{block}"
            x = F.conv2d(x, tensors[f"{name}.conv{number}.weight"], padding=1)
            mean, variance = tensors[f"{name}.bn{number}.running_mean"], tensors[f"{name}.bn{number}.running_var"]
            scale = tensors[f"{name}.bn{number}.weight"] / (variance + 1e-5).sqrt()
            x = (x - mean[:, None, None]) * scale[:, None, None] + tensors[f"{name}.bn{number}.bias"][:, None, None]
            x = torch.relu(x)
        x = F.max_pool2d(x, 2) if block < 4 else x
    assert x.shape == (2, 512, 2, 12)
    np.testing.assert_allclose(applied(network, spectra.numpy()), x.mean(3).transpose(1, 2), rtol=0, atol=1e-5)


# --- rows and times ---


SECONDS = (10.0, 3.3, 0.2, 0.01)


@pytest.mark.parametrize("start", [0.0, 1.25])
@pytest.mark.parametrize(("ear", "name"), list(zip(EARS, NAMES, strict=True)), ids=NAMES)
def test_rows_and_their_times(ear: Any, name: str, start: float, networks: dict[str, nn.Module]) -> None:
    for seconds in SECONDS if name != "vggish" else SECONDS[2:]:
        audio = noise(round(seconds * ear.rate), ear.rate, start)
        prepared = ear.front(audio)
        sequence = embed(networks[name], prepared, batch=64)
        assert sequence.values.shape == (len(prepared.times), ear.dims) and np.isfinite(sequence.values).all()
        assert (sequence.begin, sequence.stop) == (start, audio.stop)
        assert len(prepared.inputs) == (1 if ear.whole else len(prepared.times))
        np.testing.assert_allclose(np.diff(sequence.times), ear.period, rtol=0, atol=1e-12)
        assert start <= sequence.times[0] and sequence.times[-1] < audio.stop


@pytest.mark.parametrize(
    ("ear", "rows", "first", "period"),
    [
        (EARS[0], 151, 0.4875, 0.06),
        (EARS[1], 32, 0.0, 0.32),
        (EARS[2], 57, 0.475, 0.16),
        (EARS[3], 53, 3.5 * 1024 / 44_100, 8192 / 44_100),
        (Vggish(step=96), 10, 0.4875, 0.96),
    ],
    ids=[*NAMES, "vggish, Google's step"],
)
def test_ten_seconds(ear: Any, rows: int, first: float, period: float) -> None:
    times = ear.front(noise(10 * ear.rate, ear.rate)).times
    assert ear.period == pytest.approx(period)
    np.testing.assert_allclose(times, first + period * np.arange(rows), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("ear", "shortest"), list(zip(EARS, (CHUNK, 10_240, 30_720, 7_168), strict=True)), ids=NAMES)
def test_short_sound_is_filled_up_with_zeros_and_its_row_stands_in_its_middle(ear: Any, shortest: int) -> None:
    enough = ear.front(noise(shortest, ear.rate))
    assert len(enough.times) == 1
    short = noise(shortest - 1, ear.rate, start=2.0)
    filled = Audio(np.append(short.samples, np.float32(0)), ear.rate, 2.0)
    prepared = ear.front(short)
    assert np.array_equal(prepared.inputs, ear.front(filled).inputs)
    np.testing.assert_allclose(prepared.times, [2.0 + short.duration / 2], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("ear", "name"), list(zip(EARS, NAMES, strict=True)), ids=NAMES)
def test_a_clip_gives_the_same_alone_and_in_a_batch(ear: Any, name: str, networks: dict[str, nn.Module]) -> None:
    clips = [ear.front(noise(ear.rate + extra, ear.rate)).inputs for extra in (-2, -1, 0)]
    together = applied(networks[name], np.concatenate(clips))
    alone = np.concatenate([applied(networks[name], clip) for clip in clips])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    prepared = Prepared(clips[0], ear.front(noise(ear.rate, ear.rate)).times, 0.0, 1.0)
    by_one, by_many = (embed(networks[name], prepared, batch=batch).values for batch in (1, 64))
    np.testing.assert_allclose(by_one, by_many, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("ear", "name"), list(zip(EARS, NAMES, strict=True)), ids=NAMES)
def test_silence_is_safe(ear: Any, name: str, networks: dict[str, nn.Module]) -> None:
    prepared = ear.front(Audio(np.zeros(ear.rate, np.float32), ear.rate, 0.0))
    assert np.isfinite(embed(networks[name], prepared, batch=8).values).all()


@pytest.mark.parametrize("ear", EARS, ids=NAMES)
def test_unfit_sound_is_refused(ear: Any) -> None:
    with pytest.raises(ValueError, match=f"{ear.name} wants sound at {ear.rate} samples per second, got 8000"):
        ear.front(noise(8000, 8000))
    with pytest.raises(ValueError, match="at least one sample"):
        ear.front(Audio(np.zeros(0, np.float32), ear.rate, 0.0))
    with pytest.raises(ValueError, match="not finite"):
        ear.front(Audio(np.full(ear.rate, np.nan, np.float32), ear.rate, 0.0))
    with pytest.raises(ValueError, match="float32"):
        ear.front(Audio(np.zeros(ear.rate), ear.rate, 0.0))
