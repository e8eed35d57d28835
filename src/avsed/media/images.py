"""Pictures out of recordings, with the times at which they are shown.

A picture is shown from its presentation time until the next one's; times come from the stream, never from a count and a rate, so that
a variable frame rate or a stream that starts late is no special case.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from avsed.errors import MediaError
from avsed.media.container import beginning, choose_stream, opened, seconds, video_streams, warn
from avsed.media.probe import rotation

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

Fit = Literal["stretch", "crop"]
REJECTED = 0.5  # share of packets that the decoder may reject


@dataclass(frozen=True)
class Images:
    """Pictures and their times.

    pixels : uint8 (images, height, width, 3), RGB
    times : float64 (images,), non-decreasing: presentation time of each picture, seconds from the container's beginning
    """

    pixels: np.ndarray
    times: np.ndarray

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.shape[3] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"images must be uint8 (n, height, width, 3), got {self.pixels.dtype} {self.pixels.shape}")
        if self.times.shape != self.pixels.shape[:1] or np.any(np.diff(self.times) < 0):
            raise ValueError(
                f"{len(self.pixels)} images need as many non-decreasing times, got shape {self.times.shape}"
            )


def read_images(
    path: str | Path,
    *,
    size: tuple[int, int],
    fit: Fit = "stretch",
    times: Sequence[float] | np.ndarray | None = None,
    rate: float | None = None,
    stream: int = 0,
) -> Images:
    """Pictures of a recording, all in memory; see `stream_images`."""
    blocks = list(stream_images(path, size=size, fit=fit, times=times, rate=rate, stream=stream))
    if not blocks:
        return Images(np.zeros((0, *size, 3), np.uint8), np.zeros(0))
    return Images(np.concatenate([b.pixels for b in blocks]), np.concatenate([b.times for b in blocks]))


def stream_images(
    path: str | Path,
    *,
    size: tuple[int, int],
    fit: Fit = "stretch",
    times: Sequence[float] | np.ndarray | None = None,
    rate: float | None = None,
    block: int = 32,
    stream: int = 0,
) -> Iterator[Images]:
    """Pictures of a recording in blocks of at most ``block``, in bounded memory.

    size : (height, width) in pixels; pictures are turned upright first
    fit : "stretch" to the size, or "crop": scale until both sides reach the size, then take the centre
    times : increasing seconds; for each the picture on screen then, that is the last one that began at or before it (before the
        first picture, the first)
    rate : pictures a second: those on screen at (i + ½) / rate, for the stream's own length. Without times and rate: all pictures

    Raises MediaError, naming the file, if it cannot be decoded, holds no pictures or has no such stream; ValueError if both times and
    rate are given or times decrease.
    """
    if times is not None and rate is not None:
        raise ValueError("give times or a rate, not both")
    wanted: Iterator[float] | None = None
    if times is not None:
        asked = np.asarray(times, np.float64)
        if np.any(np.diff(asked) < 0):
            raise ValueError("the times of images must not decrease")
        wanted = iter(asked.tolist())
    elif rate is not None:
        if not rate > 0:
            raise ValueError(f"the rate of images must be positive, got {rate}")
        wanted = ((index + 0.5) / rate for index in itertools.count())
    pixels: list[np.ndarray] = []
    shown: list[float] = []
    for time, image in _chosen(path, stream, size, fit, wanted, endless=rate is not None):
        pixels.append(image)
        shown.append(time)
        if len(pixels) == block:
            yield Images(np.stack(pixels), np.array(shown))
            pixels, shown = [], []
    if pixels:
        yield Images(np.stack(pixels), np.array(shown))


def _chosen(
    path: str | Path, number: int, size: tuple[int, int], fit: Fit, wanted: Iterator[float] | None, *, endless: bool
) -> Iterator[tuple[float, np.ndarray]]:
    """(presentation time, picture) for each wanted time, or for all pictures."""
    with opened(path) as container:
        stream = choose_stream(path, video_streams(container), number, kind="video")
        zero = beginning(container)
        # What was decoded last is on screen until the next picture begins; it is converted when it is first asked for.
        held: tuple[float, VideoFrame] | None = None
        image: np.ndarray | None = None
        target = next(wanted, None) if wanted is not None else None
        last = -math.inf
        length = 0.0
        for frame in _frames(path, container, stream):
            time = (seconds(frame.pts, frame.time_base) or 0.0) - zero if frame.pts is not None else last
            if time < last:
                raise MediaError(path, f"its pictures go back in time, from {last:.3f} to {time:.3f} s: it is damaged")
            last = time
            length = time + (seconds(frame.duration, frame.time_base) or 0.0)
            if wanted is None:
                yield time, _convert(frame, size, fit)
                continue
            while held is not None and target is not None and target < time:
                image = _convert(held[1], size, fit) if image is None else image
                yield held[0], image
                target = next(wanted, None)
            held, image = (time, frame), None
            if target is None:
                return
        if held is None and (wanted is not None or last == -math.inf):
            raise MediaError(path, "its video stream holds no pictures")
        while held is not None and target is not None and not (endless and target >= length):
            image = _convert(held[1], size, fit) if image is None else image
            yield held[0], image
            target = next(wanted, None) if wanted is not None else None


def _frames(path: str | Path, container: InputContainer, stream: object) -> Iterator[VideoFrame]:
    """Decoded pictures in the order in which they are shown; packets that the decoder rejects are counted and passed over."""
    import av

    packets = rejected = 0
    for packet in container.demux(stream):
        packets += 1
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            rejected, last = rejected + 1, error
            continue
        yield from (frame for frame in frames if isinstance(frame, av.VideoFrame))
    if rejected > REJECTED * packets:
        raise MediaError(path, f"the decoder rejects {rejected} of its {packets} video packets ({last}): it is damaged")
    if rejected:
        warn(path, f"the decoder rejects {rejected} of its {packets} video packets: passed over")


def _convert(frame: VideoFrame, size: tuple[int, int], fit: Fit) -> np.ndarray:
    """A decoded picture as uint8 (height, width, 3), scaled by FFmpeg (bilinear), turned upright."""
    height, width = size
    turned = rotation(frame)
    target = (width, height) if turned in (90, 270) else (height, width)  # before turning
    if fit == "crop":
        scale = max(target[0] / frame.height, target[1] / frame.width)
        scaled = max(target[0], round(frame.height * scale)), max(target[1], round(frame.width * scale))
    else:
        scaled = target
    pixels = frame.reformat(width=scaled[1], height=scaled[0], format="rgb24", interpolation="BILINEAR").to_ndarray()
    top, left = (scaled[0] - target[0]) // 2, (scaled[1] - target[1]) // 2
    pixels = pixels[top : top + target[0], left : left + target[1]]
    return np.ascontiguousarray(np.rot90(pixels, -turned // 90)) if turned else np.ascontiguousarray(pixels)
