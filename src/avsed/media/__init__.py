"""Recordings in and out: samples and images with their times."""

from avsed.media.audio import Audio, read_audio, stream_audio
from avsed.media.container import AudioStream, MediaInfo, MediaWarning, VideoStream
from avsed.media.images import Images, read_images, stream_images
from avsed.media.probe import probe
from avsed.media.writing import write_clip

__all__ = [
    "Audio",
    "AudioStream",
    "Images",
    "MediaInfo",
    "MediaWarning",
    "VideoStream",
    "probe",
    "read_audio",
    "read_images",
    "stream_audio",
    "stream_images",
    "write_clip",
]
