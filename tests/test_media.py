"""Media: real encoders and files, what comes back sample by sample, and what a damaged file says."""

from __future__ import annotations

import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from avsed.errors import MediaError
from avsed.media import MediaWarning, probe, read_audio, read_images, stream_audio, stream_images, write_clip
from avsed.tables import read_durations

RATE = 44100


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


def pictures(count: int) -> list[np.ndarray]:
    """Grey pictures, each 5 brighter than the one before."""
    return [np.full((48, 64, 3), 5 * number, np.uint8) for number in range(count)]


@pytest.mark.parametrize(
    ("name", "codec", "padding"),
    [
        ("a.wav", "pcm_s16le", 0),
        ("a.wav", "pcm_f32le", 0),
        ("a.flac", "flac", 0),
        ("a.mkv", "flac", 0),
        ("a.mov", "pcm_s16le", 0),
        ("a.mp4", "aac", 1024),
        ("a.mkv", "aac", 2048),
        ("a.mp3", "libmp3lame", 1152),
    ],
)
def test_samples_come_back_at_their_time(tmp_path: Path, name: str, codec: str, padding: int) -> None:
    samples = 0.2 * tone(1.5)
    samples[RATE : RATE + 40] = 0.9  # a click at 1 s
    write_clip(tmp_path / name, samples=samples, rate=RATE, audio_codec=codec)
    audio = read_audio(tmp_path / name, rate=RATE)
    assert abs(len(audio.samples) - len(samples)) <= padding
    assert audio.start == pytest.approx(0.0, abs=1e-3)
    click = audio.start + np.argmax(np.abs(audio.samples)) / RATE
    assert click == pytest.approx(1.0, abs=0.003)
    if not padding:
        assert np.abs(audio.samples - samples).max() < 2 / 32768


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


def test_pictures_are_those_on_screen(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_clip(path, samples=tone(2), rate=RATE, images=pictures(20), fps=10)
    every = read_images(path, size=(24, 32))
    assert every.pixels.shape == (20, 24, 32, 3)
    assert every.times == pytest.approx(np.arange(20) / 10)
    brightness = every.pixels.mean(axis=(1, 2, 3))
    assert brightness == pytest.approx(5 * np.arange(20), abs=3)

    asked = read_images(path, size=(24, 32), times=[-1.0, 0.05, 0.1, 0.19, 0.19, 1.55, 99.0])
    assert asked.times == pytest.approx([0, 0, 0.1, 0.1, 0.1, 1.5, 1.9])
    assert asked.pixels.mean(axis=(1, 2, 3)) == pytest.approx([0, 0, 5, 5, 5, 75, 95], abs=3)

    slow = read_images(path, size=(24, 32), rate=2.0)
    assert slow.times == pytest.approx([0.2, 0.7, 1.2, 1.7])

    blocks = list(stream_images(path, size=(24, 32), block=7))
    assert [len(b.pixels) for b in blocks] == [7, 7, 6]
    assert np.array_equal(np.concatenate([b.pixels for b in blocks]), every.pixels)


def test_a_variable_frame_rate_is_no_special_case(tmp_path: Path) -> None:
    path = tmp_path / "vfr.mkv"
    moments = [0, 40, 500, 520, 1900]  # milliseconds
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for moment, image in zip(moments, pictures(5), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    assert read_images(path, size=(8, 8)).times == pytest.approx(np.array(moments) / 1000, abs=1e-3)
    shown = read_images(path, size=(8, 8), times=[0.3, 0.51, 1.0, 1.89, 1.91])
    assert shown.times == pytest.approx([0.04, 0.5, 0.52, 0.52, 1.9], abs=1e-3)


def test_pictures_are_cropped_at_the_centre(tmp_path: Path) -> None:
    image = np.zeros((48, 96, 3), np.uint8)
    image[:, 24:72] = 200
    write_clip(tmp_path / "a.mp4", samples=tone(0.5), rate=RATE, images=[image] * 5, fps=10)
    cropped = read_images(tmp_path / "a.mp4", size=(32, 32), fit="crop").pixels[0]
    stretched = read_images(tmp_path / "a.mp4", size=(32, 32)).pixels[0]
    assert cropped[16, 2:30].min() > 150
    assert stretched[16, [1, 30]].max() < 60


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    image = np.zeros((48, 96, 3), np.uint8)
    image[:, :48] = 220  # the left half is bright
    with av.open(str(tmp_path / "turned.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 96, 48, "yuv420p"
        video.set_display_rotation(-90)  # counter-clockwise, as FFmpeg counts
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    info = probe(tmp_path / "turned.mp4").video[0]
    assert (info.rotation, info.width, info.height) == (90, 48, 96)
    upright = read_images(tmp_path / "turned.mp4", size=(96, 48)).pixels[0]
    assert upright[:40].mean() > 180  # what was left is on top
    assert upright[56:].mean() < 40


def test_a_missing_stream_is_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "sound.wav", samples=tone(0.5), rate=RATE, audio_codec="pcm_s16le")
    with pytest.raises(MediaError, match=r"sound\.wav: has no video stream"):
        read_images(tmp_path / "sound.wav", size=(8, 8))
    with pytest.raises(MediaError, match=r"sound\.wav: has 1 audio streams, but number 1"):
        read_audio(tmp_path / "sound.wav", rate=RATE, stream=1)
    with av.open(str(tmp_path / "silent.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_ndarray(pictures(1)[0], format="rgb24")))
        container.mux(video.encode(None))
    with pytest.raises(MediaError, match=r"silent\.mp4: has no audio stream"):
        read_audio(tmp_path / "silent.mp4", rate=RATE)
    assert len(read_images(tmp_path / "silent.mp4", size=(8, 8)).times) == 1


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    for name, message in (
        ("absent.mp4", "no such file"),
        ("", "not a file"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "cannot be decoded"),
    ):
        for function in (probe, lambda p: read_audio(p, rate=RATE), lambda p: read_images(p, size=(8, 8))):
            with pytest.raises(MediaError, match=message):
                function(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_a_file_cut_short_is_an_error_and_not_zeros(tmp_path: Path, name: str) -> None:
    webm = name.endswith("webm")
    codecs = {"audio_codec": "libopus", "video_codec": "libvpx"} if webm else {}
    rate = 48000 if webm else RATE
    noise = (0.3 * np.random.default_rng(0).standard_normal(4 * rate)).astype(np.float32).clip(-1, 1)
    write_clip(tmp_path / name, samples=noise, rate=rate, images=pictures(40), fps=10, **codecs)
    assert read_audio(tmp_path / name, rate=rate).duration == pytest.approx(4.0, abs=0.05)
    whole = (tmp_path / name).read_bytes()
    for share in (0.02, 0.3, 0.6, 0.8):
        (tmp_path / f"cut-{name}").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(MediaError, match=f"cut-{name}"):
            read_audio(tmp_path / f"cut-{name}", rate=rate)


def test_damaged_bytes_end_in_samples_or_an_error(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", samples=tone(2), rate=RATE, images=pictures(20), fps=10)
    good = (tmp_path / "a.mp4").read_bytes()
    random = np.random.default_rng(0)
    outcomes = set()
    for number in range(40):
        bad = bytearray(good)
        for place in random.integers(0, len(bad), 1 + number):
            bad[place] = random.integers(0, 256)
        path = tmp_path / "bad.mp4"
        path.write_bytes(bad)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MediaWarning)
            try:
                audio = read_audio(path, rate=RATE)
                assert audio.duration < 4
                outcomes.add("read")
            except MediaError as error:
                assert "bad.mp4" in str(error)
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


READ_ALL = """
import sys, warnings
from pathlib import Path
from avsed.errors import MediaError
from avsed.media import probe, read_audio, read_images
warnings.simplefilter("ignore")
for path in sorted(Path(sys.argv[1]).iterdir()):
    said = []
    for function in (probe, lambda p: read_audio(p, rate=22100), lambda p: read_images(p, size=(32, 32), rate=2.0)):
        try:
            function(path)
            said.append("ok")
        except MediaError as error:
            assert path.name in str(error)
            said.append("error")
    print(path.name, *said, flush=True)
"""


def test_every_odd_file_is_read_or_refused_in_time(shared: Path) -> None:
    folder = shared / "odd_media"
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(folder)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    said = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert len(said) == len(list(folder.iterdir()))
    for name in ("fixture.wav", "fixture.mp3", "fixture.flac", "fixture.opus", "fixture.m4a", "fixture.wma.asf"):
        assert said[name] == ["ok", "ok", "error"], name
    for name in ("fixture.webm", "fixture.mkv", "fixture.avi", "fixture.3gp", "fixture-mjpeg.mov"):
        assert said[name] == ["ok", "ok", "ok"], name
    for name in ("fixture-moov.mov", "fixture-isom.mp4", "fixture-corrupt.mkv"):
        assert said[name] == ["error", "error", "error"], name


def test_avscenes_has_the_durations_of_its_tables(shared: Path) -> None:
    metadata = shared / "avscenes/metadata"
    seen = set()
    for split in ("validation", "test"):
        durations = read_durations(metadata / f"{split}_durations.tsv")
        for name in [n for n in durations if not n.endswith("mp4")][:12] + list(durations)[:12]:
            audio = read_audio(shared / "avscenes/clips" / split / name, rate=22100)
            assert audio.duration == pytest.approx(durations[name], abs=0.07), (
                name
            )  # AAC's priming of 1024 samples is in these files
            seen.add(Path(name).suffix)
    assert seen == {".mp4", ".mkv", ".webm"}
