"""The pretrained ears' front ends against plain references and librosa."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ears import CHUNK, noise
from torch.nn import functional as F

from avsed.features import aisfx, efficientat, vggish
from avsed.features.spectrum import MelSpectrum, from_mel, hann, line_frequencies, mel_edges, to_mel, triangles
from avsed.features.vggish import Vggish
from avsed.media import Audio


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
