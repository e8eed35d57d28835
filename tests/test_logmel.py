"""Log-mel features against librosa: every kind and length of sound, other parameters, threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from avsed.features import kernels, logmel
from avsed.features.logmel import LogMel, LogMelParameters, log_mel, mel_filterbank
from avsed.features.sequence import extractor_key
from avsed.media import Audio, read_audio

librosa = pytest.importorskip("librosa", reason="librosa, the reference for log-mel features, is not installed")

RATE = 22_100
PAPER = LogMelParameters()


def reference(samples: np.ndarray, parameters: LogMelParameters = PAPER) -> np.ndarray:
    peak = np.abs(samples).max()
    mel = librosa.feature.melspectrogram(
        y=samples / peak if peak > 0 else samples,
        sr=parameters.rate,
        n_fft=parameters.window,
        hop_length=parameters.hop,
        window="hann",
        center=True,
        pad_mode="constant",
        power=1.0,
        n_mels=parameters.bands,
        fmin=parameters.lowest,
        fmax=parameters.highest,
        htk=False,
        norm="slaney",
    )
    return np.log(np.maximum(mel, parameters.floor)).T


def speech_like(count: int) -> np.ndarray:
    """Harmonics of a gliding voice in syllables with pauses, and a little noise."""
    time = np.arange(count) / RATE
    pitch = np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    voice = sum(np.sin(2 * np.pi * k * pitch) / k**1.5 for k in range(1, 40))
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * time), 0, None) * (time % 3 < 2)
    return voice * syllables + 1e-4 * np.random.default_rng(3).standard_normal(count)


def signal(kind: str, count: int = 10 * RATE) -> np.ndarray:
    time = np.arange(count) / RATE
    noise = np.random.default_rng(0).standard_normal(count)
    made = {
        "noise": noise,
        "quiet noise": 1e-6 * noise,
        "low-pass noise": np.convolve(noise, np.hanning(400), "same"),
        "tone": 0.3 * np.sin(2 * np.pi * 1000.3 * time),
        "high tone": np.sin(2 * np.pi * 11_000 * time),
        "chirp": np.sin(2 * np.pi * 50 * time**2),
        "constant": np.ones(count),
        "click": np.eye(1, count, count // 3)[0],
        "speech-like": speech_like(count),
        "silence": np.zeros(count),
    }
    return made[kind].astype(np.float32)


@pytest.mark.parametrize(
    "kind",
    [
        "noise",
        "quiet noise",
        "low-pass noise",
        "tone",
        "high tone",
        "chirp",
        "constant",
        "click",
        "speech-like",
        "silence",
    ],
)
def test_agrees_with_librosa(kind: str) -> None:
    samples = signal(kind)
    found = log_mel(samples, PAPER)
    assert found.dtype == np.float32 and found.shape == (604, 128)
    np.testing.assert_allclose(found, reference(samples), rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore:n_fft=:UserWarning")  # librosa's remark about short signals
@pytest.mark.parametrize("count", [1, 2, 365, 366, 1023, 1024, 1025, 2047, 2048, 2049, 48 * 366 - 1, 48 * 366, 50_001])
def test_every_length_has_its_frames_and_agrees_with_librosa(count: int) -> None:
    samples = signal("noise", 50_001)[:count]
    found = log_mel(samples, PAPER)
    assert found.shape == (count // 366 + 1, 128)
    np.testing.assert_allclose(found, reference(samples), rtol=0, atol=1e-4)


OTHERS = [
    {"rate": 16_000, "window": 1024, "hop": 160, "bands": 64, "lowest": 125.0, "highest": 7500.0, "floor": 1e-3},
    {"rate": 44_100, "window": 2048, "hop": 511, "bands": 40, "highest": 22_050.0},
    {"rate": 8_000, "window": 500, "hop": 500, "bands": 7, "lowest": 900.0, "highest": 3999.0},
]


@pytest.mark.parametrize("values", [{}, *OTHERS])
def test_other_parameters_agree_with_librosa(values: dict[str, Any]) -> None:
    parameters = LogMelParameters(**values)
    filters = librosa.filters.mel(
        sr=parameters.rate,
        n_fft=parameters.window,
        n_mels=parameters.bands,
        fmin=parameters.lowest,
        fmax=parameters.highest,
    )
    np.testing.assert_allclose(mel_filterbank(parameters), filters, rtol=0, atol=1e-6)
    samples = signal("speech-like", 30_000)
    np.testing.assert_allclose(log_mel(samples, parameters), reference(samples, parameters), rtol=0, atol=1e-4)


def test_real_recordings_agree_with_librosa(shared: Path) -> None:
    clips = sorted((shared / "avscenes" / "clips" / "validation").iterdir())[:6]
    assert len(clips) == 6
    for clip in clips:
        samples = read_audio(clip, rate=RATE).samples
        np.testing.assert_allclose(log_mel(samples, PAPER), reference(samples), rtol=0, atol=1e-4, err_msg=str(clip))


def test_silence_is_the_floor_and_loudness_does_not_matter() -> None:
    assert (log_mel(signal("silence"), PAPER) == np.float32(np.log(np.float32(1e-5)))).all()
    samples = signal("speech-like", 30_000)
    np.testing.assert_array_equal(log_mel(samples / 64, PAPER), log_mel(samples, PAPER))


def test_threads_may_compute_at_the_same_time() -> None:
    signals = [signal("noise", count) for count in range(20_000, 60_000, 1_500)]
    alone = [log_mel(samples, PAPER) for samples in signals]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda samples: log_mel(samples, PAPER), signals))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_number_of_threads_changes_no_bit() -> None:
    samples = signal("speech-like")
    alone = log_mel(samples, PAPER)
    for threads in (2, 7):
        np.testing.assert_array_equal(log_mel(samples, PAPER, threads=threads), alone)


@pytest.mark.parametrize("place", [0, logmel.PIECE])
def test_what_goes_wrong_in_any_thread_is_raised(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    def fill(result: np.ndarray, first: int, *others: Any) -> None:
        if first == place:
            raise MemoryError("no room")

    monkeypatch.setattr(logmel, "_fill", fill)
    with pytest.raises(MemoryError, match="no room"):
        log_mel(signal("noise"), PAPER, threads=2)


@pytest.mark.parametrize("kind", ["noise", "tone", "click", "constant"])
def test_the_compiled_transform_agrees_with_numpy_on_every_line(kind: str) -> None:
    signal_, lines = signal(kind, 10_000), 1025
    single = kernels.Filters(np.arange(lines), np.arange(lines) + 1, np.ones(lines, np.float32))  # a band for each line
    window = np.random.default_rng(1).uniform(0.5, 1, 2048)
    found = np.empty((20, lines), np.float32)
    kernels.mel_of_sound(signal_, 400, window, single, found)
    frames = np.lib.stride_tricks.sliding_window_view(signal_, 2048)[::400]
    expected = np.abs(np.fft.rfft(frames * window))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-15 * expected.max())


def test_many_processes_may_compile_at_the_same_time(tmp_path: Path) -> None:
    code = (
        "import numpy as np, zlib; from avsed.features.logmel import LogMelParameters, log_mel\n"
        "samples = np.sin(np.arange(40_000, dtype=np.float32) ** 1.5)\n"
        "print(zlib.crc32(log_mel(samples, LogMelParameters(), threads=2)))"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) for _ in range(3)
    ]
    found = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0] and found[0]
    found.append(subprocess.run(processes[0].args, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    assert set(found) == {found[0]} and any(tmp_path.rglob("*mel_of_sound*.nbc"))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.float32), "at least one sample"),
        (np.zeros((2, 100), np.float32), r"float32 samples of shape \(n,\), got float32 \(2, 100\)"),
        (np.zeros(100), "got float64"),
        (np.array([0, np.nan, 1], np.float32), "not finite"),
        (np.array([0, -np.inf, 1], np.float32), "not finite"),
    ],
)
def test_unusable_samples_are_refused(samples: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        log_mel(samples, PAPER)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window": 2047}, "multiple of 2"),
        ({"hop": 2049}, "must not exceed the window"),
        ({"highest": 11_051.0}, "lowest < highest <= rate / 2"),
        ({"lowest": 11_050.0}, "lowest < highest <= rate / 2"),
        ({"window": 256, "hop": 128}, "band 0 holds no line"),
        ({"floor": 0.0}, "greater than 0"),
        ({"bandz": 128}, "Extra inputs"),
    ],
)
def test_impossible_parameters_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LogMelParameters(**values)


def test_narrow_bands_are_refused_exactly_where_librosa_leaves_one_empty() -> None:
    for bands in range(150, 420, 9):
        try:
            LogMelParameters(bands=bands)
            empty = False
        except ValidationError:
            empty = True
        filters = librosa.filters.mel(sr=RATE, n_fft=2048, n_mels=bands, fmax=11_050)
        assert empty == (filters.max(1) == 0).any(), bands


def test_the_key_tells_every_parameter_and_the_version_apart() -> None:
    changed = {
        "rate": 22_101,
        "window": 2050,
        "hop": 367,
        "bands": 64,
        "lowest": 1.0,
        "highest": 11_000.0,
        "floor": 1e-6,
    }
    assert changed.keys() == LogMelParameters.model_fields.keys()
    keys = {LogMel(LogMelParameters(**{name: value})).key for name, value in changed.items()}
    keys |= {LogMel().key, extractor_key("logmel", logmel.VERSION + 1, LogMel().parameters)}
    assert len(keys) == len(changed) + 2
    assert LogMel() == LogMel(LogMelParameters()) and hash(LogMel()) == hash(LogMel(LogMelParameters()))
    assert LogMel().key.startswith(f"logmel-{logmel.VERSION}-")


def test_golden_values_hold_for_this_version() -> None:
    """If these numbers must change, raise ``VERSION``, or stored features of the old kind are taken for new ones."""
    found = log_mel(signal("chirp"), PAPER)
    assert logmel.VERSION == 1
    golden = {
        (0, 0): 0.4276665,
        (100, 5): 3.1252239,
        (300, 14): -5.827283,
        (603, 28): -0.5441487,
        (450, 60): -11.512925,
    }
    for place, value in golden.items():
        assert found[place] == pytest.approx(value, abs=1e-4)


def test_rows_stand_at_their_sound() -> None:
    start, place = 1.25, 100 * 366  # the click is at the centre of frame 100
    samples = np.zeros(5 * RATE + 17, np.float32)
    samples[place] = 1.0
    sequence = LogMel().extract(Audio(samples, RATE, start))
    loudest = int(sequence.values.sum(1).argmax())
    assert loudest == 100
    assert sequence.times[loudest] == pytest.approx(start + place / RATE, abs=1e-9)
    assert (sequence.begin, sequence.duration) == (start, pytest.approx(len(samples) / RATE))
    assert np.diff(sequence.times) == pytest.approx(LogMel().period)
    assert sequence.values.shape[1] == LogMel().dims == 128
    with pytest.raises(ValueError, match="22100 samples per second, got 16000"):
        LogMel().extract(Audio(samples, 16_000, 0.0))
