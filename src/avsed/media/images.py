"""Pictures out of recordings, with the times at which they are shown.

A picture is shown from its presentation time until the next one's; times come from the stream, never from a count and a rate, so that
a variable frame rate or a stream that starts late is no special case. Pictures that the decoder marks as damaged are passed over: the
one before stays on the screen. Damage and files cut short: see `avsed.media.decoding`.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from avsed.errors import MediaError
from avsed.media.container import Span, choose_video, opened, seconds
from avsed.media.decoding import decoded
from avsed.media.probe import rotation

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

Fit = Literal["stretch", "crop"]
LONGEST_PICTURE = 3600.0  # seconds for which one picture may be shown; longer is a broken time stamp
LARGEST_SIDE = 16384  # pixels; of what is asked for, and of a picture scaled before it is cropped


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
    size: int | tuple[int, int],
    fit: Fit = "stretch",
    times: Sequence[float] | np.ndarray | None = None,
    rate: float | None = None,
    stream: int = 0,
) -> Images:
    """Pictures of a recording, all in memory; see `stream_images`."""
    chosen = list(_asked(path, size=size, fit=fit, times=times, rate=rate, stream=stream))
    if not chosen:  # no times were asked for
        return Images(np.zeros((0, *_sides(size), 3), np.uint8), np.zeros(0))
    return Images(np.stack([image for _, image in chosen]), np.array([time for time, _ in chosen]))


def stream_images(
    path: str | Path,
    *,
    size: int | tuple[int, int],
    fit: Fit = "stretch",
    times: Sequence[float] | np.ndarray | Iterator[float] | None = None,
    rate: float | None = None,
    block: int = 32,
    stream: int = 0,
) -> Iterator[Images]:
    """Pictures of a recording in blocks of at most ``block``, in bounded memory.

    size : (height, width) in pixels, or one number for both; pictures are turned upright first
    fit : "stretch" to the size, or "crop": scale, in the proportions in which it is shown, until both sides reach the size, then take
        the centre. Scaling is FFmpeg's, bilinear (over the area of an output pixel when it shrinks)
    times : non-decreasing seconds; for each the picture on screen then, that is the last one that began at or before it (before the
        first picture, the first; after the last, the last). An iterator of them may be endless, and then so are the pictures
    rate : pictures a second: those on screen at (i + ½) / rate, from the container's beginning to the end of the last picture, at
        least one. Without times and rate: all pictures

    Raises MediaError, naming the file, if it cannot be decoded, is damaged, holds no pictures or has no such stream; ValueError if both
    times and rate are given, times decrease, or an option is out of range.
    """
    if block < 1:
        raise ValueError(f"a block holds at least one picture, got {block}")
    pixels: list[np.ndarray] = []
    shown: list[float] = []
    for time, image in _asked(path, size=size, fit=fit, times=times, rate=rate, stream=stream):
        pixels.append(image)
        shown.append(time)
        if len(pixels) == block:
            yield Images(np.stack(pixels), np.array(shown))
            pixels, shown = [], []
    if pixels:
        yield Images(np.stack(pixels), np.array(shown))


def picture_span(path: str | Path, *, stream: int = 0) -> Span:
    """From when the first picture is shown until the last one's end; all are decoded, none is converted.

    Raises MediaError like `stream_images`.
    """
    with opened(path) as container:
        pictures = _timed(path, container, _chosen_stream(path, container, stream))
        first = next(pictures, None)
        if first is None:
            raise MediaError(path, "its video stream holds no pictures")
        last = deque([first], maxlen=1)
        last.extend(pictures)
        return Span(first.time, last[0].stop)


def _asked(
    path: str | Path,
    *,
    size: int | tuple[int, int],
    fit: Fit,
    times: Sequence[float] | np.ndarray | Iterator[float] | None,
    rate: float | None,
    stream: int,
) -> Iterator[tuple[float, np.ndarray]]:
    """(presentation time, picture) one by one; see `stream_images`."""
    sides = _sides(size)
    if fit not in ("stretch", "crop"):
        raise ValueError(f"fit must be 'stretch' or 'crop', got {fit!r}")
    return _chosen(path, stream, sides, fit, _wanted(times, rate), endless=rate is not None)


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width). Raises ValueError if they are no usable numbers of pixels."""
    height, width = (size, size) if isinstance(size, int) else size
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise ValueError(f"the size of images is (height, width), each from 1 to {LARGEST_SIDE} pixels, got {size}")
    return height, width


def _wanted(times: Sequence[float] | np.ndarray | Iterator[float] | None, rate: float | None) -> Iterator[float] | None:
    """The times asked for, without end for a rate; None for all pictures."""
    if times is not None and rate is not None:
        raise ValueError("give times or a rate, not both")
    if isinstance(times, Iterator):
        return times
    if times is not None:
        asked = np.asarray(times, np.float64)
        if asked.ndim != 1 or np.isnan(asked).any() or np.any(np.diff(asked) < 0):
            raise ValueError("the times of images are a list of seconds that do not decrease")
        return iter(asked.tolist())
    if rate is not None:
        if not 0 < rate < math.inf:
            raise ValueError(f"the rate of images must be positive, got {rate}")
        return ((index + 0.5) / rate for index in itertools.count())
    return None


class _Shown(NamedTuple):
    """A picture, the time at which it appears, and the time at which it ends if no other follows; seconds."""

    frame: VideoFrame
    time: float
    stop: float


def _chosen(
    path: str | Path, number: int, size: tuple[int, int], fit: Fit, wanted: Iterator[float] | None, *, endless: bool
) -> Iterator[tuple[float, np.ndarray]]:
    """(presentation time, picture) for each wanted time, or for all pictures; ``endless`` times end with the last picture."""
    from av.video.reformatter import VideoReformatter

    with opened(path) as container:
        stream = _chosen_stream(path, container, number)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        scaler = VideoReformatter()  # kept from picture to picture: setting it up takes longer than scaling one
        # What was decoded last is on screen until the next picture begins; it is converted when it is first asked for.
        held: _Shown | None = None
        image: np.ndarray | None = None
        target = next(wanted, None) if wanted is not None else None
        given = 0
        for shown in _timed(path, container, stream):
            if wanted is None:
                yield shown.time, _convert(path, shown.frame, size, fit, aspect, scaler)
            while held is not None and target is not None and target < shown.time:
                image = _convert(path, held.frame, size, fit, aspect, scaler) if image is None else image
                yield held.time, image
                given += 1
                target = next(wanted, None) if wanted is not None else None
            if wanted is not None and target is None:
                return
            held, image = shown, None
        if held is None:
            raise MediaError(path, "its video stream holds no pictures")
        while target is not None and not (endless and given and target >= held.stop):
            image = _convert(path, held.frame, size, fit, aspect, scaler) if image is None else image
            yield held.time, image
            given += 1
            target = next(wanted, None) if wanted is not None else None


def _chosen_stream(path: str | Path, container: InputContainer, number: int) -> VideoStream:
    """The stream, to be decoded in this thread alone: recordings are read side by side, and few codecs share out a picture well."""
    stream = choose_video(path, container, number)
    stream.codec_context.thread_count = 1
    return stream


def _timed(path: str | Path, container: InputContainer, stream: VideoStream) -> Iterator[_Shown]:
    """The pictures in the order in which they are shown. Raises MediaError for missing or broken times."""
    import av

    usual = float(1 / stream.average_rate) if stream.average_rate else 0.0
    last = -math.inf
    for frame, time, _ in decoded(path, container, stream, av.VideoFrame):
        if time is None:
            raise MediaError(
                path, "its pictures have no times (a bare video stream?); put it into a container such as mp4"
            )
        if time < last:
            raise MediaError(path, f"its pictures go back in time, from {last:.3f} to {time:.3f} s: it is damaged")
        if (jump := time - max(last, 0.0)) > LONGEST_PICTURE:
            raise MediaError(path, f"its time stamps jump by {jump:.0f} s: it is damaged")
        yield _Shown(frame, time, time + (seconds(frame.duration, frame.time_base) or usual))
        last = time


def _convert(
    path: str | Path,
    frame: VideoFrame,
    size: tuple[int, int],
    fit: Fit,
    aspect: Fraction,
    scaler: VideoReformatter,
) -> np.ndarray:
    """A decoded picture as uint8 (height, width, 3), a view, scaled by FFmpeg, turned upright.

    aspect : width of a pixel by its height
    """
    height, width = size
    turned = rotation(frame)
    target = (width, height) if turned in (90, 270) else (height, width)  # before turning
    scaled = target
    if fit == "crop":
        shown = float(frame.width * aspect)
        scale = max(target[0] / frame.height, target[1] / shown)
        scaled = max(target[0], round(frame.height * scale)), max(target[1], round(shown * scale))
        if max(scaled) > LARGEST_SIDE:
            raise MediaError(
                path,
                f"its pictures of {frame.width} x {frame.height} pixels are too narrow to crop to {height} x {width}",
            )
    wide, high = scaled[1], scaled[0]
    converted = scaler.reformat(frame, wide, high, format="rgb24", interpolation="BILINEAR", threads=1)
    pixels = converted.to_ndarray()
    top, left = (scaled[0] - target[0]) // 2, (scaled[1] - target[1]) // 2
    pixels = pixels[top : top + target[0], left : left + target[1]]
    return np.ascontiguousarray(np.rot90(pixels, -turned // 90)) if turned else pixels
