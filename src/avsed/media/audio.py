"""Sound out of recordings: mono samples at the rate asked for, with their time.

The decoder's samples are laid on the stream's own time line:

* where time stamps and counted samples differ by at most `JITTER`, the stamps are taken as rounded and the samples follow each other;
* a hole (packets lost, recording paused) is silent, as a player plays it, and reported as a `MediaWarning`; samples whose time has
  already passed are dropped;
* packets that the decoder rejects are passed over with a `MediaWarning`; a file most of whose packets fail, or that ends long
  before its declared end, is an error: it is damaged, and no zeros stand in for what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsed.errors import MediaError
from avsed.media.container import MICROSECONDS, audio_streams, beginning, choose_stream, opened, seconds, warn

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer

JITTER = 0.1  # seconds between a frame's time stamp and the counted samples that pass for rounding
MISSING = 0.5  # seconds that may lack at the end of a recording whose container states its length
REJECTED = 0.5  # share of packets that the decoder may reject
LONGEST_HOLE = 3600.0  # seconds; a longer one is a broken time stamp, not silence
STATED = ("mov", "matroska", "wav", "flac", "avi")  # containers whose stated durations are no estimates


@dataclass(frozen=True)
class Audio:
    """Mono sound.

    samples : float32 (samples,), full scale is ±1
    rate : samples per second
    start : seconds from the container's beginning to the first sample
    """

    samples: np.ndarray
    rate: int
    start: float

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.rate <= 0:
            raise ValueError(f"mono sound needs samples (n,) and a rate > 0, got {self.samples.shape} at {self.rate}")

    @property
    def duration(self) -> float:
        """Seconds of sound."""
        return len(self.samples) / self.rate

    @property
    def stop(self) -> float:
        """Seconds from the container's beginning to the end of the last sample."""
        return self.start + self.duration


def read_audio(path: str | Path, *, rate: int, stream: int = 0) -> Audio:
    """All sound of one audio stream, the mean of its channels, resampled to ``rate``.

    Returns round(n · rate / native rate) samples for n native ones.

    Raises MediaError, naming the file, if it cannot be decoded, is damaged, or has no such stream.
    """
    blocks = list(stream_audio(path, rate=rate, stream=stream))
    return Audio(np.concatenate([block.samples for block in blocks]), rate, blocks[0].start)


def stream_audio(path: str | Path, *, rate: int, block_s: float = 10.0, stream: int = 0) -> Iterator[Audio]:
    """The same samples as `read_audio`, in consecutive blocks of ``block_s`` seconds (the last one shorter), in bounded memory.

    Raises MediaError like `read_audio`, perhaps after some blocks.
    """
    import soxr

    if rate <= 0 or block_s <= 0:
        raise ValueError(f"rate and block length must be positive, got {rate} and {block_s}")
    native, start, pieces = _native(path, stream)
    resampler = None if native == rate else soxr.ResampleStream(native, rate, 1, dtype="float32", quality="VHQ")
    size = max(1, round(block_s * rate))
    waiting: list[np.ndarray] = []
    held = given = counted = 0

    def take(count: int) -> Audio:
        nonlocal waiting, held, given
        joined = np.concatenate(waiting)
        block = Audio(joined[:count], rate, start + given / rate)
        waiting, held, given = [joined[count:]], held - count, given + count
        return block

    for piece in pieces:
        counted += len(piece)
        waiting.append(piece if resampler is None else resampler.resample_chunk(piece))
        held += len(waiting[-1])
        while held > size:
            yield take(size)
    total = round(counted * rate / native)
    if resampler is not None:
        tail = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        waiting.append(tail)
        held += len(tail)
    left = total - given
    if held < left:  # the resampler may be a sample short of the exact ratio
        waiting.append(np.zeros(left - held, np.float32))
        held = left
    while left > 0:
        block = take(min(size, left))
        left -= len(block.samples)
        yield block


def _native(path: str | Path, number: int) -> tuple[int, float, Iterator[np.ndarray]]:
    """Native rate, start in seconds, and the mono samples in pieces; decodes the first piece at once, so that errors come early."""
    pieces = _decode(path, number)
    try:
        rate, start = next(pieces)
    except StopIteration:
        raise MediaError(path, "its audio stream holds no sound") from None
    return int(rate), float(start), pieces  # type: ignore[return-value]


def _decode(path: str | Path, number: int) -> Iterator[np.ndarray | tuple[int, float]]:
    """Yields (rate, start) first, then float32 pieces laid on the stream's time line."""
    with opened(path) as container:
        stream = choose_stream(path, audio_streams(container), number, kind="audio")
        zero = beginning(container)
        stated = _stated_end(container, stream)
        rate, start, count = 0, 0.0, 0
        for frame in _frames(path, container, stream):
            if not rate:
                rate = frame.sample_rate
                start = 0.0 if frame.pts is None else (seconds(frame.pts, frame.time_base) or 0.0) - zero
                yield rate, start
            elif frame.sample_rate != rate:
                raise MediaError(
                    path,
                    f"its sample rate changes from {rate} to {frame.sample_rate} Hz after {count / rate:.2f} s; re-encode it",
                )
            samples = mono(frame)
            if frame.pts is not None:
                ahead = (seconds(frame.pts, frame.time_base) or 0.0) - zero - (start + count / rate)
                if ahead > LONGEST_HOLE:
                    raise MediaError(
                        path, f"its time stamps jump by {ahead:.0f} s after {count / rate:.2f} s; it is damaged"
                    )
                if ahead > JITTER:
                    warn(path, f"no sound from {count / rate:.2f} s on for {ahead:.2f} s: taken as silence")
                    hole = round(ahead * rate)
                    for begin in range(0, hole, rate):
                        yield np.zeros(min(rate, hole - begin), np.float32)
                    count += hole
                elif ahead < -JITTER:
                    samples = samples[round(-ahead * rate) :]
            if stated is not None:
                samples = samples[: max(0, round((stated - start) * rate) - count)]
            count += len(samples)
            if len(samples):
                yield samples
        if rate and not count:
            raise MediaError(path, "its audio stream holds no sound")


def _frames(path: str | Path, container: InputContainer, stream: object) -> Iterator[AudioFrame]:
    """Decoded frames; packets that the decoder rejects are counted and passed over.

    All streams are read, not decoded, so that a file cut short shows whichever of its streams is the longest.
    """
    import av

    packets = rejected = 0
    reached = 0.0
    for packet in container.demux():
        if packet.pts is not None and packet.time_base is not None:
            reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream is not stream:
            continue
        packets += 1
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            rejected += 1
            last = error
            continue
        yield from (frame for frame in frames if isinstance(frame, av.AudioFrame))
    if rejected > REJECTED * packets:
        raise MediaError(path, f"the decoder rejects {rejected} of its {packets} audio packets ({last}): it is damaged")
    if rejected:
        warn(path, f"the decoder rejects {rejected} of its {packets} audio packets: passed over")
    if container.format.name.startswith(STATED) and container.duration:
        declared, reached = container.duration / MICROSECONDS, reached - beginning(container)
        if declared - reached > max(MISSING, 0.05 * declared):
            raise MediaError(
                path, f"ends after {reached:.2f} s of the {declared:.2f} s that it states: it is cut short"
            )


def _stated_end(container: InputContainer, stream: object) -> float | None:
    """Seconds at which the stream's own header says that it ends, where that is no estimate."""
    if not container.format.name.startswith(STATED):
        return None
    length = seconds(stream.duration, stream.time_base)  # type: ignore[attr-defined]
    begin = seconds(stream.start_time, stream.time_base) or 0.0  # type: ignore[attr-defined]
    return None if not length else begin + length - beginning(container)


def mono(frame: AudioFrame) -> np.ndarray:
    """A decoded frame as float32 (samples,): integers scaled to ±1, the mean of the channels."""
    values = frame.to_ndarray()  # planar: (channels, samples); packed: (1, samples * channels)
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T  # (channels, samples)
    if values.dtype == np.uint8:
        values = (values.astype(np.float32) - 128.0) / 128.0
    elif values.dtype.kind == "i":
        values = values.astype(np.float32) / 2.0 ** (8 * values.dtype.itemsize - 1)
    return values.mean(axis=0, dtype=np.float32) if len(values) > 1 else values[0].astype(np.float32, copy=False)
