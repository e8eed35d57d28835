"""Sound and pictures in real files, with a click to tell their time by, that the tests of media share."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

from avsed.media import read_audio

RATE = 44100


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


def pictures(count: int) -> list[np.ndarray]:
    """Grey pictures, each 5 brighter than the one before."""
    return [np.full((48, 64, 3), 5 * number, np.uint8) for number in range(count)]


def write_video(
    path: Path, images: list[np.ndarray], moments: Iterable[float], codec: str = "libx264", **options: str
) -> None:
    """Pictures alone, each at its moment in seconds, to the millisecond."""
    with av.open(str(path), "w") as container:
        video = cast(VideoStream, container.add_stream(codec, rate=25, options=options))
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for image, moment in zip(images, moments, strict=False):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(moment * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def click(count: int, rate: int) -> np.ndarray:
    """A soft tone with a click of 40 samples at 1 s."""
    samples = 0.1 * tone(count / rate, rate)
    samples[rate : rate + 40] = 0.9
    return samples


def click_time(path: Path, rate: int) -> float:
    """Seconds at which the click comes back, by cross-correlation with what was written."""
    audio = read_audio(path, rate=rate)
    around = click(rate + rate // 20, rate)[-rate // 10 :]
    return audio.start + float(np.argmax(np.correlate(audio.samples, around, "valid"))) / rate + 0.05
