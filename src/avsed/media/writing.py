"""Samples and images into a recording: H.264 and AAC in an mp4 file."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from avsed.files import replacing

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.video.stream import VideoStream

BLOCK = 1024  # samples in an AAC frame


def write_clip(
    path: str | Path,
    *,
    samples: np.ndarray,
    rate: int,
    images: Iterable[np.ndarray] | None = None,
    fps: int = 15,
    audio_codec: str = "aac",
    video_codec: str = "libx264",
    quality: int = 26,
) -> None:
    """Write mono sound, and pictures at a constant rate, into a file whose ending names the container; whole or not at all.

    samples : float32 (n,), n >= 1, in [-1, 1]; rate : samples per second, one that the codec knows
    images : uint8 (height, width, 3), even sides, one for each 1 / fps seconds from 0 on
    quality : H.264's constant rate factor; smaller is better and larger
    """
    import av

    with replacing(path) as temporary, av.open(str(temporary), "w") as container:
        # Both streams are declared before anything is written: the container's header names them.
        sound = cast("AudioStream", container.add_stream(audio_codec, rate=rate))
        sound.layout = "mono"
        if images is not None:
            shown = iter(images)
            first = next(shown)
            options = {"crf": str(quality), "preset": "veryfast"}
            picture = cast("VideoStream", container.add_stream(video_codec, rate=fps, options=options))
            picture.height, picture.width = first.shape[:2]
            picture.pix_fmt = "yuv420p"
            picture.codec_context.thread_count = 1  # clips are written side by side
            for number, image in enumerate(chain([first], shown)):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, fps)
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        values = np.ascontiguousarray(samples, np.float32)
        for begin in range(0, len(values), BLOCK):
            block = av.AudioFrame.from_ndarray(values[None, begin : begin + BLOCK], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = rate, begin, Fraction(1, rate)
            container.mux(sound.encode(block))
        container.mux(sound.encode(None))
