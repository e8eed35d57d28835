"""What a worker does with one recording: decode it once, run the front ends, keep what needs no network.

::

    sound, at every rate that is wanted ──▶ extract ──▶ store            log-mel
                                        └─▶ front ───▶ Prepared ──▶ …    the ears
    pictures, at all times wanted ────────▶ front ───▶ Prepared ──▶ …    the eyes

What networks are to take travels back to the parent, which runs them (`avsed.features.embedding`).

All streams of a recording share one time frame: pictures are wanted for as long as its sound lasts, at the sound's own
rate, so that an eye's features never depend on which ears were asked for at the same time. Where there is no sound, or
none that can be decoded, they are wanted for as long as the pictures last; these are then decoded twice, the first time
to learn how long.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, TypeVar

import numpy as np

from avsed.errors import CheckpointError, MediaError, MissingStreamError
from avsed.features.options import Modality
from avsed.features.sequence import Described, Extractor, FeatureSequence
from avsed.features.store import FeatureStore, StoredFeatures
from avsed.media import Audio, Images, MediaWarning, Span, picture_span, probe, read_audio_rates, read_images

if TYPE_CHECKING:
    from avsed.features.pretrained import AuditoryExtractor, Prepared, VisualExtractor
    from avsed.media.images import Fit

    AnyExtractor = Extractor | AuditoryExtractor | VisualExtractor

T = TypeVar("T")


@dataclass
class Outcome:
    """What became of one recording.

    content : SHA-256 of its bytes; empty if they cannot be read
    stored : features in the store, by extractor
    cached : the extractors whose features were there before
    prepared : what networks are still to take, by extractor
    mended : what was mended while a stream was decoded
    absent : streams that are wanted and that it lacks, and how that is said
    problems : what is wrong with it
    replaced : damaged files of the store that count as nothing
    """

    content: str = ""
    stored: dict[str, StoredFeatures] = field(default_factory=dict)
    cached: frozenset[str] = frozenset()
    prepared: dict[str, Prepared] = field(default_factory=dict)
    mended: dict[Modality, tuple[str, ...]] = field(default_factory=dict)
    absent: dict[Modality, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    replaced: list[Path] = field(default_factory=list)

    def note(self, error: Exception) -> None:
        """List what went wrong: one odd clip must not end a run of thousands. Raises what is not this clip's fault."""
        if isinstance(error, CheckpointError):
            raise error
        problem = error.problem if isinstance(error, MediaError) else f"{type(error).__name__}: {error}"
        if problem not in self.problems:
            self.problems.append(problem)


def needs_network(extractor: AnyExtractor) -> TypeGuard[AuditoryExtractor | VisualExtractor]:
    """Whether an extractor is a front end and a network."""
    return hasattr(extractor, "network")


def find_stored(store: FeatureStore, extractor: Described, content: str, replaced: list[Path]) -> StoredFeatures | None:
    """What the store has; a damaged file counts as nothing and is noted, since it can simply be computed again."""
    try:
        return store.find(extractor.key, content)
    except CheckpointError:
        replaced.append(store.path(extractor.key, content))
        return None


def check_finite(path: Path, extractor: Described, features: FeatureSequence) -> None:
    """Raises MediaError, naming the recording and the extractor, if features are no finite numbers."""
    if not np.isfinite(features.values).all():
        raise MediaError(path, f"the extractor {extractor.name} gave values that are not finite numbers")


def decode_clip(path: Path, extractors: Mapping[str, AnyExtractor], store: FeatureStore) -> Outcome:
    """Find the features of one clip, compute them, or prepare what their networks take.

    extractors : those whose features are wanted, by name

    Raises CheckpointError if the store cannot be written.
    """
    outcome = Outcome()
    try:
        outcome.content = store.content(path)
    except MediaError as error:
        outcome.note(error)
        return outcome
    for name, extractor in extractors.items():
        if (stored := find_stored(store, extractor, outcome.content, outcome.replaced)) is not None:
            outcome.stored[name] = stored
    outcome.cached = frozenset(outcome.stored)
    lacking = {name: extractor for name, extractor in extractors.items() if name not in outcome.stored}
    if lacking:
        _Pass(path, store, outcome).take(lacking)
    return outcome


class _Pass:
    """One recording on its way through the extractors."""

    def __init__(self, path: Path, store: FeatureStore, outcome: Outcome) -> None:
        self.path, self.store, self.outcome = path, store, outcome

    def take(self, extractors: Mapping[str, AnyExtractor]) -> None:
        plain = {name: extractor for name, extractor in extractors.items() if _is_plain(extractor)}
        ears = {name: extractor for name, extractor in extractors.items() if _is_ear(extractor)}
        eyes = {name: extractor for name, extractor in extractors.items() if _is_eye(extractor)}
        rates = {extractor.rate for extractor in plain.values()} | {ear.rate for ear in ears.values()}
        sound = self._decoded("audio", lambda: read_audio_rates(self.path, rates=rates), wanted=bool(rates))
        span = None
        if sound is not None:
            span, samples = sound
            for name, extractor in plain.items():
                self._extract(name, extractor, samples[extractor.rate])
            for name, ear in ears.items():
                self._prepare(name, lambda: ear.front(samples[ear.rate])._replace(begin=span.begin, stop=span.stop))  # noqa: B023 (called at once)
        if eyes:
            self._see(eyes, span)
        outcome = self.outcome
        if outcome.absent and not (outcome.stored or outcome.prepared or outcome.problems):
            self._holds_something()

    def _decoded(self, stream: Modality, read: Callable[[], T], *, wanted: bool = True) -> T | None:
        """What is read of a stream; None if that is not possible, which matters only if the stream is wanted."""
        mended: list[str] = []
        try:
            with _mending(self.path, mended):
                result = read()
        except Exception as error:
            if wanted and isinstance(error, MissingStreamError):
                self.outcome.absent[stream] = error.problem
            elif wanted:
                self.outcome.note(error)
            return None
        self.outcome.mended[stream] = tuple(dict.fromkeys([*self.outcome.mended.get(stream, ()), *mended]))
        return result

    def _extract(self, name: str, extractor: Extractor, audio: Audio) -> None:
        try:
            features = extractor.extract(audio)
            check_finite(self.path, extractor, features)
            self.outcome.stored[name] = self.store.save(
                extractor,
                self.outcome.content,
                features,
                source=self.path.name,
                warnings=self.outcome.mended["audio"],
            )
        except Exception as error:
            self.outcome.note(error)

    def _prepare(self, name: str, front: Callable[[], Prepared]) -> None:
        try:
            self.outcome.prepared[name] = front()
        except Exception as error:
            self.outcome.note(error)

    def _see(self, eyes: Mapping[str, VisualExtractor], span: Span | None) -> None:
        if span is None and (span := self._decoded("video", lambda: picture_span(self.path))) is None:
            return
        for name, images in self._pictures(eyes, span):
            self._prepare(name, lambda: eyes[name].front(images, begin=span.begin, stop=span.stop))  # noqa: B023

    def _pictures(self, eyes: Mapping[str, VisualExtractor], span: Span) -> Iterator[tuple[str, Images]]:
        """The pictures that each eye wants; those of the same size and fit are decoded together."""
        alike: dict[tuple[int, Fit], dict[str, np.ndarray]] = {}
        for name, eye in eyes.items():
            alike.setdefault((eye.size, eye.fit), {})[name] = eye.wanted(span.begin, span.stop)
        for (size, fit), wanted in alike.items():
            times = np.unique(np.concatenate(list(wanted.values())))
            images = self._decoded("video", lambda: read_images(self.path, size=size, fit=fit, times=times))  # noqa: B023
            if images is None:
                return
            for name, own in wanted.items():
                if len(own) == len(times):
                    yield name, images
                else:
                    rows = np.searchsorted(times, own)
                    yield name, Images(images.pixels[rows], images.times[rows])

    def _holds_something(self) -> None:
        """A recording with neither sound nor moving pictures lacks no stream: it cannot be used."""
        try:
            found = probe(self.path)
        except MediaError as error:
            self.outcome.note(error)
            return
        if not found.audio and not found.video:
            self.outcome.absent.clear()
            self.outcome.note(MediaError(self.path, "holds neither sound nor moving pictures that can be decoded"))


def _is_plain(extractor: AnyExtractor) -> TypeGuard[Extractor]:
    return not needs_network(extractor)


def _is_ear(extractor: AnyExtractor) -> TypeGuard[AuditoryExtractor]:
    return needs_network(extractor) and extractor.modality == "audio"


def _is_eye(extractor: AnyExtractor) -> TypeGuard[VisualExtractor]:
    return needs_network(extractor) and extractor.modality == "video"


@contextmanager
def _mending(path: Path, mended: list[str]) -> Iterator[None]:
    """Gather what media say that they mended, without the file's name; other warnings go where they always go."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MediaWarning)
        yield
    for item in caught:
        if issubclass(item.category, MediaWarning):
            mended.append(str(item.message).removeprefix(f"{path}: "))
        else:
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
