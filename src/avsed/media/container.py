"""Opening recordings: the one place where FFmpeg's errors become ours, and where time zero is defined.

All times are presentation times in seconds from the container's beginning, which is what a player shows as 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from avsed.errors import MediaError, MissingStreamError
from avsed.files import is_utf8

if TYPE_CHECKING:
    from av.audio.stream import AudioStream as AvAudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream as AvVideoStream

MICROSECONDS = 1_000_000  # unit of a container's times
# What FFmpeg opens although it is no recording: it draws plain text as pictures, follows lists to other files, runs scripts.
NO_RECORDING = {
    "tty": "it is plain text",
    "hls": "it is a list of other files",
    "concat": "it is a list of other files",
    "dash": "it is a list of other files",
    "imf": "it is a list of other files",
    "vapoursynth": "it is a script",
}


class MediaWarning(UserWarning):
    """Something in a recording that was mended in a stated way, such as a damaged packet that was passed over."""


class Span(NamedTuple):
    """When a stream is heard or seen: [begin, stop), seconds from the container's beginning."""

    begin: float
    stop: float


@dataclass(frozen=True)
class AudioStream:
    """One audio stream. rate : samples per second; start, duration : seconds, duration None if the file does not tell."""

    index: int
    codec: str
    rate: int
    channels: int
    start: float
    duration: float | None


@dataclass(frozen=True)
class VideoStream:
    """One video stream. width, height : pixels as shown, after rotation; rotation : degrees; frame_rate : mean, if known."""

    index: int
    codec: str
    width: int
    height: int
    rotation: int
    frame_rate: float | None
    start: float
    duration: float | None


@dataclass(frozen=True)
class MediaInfo:
    """What a recording holds. duration : seconds, None if the container does not tell."""

    path: Path
    container: str
    duration: float | None
    audio: tuple[AudioStream, ...]
    video: tuple[VideoStream, ...]
    size_bytes: int


@contextmanager
def opened(path: str | Path) -> Iterator[InputContainer]:
    """Open a recording; whatever goes wrong inside the block becomes a MediaError that names the file.

    Raises MediaError if there is no such file, it is empty, no recording, or no demuxer or decoder can read it.
    """
    import av

    file = Path(path)
    try:
        if not is_utf8(str(file)):
            raise MediaError(file, "its path is not UTF-8 text, so that no table could name it; rename it")
        if not file.exists():
            raise MediaError(file, "no such file")
        if not file.is_file():
            raise MediaError(file, "not a file; give the path of a recording")
        if file.stat().st_size == 0:
            raise MediaError(file, "the file is empty; expected a recording")
        # Names in tables are file names: without the prefix FFmpeg takes one with a colon for a network protocol. The white list
        # keeps what a recording refers to on this machine; it is the container's alone, since PyAV before 18 crashes on options for
        # streams that are only found on the way.
        options = {"protocol_whitelist": "file"}
        with av.open(f"file:{file}", metadata_errors="ignore", container_options=options) as container:
            if reason := NO_RECORDING.get(container.format.name):
                raise MediaError(file, f"{reason}; give the path of a recording")
            if not container.streams.audio and not container.streams.video:
                raise MediaError(file, "holds neither sound nor pictures; give the path of a recording")
            yield container
    except (av.error.FFmpegError, OSError, ValueError, OverflowError) as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(
            file, f"cannot be decoded: {words[0].lower()}{words[1:]}; is it a complete recording?"
        ) from error


def beginning(container: InputContainer) -> float:
    """Seconds on the container's own clock that a player shows as 0: where the first of its streams begins."""
    rounded = (container.start_time or 0) / MICROSECONDS
    starts = (seconds(stream.start_time, stream.time_base) for stream in container.streams)
    # The stream's own number is exact, so that its first sample or picture has the time 0 and not -0.0000003.
    return min((s for s in starts if s is not None and abs(s - rounded) <= 1 / MICROSECONDS), default=rounded)


def audio_streams(container: InputContainer) -> list[AvAudioStream]:
    """The audio streams that can be decoded."""
    return [stream for stream in container.streams.audio if stream.codec_context is not None]


def video_streams(container: InputContainer) -> list[AvVideoStream]:
    """The moving pictures: cover art attached to a sound file is none."""
    from av.stream import Disposition

    return [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic
    ]


def choose_audio(path: str | Path, container: InputContainer, number: int) -> AvAudioStream:
    """The ``number``-th audio stream, counted from 0. Raises MediaError if there are not so many (`MissingStreamError`: none)."""
    streams = audio_streams(container)
    _check_number(path, number, len(streams), kind="audio", unusable=bool(container.streams.audio))
    return streams[number]


def choose_video(path: str | Path, container: InputContainer, number: int) -> AvVideoStream:
    """The ``number``-th video stream, counted from 0. Raises MediaError if there are not so many (`MissingStreamError`: none)."""
    streams = video_streams(container)
    undecodable = any(stream.codec_context is None for stream in container.streams.video)
    _check_number(path, number, len(streams), kind="video", unusable=undecodable)
    return streams[number]


def _check_number(
    path: str | Path, number: int, count: int, *, kind: Literal["audio", "video"], unusable: bool
) -> None:
    if 0 <= number < count:
        return
    if count:
        has = f"has {count} {kind} stream{'s' if count > 1 else ''}"
        raise MediaError(path, f"{has}, but number {number} was asked for (counted from 0)")
    if unusable:
        raise MediaError(path, f"has no {kind} stream in a codec that FFmpeg knows; convert it first")
    raise MissingStreamError(path, f"has no {kind} stream")


def seconds(value: int | None, unit: Fraction | None) -> float | None:
    """A stream's own time in seconds, correctly rounded; None if it does not tell."""
    # Asked several times a packet: the quotient of two ints is as exact as a Fraction's, and ten times faster.
    return None if value is None or unit is None else value * unit.numerator / unit.denominator


def warn(path: str | Path, problem: str) -> None:
    """Say that something in a recording was mended."""
    warnings.warn(f"{path}: {problem}", MediaWarning, stacklevel=2)
