"""Features of a recording of any length, stretch by stretch, in bounded memory: each stretch as if it were a clip.

Sound is decoded once for each rate that is asked for, and kept from the beginning of the current stretch. What an eye says
of a picture does not depend on the stretch, so that pictures are looked at once, in order; an ear hears each stretch by
itself, as it heard each clip in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from torch import nn

from avsed.errors import MediaError, MissingStreamError
from avsed.features.embedding import in_half
from avsed.features.logmel import LogMel, log_mel
from avsed.features.pretrained import Prepared, embed, of_pictures
from avsed.features.sequence import FeatureSequence, row_times
from avsed.media import Audio, Images, picture_span, stream_audio, stream_images

if TYPE_CHECKING:
    from avsed.features.extractors import AnyExtractor
    from avsed.features.pretrained import AuditoryExtractor, VisualExtractor

Ear: TypeAlias = "LogMel | AuditoryExtractor"
BATCH = 16  # pictures or chunks that a network takes at once
Submit = Callable[[Callable[[], Any]], "Future[Any]"]


@dataclass(frozen=True)
class Recording:
    """Where a recording's sound and pictures come from: its file."""

    path: Path

    def sound(self, rate: int) -> Iterator[Audio]:
        """Consecutive blocks of sound. Raises MissingStreamError, when the first is asked for, if there is none."""
        return stream_audio(self.path, rate=rate)

    def pictures(self, eye: VisualExtractor, times: Iterator[float]) -> Iterator[Images]:
        """Blocks of the pictures on screen at endless ``times``. Raises MissingStreamError like `sound`."""
        return stream_images(self.path, size=eye.size, fit=eye.fit, times=times, block=BATCH)

    def picture_span(self) -> tuple[float, float]:
        """Seconds from the first picture to the end of the last."""
        return picture_span(self.path)


class _Track:
    """Sound at one rate, as far as it has been decoded and is still needed; positions count samples from its beginning."""

    def __init__(self, blocks: Iterator[Audio], rate: int) -> None:
        self._blocks, self.rate = blocks, rate
        first = next(blocks)
        self.begin, self._held, self._first, self._ended = first.start, first.samples, 0, False

    def reaches(self, position: int) -> bool:
        """Whether there are more than ``position`` samples."""
        while not self._ended and self._first + len(self._held) <= position:
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
            else:
                self._held = np.concatenate([self._held, block.samples])
        return self._first + len(self._held) > position

    @property
    def total(self) -> int:
        """Samples in all, once the end has been reached."""
        return self._first + len(self._held)

    def cut(self, first: int, stop: int | None) -> Audio:
        """Samples [first, stop), up to the end for None; what lies before them is forgotten."""
        while self.reaches(self.total if stop is None else stop - 1) and stop is None:
            continue  # to the end
        self._held, self._first = self._held[first - self._first :], first
        samples = self._held if stop is None else self._held[: stop - first]
        return Audio(samples, self.rate, self.begin + first / self.rate)


@dataclass(frozen=True)
class _Length:
    """The time line of a recording that nobody hears. begin : seconds; total : samples that its sound has, or would have"""

    begin: float
    total: int

    @classmethod
    def of(cls, source: Recording, rate: int) -> _Length:
        """That of its sound or, if there is none that can be decoded, of its pictures, as in an extraction."""
        try:
            blocks = source.sound(rate)
            first = next(blocks)
            return cls(first.start, len(first.samples) + sum(len(block.samples) for block in blocks))
        except MediaError:
            begin, stop = source.picture_span()
            return cls(begin, max(1, round((stop - begin) * rate)))

    def reaches(self, position: int) -> bool:
        return self.total > position


class _Gaze:
    """What an eye sees, row by row from the beginning of the recording; networks run wherever ``submit`` runs them."""

    def __init__(
        self, eye: VisualExtractor, network: nn.Module, source: Recording, begin: float, submit: Submit
    ) -> None:
        self.eye, self._network, self._begin, self._submit = eye, network, begin, submit
        shown = source.pictures(eye, _endless(eye, begin))
        first = next(shown)  # a missing stream shows here
        self._pictures = _each(first, shown)
        self._seen: list[tuple[np.ndarray, Future[np.ndarray]]] = []  # times (rows,), and the rows to come
        self._count = 0

    def rows(self, start: float, stop: float, *, last: bool) -> list[tuple[np.ndarray, Future[np.ndarray]]]:
        """Times and rows of a stretch [start, stop) and a little around it; what lies before is forgotten.

        last : the recording ends at stop
        """
        margin = 0.0 if last else self.eye.period
        times = self.eye.wanted(self._begin, stop + margin)
        while self._count < len(times):
            own = times[self._count : self._count + BATCH]
            images = Images(np.stack(list(islice(self._pictures, len(own)))), own)
            # Cropped here, since less has to wait for the network then.
            prepared = of_pictures(images, own, side=self.eye.side, begin=own[0], stop=own[-1])
            self._seen.append((own, self._submit(partial(self._look, prepared))))
            self._count += len(own)
        self._seen = [part for part in self._seen if part[0][-1] >= start - self.eye.period] or self._seen[-1:]
        # One row more than a recording has may have been asked for, before its end was known.
        return [(own[: len(own) if not last else int(np.searchsorted(own, times[-1])) + 1], f) for own, f in self._seen]

    def _look(self, prepared: Prepared) -> np.ndarray:
        return in_half(embed(self._network, prepared, batch=BATCH).values)


class LiveFeatures:
    """The streams of one recording, a stretch at a time.

    extractors : by name, those that the model takes; networks : of the pretrained ones, by name
    rate : samples per second in which positions are counted
    optional : a recording may lack streams, as long as it has one

    Raises MissingStreamError if a stream is missing that must be there, MediaError if the recording cannot be decoded.
    """

    def __init__(
        self,
        source: Recording,
        extractors: Mapping[str, AnyExtractor],
        networks: Mapping[str, nn.Module],
        *,
        rate: int,
        optional: bool,
        submit: Submit,
    ) -> None:
        self._networks, self._rate = networks, rate
        self._ears = {name: cast(Ear, e) for name, e in extractors.items() if e.modality == "audio"}
        eyes = {name: cast("VisualExtractor", e) for name, e in extractors.items() if e.modality == "video"}
        self._gazes: dict[str, _Gaze] = {}
        self._tracks: dict[int, _Track] = {}
        try:
            for wanted in sorted({rate, *(ear.rate for ear in self._ears.values())} if self._ears else ()):
                self._tracks[wanted] = _Track(source.sound(wanted), wanted)
        except MissingStreamError:
            if not optional or not eyes:
                raise
            self._ears = {}
        self._line: _Track | _Length = self._tracks[rate] if self._ears else _Length.of(source, rate)
        for name, eye in eyes.items():
            try:
                self._gazes[name] = _Gaze(eye, networks[name], source, self.begin, submit)
            except MissingStreamError:
                if not optional or not self._ears:
                    raise

    @property
    def begin(self) -> float:
        """Seconds at which the recording begins."""
        return self._line.begin

    def reaches(self, position: int) -> bool:
        """Whether the recording has more than ``position`` samples."""
        return self._line.reaches(position)

    @property
    def total(self) -> int:
        """Samples in all, once `reaches` has said that there are no more."""
        return self._line.total

    def stretch(self, first: int, stop: int | None) -> Callable[[], dict[str, FeatureSequence]]:
        """Decode samples [first, stop), to the end for None, and the pictures of that time.

        Stretches are asked for in order of their beginning. Returns the work that is left, which another thread may do:
        it gives the stretch's features by extractor.
        """
        heard = {}
        for rate, track in self._tracks.items():
            until = None if stop is None else round(stop * rate / self._rate)
            heard[rate] = track.cut(round(first * rate / self._rate), until)
        start = self.begin + first / self._rate
        end = self.begin + (self.total if stop is None else stop) / self._rate
        seen = {name: gaze.rows(start, end, last=stop is None) for name, gaze in self._gazes.items()}

        def features() -> dict[str, FeatureSequence]:
            found = {name: self._hear(name, ear, heard[ear.rate]) for name, ear in self._ears.items()}
            for name, parts in seen.items():
                times = np.concatenate([t for t, _ in parts])
                # From the stretch's own first row on, since rows may be placed by number.
                half = 0.5 * self._gazes[name].eye.period
                first = min(int(np.searchsorted(times, start - half)), len(times) - 1)
                found[name] = np.concatenate([r.result()[: len(t)] for t, r in parts])[first:], times[first:]
            # All of them are of one stretch, to the last bit, whatever the rates of the ears can express.
            return {name: FeatureSequence(values, times, start, end) for name, (values, times) in found.items()}

        return features

    def _hear(self, name: str, ear: Ear, audio: Audio) -> tuple[np.ndarray, np.ndarray]:
        """Rows and their times."""
        if isinstance(ear, LogMel):
            values = log_mel(audio.samples, ear.settings)
            return values, row_times(len(values), ear.settings, audio.start)
        found = embed(self._networks[name], ear.front(audio), batch=BATCH)
        return in_half(found.values), found.times


def _endless(eye: VisualExtractor, begin: float) -> Iterator[float]:
    """The times at which an eye wants pictures of a recording that never ends."""
    given, length = 0, 64.0
    while True:
        times = eye.wanted(begin, begin + length)[given:-1]
        yield from times.tolist()
        given, length = given + len(times), 2 * length


def _each(first: Images, others: Iterator[Images]) -> Iterator[np.ndarray]:
    yield from first.pixels
    for images in others:
        yield from images.pixels
