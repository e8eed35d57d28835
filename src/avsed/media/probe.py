"""What a recording holds, without decoding more of it than one picture."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from avsed.media.container import (
    MICROSECONDS,
    AudioStream,
    MediaInfo,
    VideoStream,
    audio_streams,
    beginning,
    opened,
    seconds,
    video_streams,
)

if TYPE_CHECKING:
    from av.audio.stream import AudioStream as AvAudioStream
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream as AvVideoStream

FIRST_PACKETS = 100  # packets among which a stream's first picture is looked for


def probe(path: str | Path) -> MediaInfo:
    """Container, streams, durations.

    Raises MediaError, naming the file, if it cannot be opened as a recording or holds neither sound nor pictures.
    """
    with opened(path) as container:
        zero = beginning(container)
        audio = tuple(
            AudioStream(
                index=stream.index,
                codec=stream.codec_context.name,
                rate=stream.codec_context.sample_rate,
                channels=stream.codec_context.channels,
                start=_start(stream, zero),
                duration=seconds(stream.duration, stream.time_base),
            )
            for stream in audio_streams(container)
        )
        video = []
        for stream in video_streams(container):
            turned = _rotation(container, stream)
            width, height = stream.codec_context.width, stream.codec_context.height
            video.append(
                VideoStream(
                    index=stream.index,
                    codec=stream.codec_context.name,
                    width=height if turned in (90, 270) else width,
                    height=width if turned in (90, 270) else height,
                    rotation=turned,
                    frame_rate=None if not stream.average_rate else float(stream.average_rate),
                    start=_start(stream, zero),
                    duration=seconds(stream.duration, stream.time_base),
                )
            )
        return MediaInfo(
            path=Path(path),
            container=container.format.name,
            duration=None if container.duration is None else container.duration / MICROSECONDS,
            audio=audio,
            video=tuple(video),
            size_bytes=Path(path).stat().st_size,
        )


def rotation(frame: VideoFrame) -> int:
    """Degrees by which a decoded picture is to be turned clockwise before it is shown: 0, 90, 180 or 270."""
    return round(-frame.rotation / 90) * 90 % 360


def _start(stream: AvAudioStream | AvVideoStream, zero: float) -> float:
    """Seconds from the container's beginning to the stream's; 0 if it does not tell."""
    begin = seconds(stream.start_time, stream.time_base)
    return 0.0 if begin is None else begin - zero


def _rotation(container: InputContainer, stream: AvVideoStream) -> int:
    """The rotation of a stream's first picture, which alone tells it; 0 if none of the first packets can be decoded."""
    import av

    try:
        for packet in itertools.islice(container.demux(stream), FIRST_PACKETS):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            if frames:
                return rotation(frames[0])
    except av.error.FFmpegError:
        pass  # the file ends here; what its header tells stands
    return 0
