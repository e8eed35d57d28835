"""Pictures of recordings: those on screen at a time, upright, in proportion and of any size."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from recordings import RATE, pictures, tone, write_video

from avsed.errors import MediaError
from avsed.media import probe, read_audio, read_images, stream_images, write_clip


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
    write_video(path, pictures(5), [moment / 1000 for moment in moments], preset="ultrafast", bf="0")
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


def test_pixels_that_are_not_square_keep_their_proportions(tmp_path: Path) -> None:
    image = np.zeros((48, 48, 3), np.uint8)
    image[:, 12:36] = 200  # shown 96 wide: the bright part is square
    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 48, 48, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(2, 1)
        container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
    assert read_images(tmp_path / "wide.mp4", size=32, fit="crop").pixels[0][16, 2:30].min() > 150


def test_narrow_pictures_and_odd_sizes_do_not_take_all_memory(tmp_path: Path) -> None:
    path = tmp_path / "narrow.mkv"
    write_video(path, [np.full((4000, 2, 3), 90, np.uint8)], [0.0], codec="mpeg4")
    assert read_images(path, size=224).pixels.mean() == pytest.approx(90, abs=3)
    with pytest.raises(MediaError, match=r"narrow\.mkv: its pictures of 2 x 4000 pixels are too narrow to crop"):
        read_images(path, size=224, fit="crop")
    for size in (0, (224, -1), (10**9, 10**9)):
        with pytest.raises(ValueError, match="each from 1 to 16384 pixels"):
            read_images(path, size=size)
    with pytest.raises(ValueError, match="times or a rate"):
        read_images(path, size=8, rate=1.0, times=[0.0])
    for times in ([1.0, 0.0], [float("nan")], [[0.0]]):
        with pytest.raises(ValueError, match="do not decrease"):
            read_images(path, size=8, times=np.array(times))
    assert read_images(path, size=9, times=[]).pixels.shape == (0, 9, 9, 3)
    assert len(read_images(path, size=9, rate=0.01).times) == 1  # at least one


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    write_clip(tmp_path / "plain.flac", samples=tone(0.5), rate=RATE, audio_codec="flac")
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "rgb24", Fraction(1, 1)
    image = bytes(encoder.encode(av.VideoFrame.from_ndarray(pictures(3)[2], format="rgb24"))[0])
    numbers: list[int | bytes] = [
        3,
        9,
        b"image/png",
        0,
        64,
        48,
        24,
        0,
        len(image),
        image,
    ]  # FLAC's PICTURE, front cover
    block = b"".join(n if isinstance(n, bytes) else n.to_bytes(4, "big") for n in numbers)
    plain = (tmp_path / "plain.flac").read_bytes()
    after_stream_info = 4 + 4 + 34
    header = b"\x06" + len(block).to_bytes(3, "big")
    (tmp_path / "art.flac").write_bytes(plain[:after_stream_info] + header + block + plain[after_stream_info:])
    with av.open(str(tmp_path / "art.flac")) as container:
        assert len(container.streams.video) == 1  # FFmpeg's view
    assert probe(tmp_path / "art.flac").video == ()
    with pytest.raises(MediaError, match=r"art\.flac: has no video stream"):
        read_images(tmp_path / "art.flac", size=8)
    assert read_audio(tmp_path / "art.flac", rate=RATE).duration == 0.5


def test_pictures_without_times_are_an_error_and_not_counted(tmp_path: Path) -> None:
    write_video(tmp_path / "bare.h264", pictures(10), itertools.count(0, 0.1), bf="0")
    with pytest.raises(MediaError, match=r"bare\.h264: its pictures have no times"):
        read_images(tmp_path / "bare.h264", size=8)
