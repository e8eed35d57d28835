"""What a recording holds, without decoding it."""

from __future__ import annotations

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
    from av.video.stream import VideoStream as AvVideoStream


def probe(path: str | Path) -> MediaInfo:
    """Container, streams, durations.

    Raises MediaError, naming the file, if it cannot be opened as a recording.
    """
    with opened(path) as container:
        zero = beginning(container)
        audio = tuple(
            AudioStream(
                index=stream.index,
                codec=stream.codec_context.name,
                rate=stream.codec_context.sample_rate,
                channels=stream.codec_context.channels,
                start=(seconds(stream.start_time, stream.time_base) or zero) - zero,
                duration=seconds(stream.duration, stream.time_base),
            )
            for stream in audio_streams(container)
        )
        video = []
        for stream in video_streams(container):
            turned = rotation(stream)
            width, height = stream.codec_context.width, stream.codec_context.height
            video.append(
                VideoStream(
                    index=stream.index,
                    codec=stream.codec_context.name,
                    width=height if turned in (90, 270) else width,
                    height=width if turned in (90, 270) else height,
                    rotation=turned,
                    frame_rate=None if not stream.average_rate else float(stream.average_rate),
                    start=(seconds(stream.start_time, stream.time_base) or zero) - zero,
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


def rotation(stream: AvVideoStream) -> int:
    """Degrees by which the picture is to be turned clockwise before it is shown: 0, 90, 180 or 270."""
    side_data = getattr(stream, "side_data", None) or {}
    return round(-float(side_data.get("DISPLAYMATRIX", 0) or 0)) % 360
