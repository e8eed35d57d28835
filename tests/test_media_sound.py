"""Sound of recordings: as many samples as were written, at their time, of any rate, channels and codec."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recordings import RATE, click, click_time, pictures, tone

from avsed.errors import MediaError
from avsed.media import probe, read_audio, read_images, stream_audio, write_clip
from avsed.media.audio import mono, regrouped, resampled
from avsed.media.container import seconds
from avsed.tables import read_durations


@given(st.integers(-(2**62), 2**62), st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1))
def test_times_are_rounded_once(value: int, numerator: int, denominator: int) -> None:
    unit = Fraction(numerator, denominator)
    assert seconds(value, unit) == float(value * unit)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "padding"),
    [
        ("a.wav", "pcm_s16le", RATE, 0),
        ("a.wav", "pcm_f32le", RATE, 0),
        ("a.flac", "flac", RATE, 0),
        ("a.mkv", "flac", RATE, 0),
        ("a.mov", "pcm_s16le", RATE, 0),
        ("a.mp4", "alac", RATE, 0),
        ("a.mp4", "aac", RATE, 0),
        ("a.mp4", "aac", 16000, 0),
        ("a.m4a", "aac", 48000, 0),
        ("a.mkv", "aac", RATE, 1023),  # Matroska does not tell how much of the last packet is padding
        ("a.mp3", "libmp3lame", RATE, 0),
        ("a.mkv", "libmp3lame", RATE, 0),
        ("a.webm", "libopus", 48000, 0),
        ("a.opus", "libopus", 48000, 0),
        ("a.mp4", "libopus", 48000, 0),
    ],
)
def test_as_many_samples_come_back_at_their_time(
    tmp_path: Path, name: str, codec: str, rate: int, padding: int
) -> None:
    samples = click(round(1.5 * rate) + 1, rate)  # no whole number of milliseconds or packets
    write_clip(tmp_path / name, samples=samples, rate=rate, audio_codec=codec)
    audio = read_audio(tmp_path / name, rate=rate)
    assert 0 <= len(audio.samples) - len(samples) <= padding
    assert audio.start == pytest.approx(0.0, abs=1e-9)
    assert click_time(tmp_path / name, rate) == pytest.approx(1.0, abs=0.002)
    if codec in ("pcm_s16le", "pcm_f32le", "flac", "alac"):
        assert np.abs(audio.samples - samples).max() < 2 / 32768


@pytest.mark.parametrize(
    ("name", "codec", "rate", "video_codec"),
    [("a.mp4", "aac", RATE, "libx264"), ("a.mkv", "aac", RATE, "libx264"), ("a.webm", "libopus", 48000, "libvpx")],
)
def test_sound_and_pictures_share_their_time(
    tmp_path: Path, name: str, codec: str, rate: int, video_codec: str
) -> None:
    images = [np.full((48, 64, 3), 220 if number >= 25 else 10, np.uint8) for number in range(40)]  # bright from 1 s on
    sound = click(round(1.6 * rate), rate)
    path = tmp_path / name
    write_clip(path, samples=sound, rate=rate, images=images, fps=25, audio_codec=codec, video_codec=video_codec)
    shown = read_images(path, size=8)
    first_bright = shown.times[np.argmax(shown.pixels.mean(axis=(1, 2, 3)) > 100)]
    assert first_bright - click_time(path, rate) == pytest.approx(0.0, abs=0.01)


@settings(max_examples=60)
@example(count=30_000, native=48_000, rate=44_100, cut=1, size=1)  # 27,562.5 samples: a tie
@example(count=1, native=96_000, rate=16_000, cut=1, size=1)  # a sixth of a sample: none
@given(
    count=st.integers(1, 30_000),
    native=st.sampled_from([8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000]),
    rate=st.sampled_from([16000, 22100, 32000, 44100]),
    cut=st.integers(1, 5000),
    size=st.integers(1, 5000),
)
def test_resampling_counts_and_does_not_depend_on_the_pieces(
    count: int, native: int, rate: int, cut: int, size: int
) -> None:
    samples = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    pieces = [samples[begin : begin + cut] for begin in range(0, count, cut)]
    whole = np.concatenate(list(resampled([samples], native, rate)))
    blocks = list(regrouped(resampled(pieces, native, rate), size))
    assert len(whole) == (2 * count * rate + native) // (2 * native)  # floor(x + 1/2)
    assert np.array_equal(np.concatenate([*blocks, whole[:0]]), whole)
    assert all(len(block) == size for block in blocks[:-1])
    assert all(0 < len(block) <= size for block in blocks)


def test_streaming_takes_little_memory(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(RATE * 120), RATE, subtype="PCM_16")  # 21 MB as float32
    list(stream_audio(tmp_path / "long.wav", rate=22100))  # what is imported on the way does not count
    tracemalloc.start()
    total = sum(len(block.samples) for block in stream_audio(tmp_path / "long.wav", rate=22100, block_s=1.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 120 * 22100
    assert peak < 1_000_000


def test_each_of_several_audio_streams_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("flac", rate=16000), container.add_stream("flac", rate=8000)]
        for stream in streams:
            stream.layout = "mono"
        for level, stream in zip((8192, -4096), streams, strict=True):
            values = np.full((1, stream.rate), level, np.int16)
            block = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = stream.rate, 0, Fraction(1, stream.rate)
            container.mux(stream.encode(block))
            container.mux(stream.encode(None))
    assert [stream.rate for stream in probe(path).audio] == [16000, 8000]
    for number, expected in enumerate((0.25, -0.125)):
        audio = read_audio(path, rate=8000, stream=number)
        assert audio.duration == 1.0
        assert audio.samples[100:-100] == pytest.approx(expected, abs=1e-3)
    with pytest.raises(MediaError, match=r"two\.mkv: has 2 audio streams, but number 2"):
        read_audio(path, rate=8000, stream=2)


def test_many_channels_are_read_without_a_crash(tmp_path: Path) -> None:
    levels = np.linspace(-0.5, 0.7, 12, dtype=np.float32)
    soundfile.write(tmp_path / "packed.wav", np.tile(levels, (1000, 1)), 16000, subtype="FLOAT")
    assert read_audio(tmp_path / "packed.wav", rate=16000).samples == pytest.approx(levels.mean(), abs=1e-6)
    packed = av.AudioFrame.from_ndarray(np.tile(levels, (1, 500)), format="flt", layout="12 channels")
    packed.sample_rate = 16000
    planar = av.AudioResampler(format="fltp", layout="12 channels", rate=16000).resample(packed)[0]
    assert planar.format.is_planar
    assert mono(planar) == pytest.approx(levels.mean(), abs=1e-6)


def test_sound_whose_form_changes(tmp_path: Path) -> None:
    for name, rate, channels in (("a", 44100, 1), ("b", 22050, 1), ("c", 44100, 2)):
        layout = "mono" if channels == 1 else "stereo"
        with av.open(str(tmp_path / f"{name}.aac"), "w") as container:
            stream = container.add_stream("aac", rate=rate)
            stream.layout = layout
            for begin in range(0, rate, 1024):
                block = av.AudioFrame.from_ndarray(np.full((channels, 1024), 0.25, np.float32), "fltp", layout)
                block.sample_rate, block.pts, block.time_base = rate, begin, Fraction(1, rate)
                container.mux(stream.encode(block))
            container.mux(stream.encode(None))
    first = (tmp_path / "a.aac").read_bytes()
    (tmp_path / "rate.aac").write_bytes(first + (tmp_path / "b.aac").read_bytes())
    (tmp_path / "channels.aac").write_bytes(first + (tmp_path / "c.aac").read_bytes())
    with pytest.raises(MediaError, match=r"its sample rate changes from 44100 to 22050 Hz at 1\.\d+ s; convert it"):
        read_audio(tmp_path / "rate.aac", rate=RATE)
    assert read_audio(tmp_path / "channels.aac", rate=RATE).duration == pytest.approx(2.0, abs=0.15)


def test_a_recording_without_a_stated_length_is_read(tmp_path: Path) -> None:
    class Pipe:
        """A place to write to that cannot go back, like a live stream's."""

        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes) -> int:
            self.data += bytes(data)
            return len(data)

    write_clip(tmp_path / "a.mkv", samples=tone(1), rate=RATE, audio_codec="flac")
    pipe = Pipe()
    with av.open(str(tmp_path / "a.mkv")) as source, av.open(pipe, "w", format="matroska") as target:
        copy = target.add_stream_from_template(source.streams[0])
        for packet in source.demux(source.streams[0]):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    (tmp_path / "live.mkv").write_bytes(pipe.data)
    assert probe(tmp_path / "live.mkv").duration is None
    assert read_audio(tmp_path / "live.mkv", rate=RATE).duration == 1.0


def test_ten_seconds_give_the_paper_s_number_of_samples(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav", samples=tone(10, 48000), rate=48000, audio_codec="pcm_s16le")
    audio = read_audio(tmp_path / "a.wav", rate=22100)
    assert len(audio.samples) == 221_000
    assert audio.duration == 10.0
    expected = tone(10, 22100)
    assert np.abs(audio.samples[500:-500] - expected[500:-500]).max() < 1e-3  # same pitch, same phase


def test_channels_are_averaged_and_integers_scaled(tmp_path: Path) -> None:
    left, right = np.full(1000, 0.5), np.full(1000, -0.25)
    for subtype, tolerance in (
        ("PCM_U8", 0.01),
        ("PCM_16", 1e-4),
        ("PCM_24", 1e-6),
        ("PCM_32", 1e-6),
        ("DOUBLE", 1e-7),
    ):
        soundfile.write(tmp_path / f"{subtype}.wav", np.stack([left, right], 1), 16000, subtype=subtype)
        samples = read_audio(tmp_path / f"{subtype}.wav", rate=16000).samples
        assert samples.dtype == np.float32
        assert np.abs(samples - 0.125).max() < tolerance, subtype


@pytest.mark.parametrize("rate", [22100, 16000, RATE])
@pytest.mark.parametrize("block_s", [0.05, 0.31, 100.0])
def test_blocks_join_to_the_whole(tmp_path: Path, rate: int, block_s: float) -> None:
    path = tmp_path / "a.mkv"
    write_clip(path, samples=tone(2.37), rate=RATE, images=pictures(10), fps=5)
    whole = read_audio(path, rate=rate)
    blocks = list(stream_audio(path, rate=rate, block_s=block_s))
    assert np.array_equal(np.concatenate([b.samples for b in blocks]), whole.samples)
    assert all(len(b.samples) <= round(block_s * rate) for b in blocks)
    starts = whole.start + np.cumsum([0] + [len(b.samples) for b in blocks[:-1]]) / rate
    assert [b.start for b in blocks] == pytest.approx(starts.tolist())


def test_streams_that_start_late_keep_their_time(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("flac", rate=16000)
        audio.layout = "mono"
        for number, image in enumerate(pictures(20)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        block = av.AudioFrame.from_ndarray((tone(1, 16000)[None] * 32767).astype(np.int16), format="s16", layout="mono")
        block.sample_rate, block.pts, block.time_base = 16000, 12000, Fraction(1, 16000)
        container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    audio_read = read_audio(path, rate=16000)
    assert audio_read.start == pytest.approx(0.75, abs=2e-3)
    assert audio_read.duration == pytest.approx(1.0, abs=1e-3)
    info = probe(path)
    assert info.audio[0].start == pytest.approx(0.75, abs=2e-3)
    assert (info.video[0].width, info.video[0].height, info.audio[0].channels) == (64, 48, 1)


def test_avscenes_has_the_durations_of_its_tables(shared: Path) -> None:
    metadata = shared / "avscenes/metadata"
    seen = set()
    for split in ("validation", "test"):
        durations = read_durations(metadata / f"{split}_durations.tsv")
        for name in [n for n in durations if not n.endswith("mp4")][:12] + list(durations)[:12]:
            path = shared / "avscenes/clips" / split / name
            info = probe(path).audio[0]
            audio = read_audio(path, rate=22100)
            # These mp4 files present the AAC encoder's delay of 1024 samples as sound: their edit list begins at 0.
            delay = 1024 / info.rate if info.codec == "aac" else 0.0
            assert audio.duration == pytest.approx(durations[name] + delay, abs=1e-3), name
            assert 0 <= audio.start < 0.01
            seen.add(Path(name).suffix)
    assert seen == {".mp4", ".mkv", ".webm"}
