"""Recordings in and out: samples and images with their times."""

from avsed.media.audio import Audio, read_audio, read_audio_rates, stream_audio
from avsed.media.container import AudioStream, MediaInfo, MediaWarning, Span, VideoStream
from avsed.media.images import Images, picture_span, read_images, stream_images
from avsed.media.probe import probe
from avsed.media.writing import write_clip

__all__ = [
    "Audio",
    "AudioStream",
    "Images",
    "MediaInfo",
    "MediaWarning",
    "Span",
    "VideoStream",
    "picture_span",
    "probe",
    "read_audio",
    "read_audio_rates",
    "read_images",
    "stream_audio",
    "stream_images",
    "write_clip",
]
