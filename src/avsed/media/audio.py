"""Sound out of recordings: mono samples at the rate asked for, with their time.

The decoder's samples are laid on the stream's own time line:

* where a time stamp and the counted samples differ by at most `JITTER`, the stamp is taken as rounded (containers round to up to 20 ms,
  decoders hold back up to 46 ms) and the samples follow each other; after a missing or damaged packet only `JITTER_AFTER_LOSS` is;
* a hole (packets lost or damaged, recording paused) is silent, as a player plays it; where two packets overlap, the samples whose time
  has already passed are dropped. Both are reported, all of them in one `MediaWarning`;
* encoder delay and padding are cut where the file tells of them (edit lists, skipped samples, the last packet's length); what it presents
  as sound is sound;
* damage and files cut short: see `avsed.media.decoding`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsed.errors import MediaError
from avsed.media.container import Span, beginning, choose_audio, opened, seconds, warn
from avsed.media.decoding import decoded

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# FFmpeg's sample formats in numpy's words; a "p" behind them says that each channel has a plane of its own.
KINDS = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
JITTER = 0.05  # seconds between a frame's time stamp and the counted samples that pass for rounding
JITTER_AFTER_LOSS = 0.005  # the same after a missing or damaged packet: less than any codec's packet is long
# Seconds of holes a recording may have beyond as much again as its sound; more is a broken time stamp.
LONGEST_HOLES = 600.0
LONGEST_OVERLAP = 1.0  # seconds by which time stamps may go back
CHUNK = 16384  # samples resampled at once: the resampler's own cost a call is that of some thousand samples
ROUNDING = 0.001  # seconds: edit lists count in milliseconds, packets in samples


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
    """All sound of one audio stream, the mean of its channels, resampled to ``rate`` (soxr, VHQ).

    Returns floor(n · rate / native rate + ½) samples for n native ones.

    Raises MediaError, naming the file, if it cannot be decoded, is damaged, has no such stream, or holds NaN or infinite samples.
    """
    blocks = list(stream_audio(path, rate=rate, stream=stream))
    return Audio(np.concatenate([block.samples for block in blocks]), rate, blocks[0].start)


def read_audio_rates(path: str | Path, *, rates: Collection[int], stream: int = 0) -> tuple[Span, dict[int, Audio]]:
    """All sound of one audio stream at several rates, decoded once.

    rates : samples per second; none suffices to learn when there is sound
    Returns the span of the sound as it was decoded, and for each rate what `read_audio` gives, to the last bit. The sound at its own
    rate is in memory meanwhile.

    Raises MediaError like `read_audio`.
    """
    pieces, first = _native(path, stream)
    native = list(pieces)
    count = sum(map(len, native))
    heard = {rate: np.concatenate([*resampled(native, first.rate, rate), np.zeros(0, np.float32)]) for rate in rates}
    for rate, samples in heard.items():
        if not len(samples):
            raise _too_short(path, rate)
    span = Span(first.start, first.start + count / first.rate)
    return span, {rate: Audio(samples, rate, first.start) for rate, samples in heard.items()}


def stream_audio(path: str | Path, *, rate: int, block_s: float = 10.0, stream: int = 0) -> Iterator[Audio]:
    """The same samples as `read_audio`, in consecutive blocks of ``block_s`` seconds (the last one shorter), in bounded memory.

    Raises MediaError like `read_audio`, perhaps after some blocks.
    """
    if rate <= 0 or block_s <= 0:
        raise ValueError(f"rate and block length must be positive, got {rate} and {block_s}")
    samples, first = _native(path, stream)
    given = 0
    for block in regrouped(resampled(samples, first.rate, rate), max(1, round(block_s * rate))):
        yield Audio(block, rate, first.start + given / rate)
        given += len(block)
    if not given:
        raise _too_short(path, rate)


def _native(path: str | Path, stream: int) -> tuple[Iterator[np.ndarray], Audio]:
    """All sound at its own rate in pieces of `CHUNK` samples, checked while they are read, and the first decoded piece."""
    pieces = _decode(path, stream)
    first = next(pieces, None)
    if first is None:
        raise MediaError(path, "its audio stream holds no sound")
    return _finite(path, regrouped((piece.samples for piece in chain([first], pieces)), CHUNK), first), first


def _too_short(path: str | Path, rate: int) -> MediaError:
    return MediaError(path, f"its sound is shorter than one sample at {rate} Hz")


def _finite(path: str | Path, pieces: Iterable[np.ndarray], first: Audio) -> Iterator[np.ndarray]:
    """The consecutive float32 (n,) pieces, which begin with ``first``. Raises MediaError for NaN and infinite samples."""
    count = 0
    for piece in pieces:
        finite = np.isfinite(piece)
        if not finite.all():
            place = first.start + (count + int(finite.argmin())) / first.rate
            raise MediaError(
                path, f"its sound at {place:.3f} s is no finite number (NaN or infinity); write the file anew"
            )
        count += len(piece)
        yield piece


def resampled(pieces: Iterable[np.ndarray], native: int, rate: int) -> Iterator[np.ndarray]:
    """Consecutive float32 (n,) pieces from one rate to another: n of them in all become floor(n · rate / native + ½), undelayed."""
    if native == rate:
        yield from pieces
        return
    import soxr

    resampler = soxr.ResampleStream(native, rate, 1, dtype="float32", quality="VHQ")
    taken = given = 0
    for piece in pieces:
        part = resampler.resample_chunk(piece)
        taken, given = taken + len(piece), given + len(part)
        yield part
    # soxr rounds ties either way: let it go on into the silence behind the end, which it assumes anyway, and cut.
    silence = np.zeros(1 + 2 * native // rate, np.float32)
    yield resampler.resample_chunk(silence, last=True)[: (2 * taken * rate + native) // (2 * native) - given]


def regrouped(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples in pieces of ``size``, the last one perhaps shorter but never empty."""
    waiting: list[np.ndarray] = []
    held = 0
    for piece in pieces:
        waiting.append(piece)
        held += len(piece)
        if held >= size:
            joined = np.concatenate(waiting)
            whole = held - held % size
            yield from joined[:whole].reshape(-1, size)
            waiting, held = [joined[whole:].copy()], held - whole
    if held:
        yield np.concatenate(waiting)


def mono(frame: AudioFrame) -> np.ndarray:
    """A decoded frame as float32 (samples,): integers scaled to ±1, the mean of the channels."""
    name = frame.format.name
    kind, planar = KINDS.get(name.removesuffix("p")), name.endswith("p")
    if kind is None:
        raise ValueError(f"samples of the kind {name} are not supported")
    channels = frame.layout.nb_channels
    # Plane by plane, and not by frame.to_ndarray(): that one reads planes that are not there where a frame has more than 8 channels.
    count = frame.samples if planar else frame.samples * channels
    values = np.array([np.frombuffer(memoryview(plane), kind, count) for plane in frame.planes[:channels]])
    if not planar:
        values = values.reshape(-1, channels).T
    # values: (channels, samples)
    if kind == "u1":
        values = (values.astype(np.float32) - 128.0) / 128.0
    elif kind.startswith("i"):
        values = values.astype(np.float32) / 2.0 ** (8 * values.dtype.itemsize - 1)
    return values.sum(axis=0, dtype=np.float32) / np.float32(channels)  # as mean(), without what that costs a packet


def _decode(path: str | Path, number: int) -> Iterator[Audio]:
    """Consecutive pieces at the stream's own rate, none of them empty, laid on its time line."""
    import av

    with opened(path) as container:
        stream = choose_audio(path, container, number)
        line: _TimeLine | None = None
        last: Audio | None = None  # held back, as only the last one is cut to the length its packet states
        ending: AudioFrame | None = None  # whose packet it is
        for frame, time, after_loss in decoded(path, container, stream, av.AudioFrame):
            if not frame.samples:
                continue
            if line is None:
                line = _TimeLine(path, frame.sample_rate, _start(container, stream) if time is None else time)
            for piece in line.lay(mono(frame), frame.sample_rate, time, after_loss=after_loss):
                if last is not None:
                    yield last
                last = piece
            ending = frame
        if line is None or last is None or ending is None:
            return
        length = seconds(ending.duration, ending.time_base) or 0.0
        if (samples := _trimmed(last, length, container, stream)).size:
            yield Audio(samples, last.rate, last.start)
        line.report()


def _start(container: InputContainer, stream: AudioStream) -> float:
    """Where a stream whose first frame has no time begins, in seconds: where its header says so, or else at 0."""
    begin = seconds(stream.start_time, stream.time_base)
    return 0.0 if begin is None else begin - beginning(container)


def _trimmed(last: Audio, length: float, container: InputContainer, stream: AudioStream) -> np.ndarray:
    """The samples of the last piece without the encoder's padding, of which mp4 and mov tell in two ways.

    length : seconds, the duration of the last packet, in samples where the container counts in them
    The other way is the edit list, in milliseconds, behind the stream's own duration.
    """
    if not container.format.name.startswith("mov") or stream.time_base is None:
        return last.samples
    count = len(last.samples)
    if length and stream.time_base < ROUNDING:
        count = min(count, round(length * last.rate))
    if stated := seconds(stream.duration, stream.time_base):
        listed = max(0, round((_start(container, stream) + stated - last.start) * last.rate))
        if count > listed + ROUNDING * last.rate:
            count = listed
    return last.samples[:count]


class _TimeLine:
    """Lays decoded samples one after another, with silence in holes.

    rate : samples per second; start : seconds at which the first sample is presented
    """

    def __init__(self, path: str | Path, rate: int, start: float) -> None:
        self.path = path
        self.rate = rate
        self.start = start
        self.count = 0  # samples laid
        self.silent = self.dropped = 0  # samples of silence laid in holes, and of overlaps left out
        self.places: list[float] = []  # seconds from the container's beginning
        self.lost = False  # whether packets were passed over since the last frame that told its time

    @property
    def now(self) -> float:
        return self.start + self.count / self.rate

    def lay(self, samples: np.ndarray, rate: int, time: float | None, *, after_loss: bool) -> Iterator[Audio]:
        """The pieces that follow: silence where there is a hole, then the samples. Raises MediaError for a change of rate."""
        if rate != self.rate:
            raise MediaError(
                self.path,
                f"its sample rate changes from {self.rate} to {rate} Hz at {self.now:.2f} s; convert it to one rate first",
            )
        self.lost |= after_loss
        if time is not None:
            ahead = time - self.now
            if ahead > (JITTER_AFTER_LOSS if self.lost else JITTER):
                yield from self._hole(ahead)
            elif ahead < -JITTER:
                samples = self._overlap(samples, -ahead)
            self.lost = False
        if samples.size:
            yield self._piece(samples)

    def report(self) -> None:
        """One warning for all holes, one for all overlaps."""
        if not self.places:
            return
        number = len(self.places)
        where = f"{number} place{'s' if number > 1 else ''}, first at {self.places[0]:.2f} s"
        if self.silent:
            warn(self.path, f"no sound for {self.silent / self.rate:.3f} s ({where}): taken as silence")
        if self.dropped:
            warn(self.path, f"overlapping sound of {self.dropped / self.rate:.3f} s ({where}): dropped")

    def _hole(self, length: float) -> Iterator[Audio]:
        hole = round(length * self.rate)
        self.places.append(self.now)
        if self.silent + hole > LONGEST_HOLES * self.rate + (self.count - self.silent):
            raise MediaError(self.path, f"its time stamps jump by {length:.0f} s at {self.now:.2f} s: it is damaged")
        self.silent += hole
        for begin in range(0, hole, self.rate):  # a second at a time: memory stays bounded
            yield self._piece(np.zeros(min(self.rate, hole - begin), np.float32))

    def _overlap(self, samples: np.ndarray, length: float) -> np.ndarray:
        if length > LONGEST_OVERLAP:
            raise MediaError(self.path, f"its time stamps go back by {length:.2f} s at {self.now:.2f} s: it is damaged")
        self.places.append(self.now)
        kept = samples[round(length * self.rate) :]
        self.dropped += len(samples) - len(kept)
        return kept

    def _piece(self, samples: np.ndarray) -> Audio:
        piece = Audio(samples, self.rate, self.now)
        self.count += len(samples)
        return piece
