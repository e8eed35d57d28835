"""From a container's packets to decoded frames with their times: one rule for damage, the same for sound and pictures.

* A packet that the decoder rejects, or a frame that it marks as damaged (patched up from its neighbours), is passed over and leaves a
  gap in time; all of them together are one `MediaWarning`. If that befalls more than half of a stream, it is an error.
* A file that ends long before the end its own header states is cut short: an error, whatever was decoded before. Where the header's
  length may be an estimate (`ESTIMATED`), it is a warning. Containers that state no length cannot show that they were cut.
* Times far beyond the stated end, and more packets than bytes, are damage, so that no broken number keeps a reader busy for hours.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from avsed.errors import MediaError
from avsed.media.container import MICROSECONDS, beginning, seconds, video_streams, warn

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

F = TypeVar("F", "AudioFrame", "VideoFrame")

STATED = ("mov", "matroska", "wav", "flac", "avi")  # containers that state their length exactly
ESTIMATED = ("mp3", "asf", "flv")  # containers that state it, or from whose bit rate FFmpeg estimates it
LACKING = 0.5  # seconds that may lack at the end: the last packets' lengths are not always known
LACKING_BYTES = (
    4096  # bytes that may lack at the end of a file that states its size: some writers count it a little wrongly
)
GAP = 0.005  # seconds between two packets that are not rounding: less than any codec's packet is long
REJECTED = 0.5  # share of a stream that may be damaged
BEYOND = 60.0  # seconds by which times may pass twice the stated length
SPARE_PACKETS = 1000  # packets without bytes: a few formats end streams with them


class Decoded(NamedTuple, Generic[F]):
    """A decoded frame.

    time : presentation time in seconds from the container's beginning, None where the stream does not tell
    after_loss : whether packets just before it are missing or were passed over
    """

    frame: F
    time: float | None
    after_loss: bool


def decoded(
    path: str | Path, container: InputContainer, stream: AudioStream | VideoStream, kind: type[F]
) -> Iterator[Decoded[F]]:
    """The frames, all of one kind, of one stream in the order in which they are presented.

    All streams are read, though not decoded, so that a file cut short is noticed by whichever of its streams is the longest.

    Raises MediaError if the stream is mostly damaged or the file is cut short; FFmpeg's own errors are left to `opened`.
    """
    import av

    end = _End(path, container)
    packets = damaged = 0
    after_loss = False
    exact = container.format.name.startswith(STATED)  # Ogg tells a page's time, and FFmpeg guesses its packets'
    expected: float | None = None  # where the next packet should begin, going by the length of the one before
    said = "damaged data"
    units: dict[int, Fraction | None] = {}  # by stream: PyAV makes a new one each time it is asked
    for packet in _packets(container):
        index = packet.stream_index
        unit = units[index] if index in units else units.setdefault(index, packet.time_base)
        end.add(packet, unit)
        if packet.stream is not stream:
            continue
        packets += packet.size > 0  # the last, empty one asks the decoder for what it holds back
        begin, length = seconds(packet.pts, unit), seconds(packet.duration, unit)
        if begin is not None:
            after_loss |= exact and expected is not None and begin - expected > GAP
            expected = begin + length if length else None
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            damaged, after_loss, said = damaged + 1, True, error.strerror or said
            packets += packet.size == 0
            continue
        for frame in frames:
            if not isinstance(frame, kind):
                continue
            if frame.is_corrupt:
                damaged, after_loss = damaged + 1, True
                continue
            time = seconds(frame.pts, frame.time_base)
            yield Decoded(frame, None if time is None else time - end.zero, after_loss)
            after_loss = False
    if damaged > REJECTED * packets:
        raise MediaError(
            path, f"the decoder rejects {damaged} of its {packets} {stream.type} packets ({said}): it is damaged"
        )
    end.check()
    if damaged:
        warn(path, f"the decoder rejects {damaged} of its {packets} {stream.type} packets: passed over")


def _packets(container: InputContainer) -> Iterator[Packet]:
    packets = container.demux()
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (
            IndexError
        ):  # PyAV's, after the last packet, where FFmpeg found a further stream on the way: ours is complete
            return
        yield packet


class _End:
    """How far a container's packets reach, against what its header states."""

    def __init__(self, path: str | Path, container: InputContainer) -> None:
        self.path = path
        self.format = container.format.name
        self.zero = beginning(container)
        self.stated = (container.duration or 0) / MICROSECONDS  # 0: unknown
        self.reached = 0.0
        self.pictures = {stream.index: 0.0 for stream in video_streams(container)}  # time of each stream's last packet
        self.slowest = 0.0  # longest time for which a picture was shown: that of the last one is not always known
        self.left = Path(path).stat().st_size + SPARE_PACKETS

    def add(self, packet: Packet, unit: Fraction | None) -> None:
        """Count a packet, whose times are in units of ``unit`` seconds. Raises MediaError if its time or number is absurd."""
        self.left -= 1
        if self.left < 0:
            raise MediaError(self.path, "its index leads in circles (more packets than bytes): it is damaged")
        stamp = packet.dts if packet.pts is None else packet.pts
        begin = seconds(stamp, unit)
        if begin is None:
            return
        begin -= self.zero
        self.reached = max(self.reached, begin + (seconds(packet.duration, unit) or 0.0))
        if self.stated and self.format.startswith(STATED) and begin > 2 * self.stated + BEYOND:
            raise MediaError(
                self.path,
                f"its times reach {begin:.0f} s, but it states a length of {self.stated:.2f} s: it is damaged",
            )
        if packet.stream_index in self.pictures:
            self.slowest = max(self.slowest, begin - self.pictures[packet.stream_index])
            self.pictures[packet.stream_index] = begin

    def check(self) -> None:
        """Raises MediaError if the file ends long before the end that it states; warns where that may be an estimate."""
        if missing := _missing_bytes(self.path):
            raise MediaError(
                self.path, f"ends after {self.reached:.2f} s, {missing} bytes before its stated end: it is cut short"
            )
        if self.stated - self.reached <= max(LACKING, self.slowest):
            return
        problem = f"ends after {self.reached:.2f} s of the {self.stated:.2f} s that it states"
        if self.format.startswith(STATED):
            raise MediaError(self.path, f"{problem}: it is cut short")
        if self.format.startswith(ESTIMATED):
            warn(self.path, f"{problem}: cut short, unless that is an estimate")


def _missing_bytes(path: str | Path) -> int:
    """Bytes that a WAV, AVI or AIFF file lacks by its own header, which FFmpeg shortens to what is there; 0 for other files."""
    with Path(path).open("rb") as file:
        head = file.read(8)
    order = {b"RIFF": "<I", b"RIFX": ">I", b"FORM": ">I"}.get(head[:4])
    if order is None or len(head) < 8:
        return 0
    size = struct.unpack(order, head[4:])[0] + 8
    missing = size - Path(path).stat().st_size
    unknown = size >= 0x7FFFF000  # what programs write that stream, and cannot go back to fill in the size
    return 0 if unknown or missing <= LACKING_BYTES else missing
