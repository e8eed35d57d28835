"""The pretrained ears: front ends and networks against plain references, published tensors, times, short clips."""

from __future__ import annotations

import csv
import hashlib
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from avsed.errors import WeightsError
from avsed.features import aisfx, efficientat, mobilenet, vggish
from avsed.features.aisfx import Aisfx, AisfxNetwork
from avsed.features.efficientat import FILES, PUBLISHED, WIDTHS, EfficientAT, published
from avsed.features.mobilenet import MobileNet
from avsed.features.pretrained import Prepared, embed
from avsed.features.spectrum import MelSpectrum, from_mel, hann, line_frequencies, mel_edges, to_mel, triangles
from avsed.features.vggish import PostProcessing, Vggish, VggishNetwork, pca_parameters
from avsed.features.weights import check, fill, own
from avsed.media import Audio, read_audio

CHUNK = 15_600  # samples at 16 kHz that one chunk of VGGish sees
EARS = (Vggish(), EfficientAT(), EfficientAT(embedding="pooled"), Aisfx())
NAMES = ("vggish", "efficientat frames", "efficientat pooled", "aisfx")


def noise(count: int, rate: int, start: float = 0.0) -> Audio:
    """Noise that swells and fades, with a hum beneath."""
    time = np.arange(count) / rate
    hiss = np.random.default_rng(count).standard_normal(count) * np.square(np.sin(2 * np.pi * 0.3 * time))
    return Audio((0.1 * hiss + 0.2 * np.sin(2 * np.pi * 210 * time)).astype(np.float32), rate, start)


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


@torch.inference_mode()
def applied(network: nn.Module, inputs: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(np.ascontiguousarray(inputs))).numpy()


# Front ends


def mel(hertz: float) -> float:
    return 1127 * math.log(1 + hertz / 700)


def triangle(place: float, low: float, centre: float, high: float) -> float:
    if place <= low or place >= high:
        return 0.0
    return (place - low) / (centre - low) if place <= centre else (high - place) / (high - centre)


def reference_bank(rate: int, size: int, bands: int, lowest: float, highest: float) -> np.ndarray:
    """Triangles in mel, weight by weight: (bands, lines)."""
    step = (mel(highest) - mel(lowest)) / (bands + 1)
    bank = np.zeros((bands, size // 2 + 1))
    for band in range(bands):
        low = mel(lowest) + band * step
        for line in range(size // 2 + 1):
            bank[band, line] = triangle(mel(line * rate / size), low, low + step, low + 2 * step)
    return bank


def reference_vggish(samples: np.ndarray) -> np.ndarray:
    """Google's log-mel map by its definition, a frame at a time."""
    bank = reference_bank(16_000, 512, 64, 125, 7500)
    window = [0.5 - 0.5 * math.cos(2 * math.pi * i / 400) for i in range(400)]
    rows = []
    for start in range(0, len(samples) - 400 + 1, 160):
        magnitudes = np.abs(np.fft.fft(samples[start : start + 400].astype(np.float64) * window, 512))[:257]
        rows.append([math.log(value + 0.01) for value in bank @ magnitudes])
    return np.array(rows)


def test_the_front_end_of_vggish_is_googles() -> None:
    audio = noise(40_000, 16_000)
    expected = reference_vggish(audio.samples)
    found = vggish.log_mel(audio.samples)
    assert found.dtype == np.float32 and found.shape == expected.shape == (248, 64)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    inputs = Vggish().front(audio).inputs
    assert inputs.shape == ((248 - 96) // 6 + 1, 96, 64) and inputs.dtype == np.float32
    for row, chunk in enumerate(inputs):
        np.testing.assert_allclose(chunk, expected[6 * row : 6 * row + 96], rtol=0, atol=1e-5)


def test_a_chunk_of_vggish_is_what_its_samples_alone_give() -> None:
    audio = noise(30_000, 16_000)
    inputs = Vggish().front(audio).inputs
    for row in (0, 3, len(inputs) - 1):
        alone = Audio(audio.samples[row * 960 : row * 960 + CHUNK], 16_000, 0.0)
        assert np.array_equal(Vggish().front(alone).inputs[0], inputs[row])


@pytest.mark.parametrize("count", [10_240, 32_001, 50_000])
def test_the_front_end_of_efficientat_is_the_published_one(count: int) -> None:
    audio = noise(count, 32_000)
    x = torch.from_numpy(audio.samples).double()
    x = F.conv1d(x[None, None], torch.tensor([[[-0.97, 1.0]]]).double())[0, 0]
    window = torch.hann_window(800, periodic=False, dtype=torch.float64)
    power = torch.stft(x, 1024, 320, 800, window, center=True, pad_mode="reflect", return_complex=True).abs() ** 2
    bank = torch.from_numpy(reference_bank(32_000, 1024, 128, 0, 15_000))
    expected = ((bank @ power + 1e-5).log() + 4.5) / 5
    found = efficientat.log_mel(audio.samples)
    assert found.shape == ((count - 1) // 320 + 1, 128)
    np.testing.assert_allclose(found, expected.T.numpy(), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:n_fft=:UserWarning")  # librosa's remark about short signals
@pytest.mark.parametrize("count", [1, 7_168, 60_000])
def test_the_front_end_of_aisfx_is_librosas(count: int) -> None:
    librosa = pytest.importorskip("librosa", reason="librosa, the reference, is not installed")
    audio = noise(count, 44_100)
    power = librosa.feature.melspectrogram(
        y=audio.samples.astype(np.float64),
        sr=44_100,
        n_fft=2048,
        hop_length=1024,
        center=True,
        pad_mode="constant",
        power=2.0,
        n_mels=96,
        fmin=0.0,
        fmax=22_050.0,
        htk=True,
        norm=1.0,
    )
    found = aisfx.log_mel(audio.samples)
    assert found.shape == (count // 1024 + 1, 96)
    np.testing.assert_allclose(found, (np.log10(10_000 * power + 1) / 9.457798957824707).T, rtol=0, atol=1e-5)


def test_each_filter_of_aisfx_sums_to_one_and_no_band_is_empty() -> None:
    np.testing.assert_allclose(aisfx._spectrum().filters.sum(1), 1.0, rtol=0, atol=1e-12)
    assert efficientat._spectrum().filters.any(1).all() and vggish._spectrum().filters.any(1).all()


def test_the_mel_scale_and_its_inverse() -> None:
    hertz = np.array([0.0, 125.0, 1000.0, 7500.0, 22_050.0])
    np.testing.assert_allclose(from_mel(to_mel(hertz)), hertz, rtol=1e-12, atol=1e-9)
    assert to_mel(1000.0) == pytest.approx(999.99, abs=0.01)
    assert mel_edges(2, 0.0, 700.0)[-1] == pytest.approx(1127 * math.log(2))


def test_a_spectrum_pads_nothing_and_fills_pieces_and_groups_alike() -> None:
    rng = np.random.default_rng(1)
    signal = rng.standard_normal(64 * 20 * 2 + 70).astype(np.float32)
    filters = rng.random((25, 33)) * (rng.random((25, 33)) < 0.2)
    filters[:12] = 0.0  # a whole group of bands without lines
    window = hann(50, periodic=True)
    found = MelSpectrum(window, 64, 20, 2, filters)(signal)
    assert found.shape == ((len(signal) - 50) // 20 + 1, 25)
    for row in (0, 63, 64, len(found) - 1):
        power = np.abs(np.fft.rfft(signal[20 * row : 20 * row + 50] * window, 64)) ** 2
        np.testing.assert_allclose(found[row], filters @ power, rtol=1e-9, atol=1e-9)


def test_triangles_reach_one_at_their_centres() -> None:
    lines = line_frequencies(16, 16)
    assert np.array_equal(triangles(lines, np.array([0.0, 2.0, 4.0, 8.0]))[0, :5], [0.0, 0.5, 1.0, 0.5, 0.0])


# Networks


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


# Weights


def test_published_files_of_vggish_are_known_by_the_digits_in_their_names(tmp_path: Path) -> None:
    for weights in vggish.WEIGHTS:
        assert weights.sha256 in weights.file and weights.url is not None and weights.url.endswith(weights.file)
    file = tmp_path / "tiny.pth"
    file.write_bytes(b"tiny")
    digest = hashlib.sha256(b"tiny").hexdigest()
    check(file, replace(vggish.PUBLISHED, size=4, sha256=digest[:8]))
    with pytest.raises(WeightsError, match="damaged, or another file"):
        check(file, replace(vggish.PUBLISHED, size=4, sha256=digest[1:9]))


def test_a_damaged_pca_file_beside_the_weights_is_not_passed_over(tmp_path: Path) -> None:
    file, beside = tmp_path / "vggish.pth", tmp_path / vggish.PCA.file
    beside.write_bytes(b"cut short")
    with torch.device("meta"):
        tensors = VggishNetwork(relu=False).state_dict()
    torch.save({name: torch.zeros(1).expand(tensor.shape) for name, tensor in tensors.items()}, file)  # a few kB
    with pytest.raises(WeightsError, match=f"{vggish.PCA.file}: has 9 bytes"):
        Vggish(pca=True).network(file)


def test_sizes_without_a_known_hash_are_refused_and_a_file_of_ones_own_taken(tmp_path: Path) -> None:
    assert set(PUBLISHED) == {"mn04", "mn10"} and set(FILES) == set(WIDTHS)
    with pytest.raises(WeightsError, match=r"no hash is known of .* mn20: download https://.*/mn20_as_mAP_478\.pt"):
        published("mn20")
    with pytest.raises(ValueError, match="efficientat-mn04 are not of size mn10"):
        EfficientAT(size="mn10")
    file = tmp_path / "mn01.pt"
    torch.save(MobileNet(WIDTHS["mn01"]).state_dict(), file)
    ear = EfficientAT(own("efficientat", file), "mn01")
    assert ear.dims == 96 and ear.parameters["weights"] == ear.weights.sha256
    assert embed(ear.network(file), ear.front(noise(32_000, 32_000)), batch=1).values.shape == (4, 96)
    with pytest.raises(WeightsError, match="does not fit MobileNet"):
        EfficientAT().network(file)


def test_the_key_holds_what_shapes_the_rows_and_nothing_else() -> None:
    assert EfficientAT(step=6).key == EfficientAT().key
    ears = [*EARS, EfficientAT(PUBLISHED["mn10"], "mn10"), EfficientAT(embedding="pooled", step=6), Vggish(step=12)]
    ears += [Vggish(relu=True), Vggish(pca=True)]
    assert len({ear.key for ear in ears}) == len(ears)
    for ear in ears:
        assert pickle.loads(pickle.dumps(ear)) == ear  # worker processes are handed it


@pytest.mark.parametrize("ear", [lambda: Vggish(step=0), lambda: EfficientAT(chunk=31), lambda: EfficientAT(step=0)])
def test_numbers_out_of_range_are_refused(ear: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="step"):
        ear()


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


@pytest.mark.parametrize("kind", ["npz", "pth"])
def test_pca_post_processing_is_googles(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    held = {"pca_eigen_vectors": 0.2 * rng.standard_normal((128, 128)), "pca_means": rng.standard_normal(128)}
    file = tmp_path / f"pca.{kind}"
    if kind == "npz":
        np.savez(file, **held)
    else:
        torch.save(held, file)  # numpy arrays in a pickle, as in the published file
    embeddings = rng.standard_normal((7, 128)).astype(np.float32)
    found = applied(PostProcessing(*pca_parameters(file)), embeddings)
    components = np.dot(held["pca_eigen_vectors"], embeddings.T - held["pca_means"][:, None]).T
    expected = ((np.clip(components, -2, 2) + 2) * (255 / 4)).astype(np.uint8)
    assert set(np.unique(found - expected)) <= {-1.0, 0.0, 1.0} and (found == expected).mean() > 0.99
    assert found.min() == 0 and found.max() == 255


def test_other_files_are_no_pca_parameters(tmp_path: Path) -> None:
    file = tmp_path / "pca.pth"
    torch.save({"pca_eigen_vectors": np.eye(3), "pca_means": np.zeros(3)}, file)
    with pytest.raises(WeightsError, match=r"pca\.pth: .* expected shapes"):
        pca_parameters(file)
    torch.save({"pca_eigen_vectors": Path("never"), "pca_means": np.zeros(128)}, file)
    with pytest.raises(WeightsError, match=r"pca\.pth: cannot be read"):
        pca_parameters(file)


def test_only_the_published_checkpoint_of_aisfx_is_unpickled(tmp_path: Path) -> None:
    other = tmp_path / "checkpoint.pth"
    torch.save(({}, {}), other)
    with pytest.raises(WeightsError, match="has SHA-256"):
        aisfx.convert(other, tmp_path / "aisfx.safetensors")
    assert not (tmp_path / "aisfx.safetensors").exists()


# Rows and times

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


# The published network on real recordings


@pytest.fixture(scope="module")
def mn04(shared: Path) -> Path:
    file = shared / "weights" / "mn04_as_mAP_432.pt"
    if not file.is_file():
        pytest.skip(f"published weights not at hand: no file {file}")
    return file


def test_published_weights_of_mn04_load_strictly(mn04: Path) -> None:
    assert own("efficientat", mn04).sha256 == PUBLISHED["mn04"].sha256
    held = torch.load(mn04, weights_only=True, map_location="cpu")
    network = MobileNet(WIDTHS["mn04"])
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == {
        name: tensor.shape for name, tensor in held.items()
    }
    network.load_state_dict(held, strict=True)
    fill(network, held, mn04)


@pytest.mark.parametrize(
    ("clip", "label", "wanted"),
    [
        ("test_00167.mp4", "Dog", {"Dog", "Animal"}),
        ("test_00115.mp4", "Cat", {"Cat", "Meow"}),
        ("test_00026.mp4", "Crying_baby", {"Baby cry, infant cry"}),
        ("test_00058.mp4", "Speech", {"Speech"}),
    ],
)
def test_mn04_knows_what_sounds_in_real_recordings(
    mn04: Path, shared: Path, clip: str, label: str, wanted: set[str]
) -> None:
    with (shared / "weights" / "audioset_class_labels_indices.csv").open(encoding="utf-8") as file:
        labels = [row["display_name"] for row in csv.DictReader(file)]
    with (shared / "avscenes" / "metadata" / "test.tsv").open(encoding="utf-8") as file:
        events = {row["event_label"] for row in csv.DictReader(file, delimiter="\t") if row["filename"] == clip}
    assert events == {label}
    ear = EfficientAT()
    prepared = ear.front(read_audio(shared / "avscenes" / "clips" / "test" / clip, rate=ear.rate))
    frames = ear.network(mn04)
    assert isinstance(frames, mobilenet.FrameEmbedding)
    ranked = [labels[number] for number in applied(frames.network, prepared.inputs)[0].argsort()[::-1][:3]]
    assert wanted <= set(ranked), ranked
    assert embed(frames, prepared, batch=1).values.shape == (len(prepared.times), 384)
