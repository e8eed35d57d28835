"""What is known of each clip of an extraction, from what the store has to what its networks made; and the result.

An extraction's parent process keeps one `Run`; workers' outcomes are added to it one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avsed.errors import MediaError
from avsed.features.decoding_pass import Outcome, check_finite, find_stored
from avsed.features.options import Modality
from avsed.features.sequence import FeatureSequence
from avsed.features.store import FeatureStore, StoredFeatures

if TYPE_CHECKING:
    from avsed.features.decoding_pass import AnyExtractor
    from avsed.features.embedding import Embedder

Progress = Callable[[int, int, int], None]


class Remark(NamedTuple):
    """A clip, its file, and what is to be said about it."""

    name: str
    path: Path
    message: str


@dataclass(frozen=True)
class ExtractionResult:
    """What an extraction found and did. Numbers are of clips.

    files : by extractor, the stored features of each clip, in the order given; None where there are none
    done : clips of which something was extracted now; cached : those of which the store had all that can be had
    failures : clips that could not be read, or not all of what was wanted of them; one remark a clip
    absent : clips without sound ("audio") or moving pictures ("video"), of what was wanted; these are no failures
    warnings : clips (now or formerly) decoded with something mended, such as a damaged packet passed over
    replaced : damaged files of the store that were computed anew
    seconds : wall time of the extraction, without looking up what is cached and without reading weights
    waited : of these, seconds in which networks had nothing to do, since decoding was not ready; 0 without networks
    workers : processes that decoded
    devices : of a cluster, where networks ran, for people
    """

    files: dict[str, tuple[StoredFeatures | None, ...]]
    done: int
    cached: int
    failures: tuple[Remark, ...]
    absent: dict[Modality, tuple[Remark, ...]]
    warnings: tuple[Remark, ...]
    replaced: tuple[Path, ...]
    seconds: float
    waited: float
    workers: int
    devices: tuple[str, ...] = ()

    @property
    def clips(self) -> int:
        """How many clips there are."""
        return max(map(len, self.files.values()), default=0)

    @property
    def clips_per_s(self) -> float:
        """Clips extracted per second; 0 if all were cached."""
        return self.done / self.seconds if self.done else 0.0

    @property
    def waiting(self) -> float:
        """The share of the time in which networks waited for decoding, in [0, 1]."""
        return self.waited / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class PartialResult:
    """What a process did of an extraction that several divide.

    outcomes : of its clips, in their order; None for those that were not done when it was asked to stop
    seconds, waited, workers : see `ExtractionResult`
    device : where networks ran, for people; empty if none was asked for
    """

    outcomes: list[Outcome | None]
    seconds: float = 0.0
    waited: float = 0.0
    workers: int = 0
    device: str = ""


@dataclass
class State:
    """What is known of a clip.

    new : extractors whose features were computed now; open : networks that have not run on it; settled : nothing is to be done
    """

    path: Path
    stored: dict[str, StoredFeatures] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)
    replaced: list[Path] = field(default_factory=list)
    new: set[str] = field(default_factory=set)
    open: int = 0
    settled: bool = False


class Run:
    """The state of an extraction, which outcomes are added to."""

    def __init__(
        self,
        clips: Sequence[tuple[str, str | Path]],
        extractors: Mapping[str, AnyExtractor],
        store: FeatureStore,
        progress: Progress | None,
    ) -> None:
        self.clips, self.extractors, self.store, self.progress = clips, extractors, store, progress
        self.embedders: Mapping[str, Embedder] = {}
        self.states = [State(Path(path)) for _, path in clips]
        self.finished = self.failed = 0
        self.waited = 0.0

    def look_up(self, index: int) -> bool:
        """Find what the store has of a clip; whether that is all, so that it need not be opened."""
        state = self.states[index]
        if (content := self.store.known_content(state.path)) is None:
            return False
        state.outcome.content = content
        for name, extractor in self.extractors.items():
            if (stored := find_stored(self.store, extractor, content, state.replaced)) is not None:
                state.stored[name] = stored
        if len(state.stored) < len(self.extractors):
            return False
        self.finished, state.settled = self.finished + 1, True
        return True

    def lacking(self, index: int) -> dict[str, AnyExtractor]:
        """The extractors whose features of a clip were not found."""
        stored = self.states[index].stored
        return {name: extractor for name, extractor in self.extractors.items() if name not in stored}

    def add(self, index: int, outcome: Outcome) -> None:
        """Take what a worker made of a clip; what networks are to take may be all that lacks for a batch."""
        state, prepared = self.states[index], outcome.prepared
        state.new |= outcome.stored.keys() - outcome.cached
        state.stored |= outcome.stored
        state.replaced += outcome.replaced
        outcome.prepared = {}  # large, and from here on the embedders'
        state.outcome, state.open = outcome, len(prepared)
        self._settle(state)
        for name in list(prepared):
            self._keep(name, self.embedders[name].add(index, prepared.pop(name)))

    def finish(self) -> None:
        """Run the networks on what still waits."""
        for name, embedder in self.embedders.items():
            self._keep(name, embedder.finish())

    def outcome(self, index: int) -> Outcome | None:
        """What became of a clip, what its networks made included; None as long as something is to be done."""
        state = self.states[index]
        if not state.settled:
            return None
        cached = frozenset(state.stored.keys() - state.new)
        return replace(state.outcome, stored=state.stored, cached=cached, replaced=state.replaced)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Networks wait while the block runs, if there are any."""
        began = time.perf_counter()
        yield
        self.waited += time.perf_counter() - began if self.embedders else 0.0

    def report(self) -> None:
        if self.progress is not None:
            self.progress(self.finished, len(self.clips), self.failed)

    def _keep(self, name: str, done: Iterable[tuple[int, FeatureSequence]]) -> None:
        """Store what a network made of clips."""
        extractor = self.embedders[name].extractor
        for index, features in done:
            state = self.states[index]
            try:
                check_finite(state.path, extractor, features)
                state.stored[name] = self.store.save(
                    extractor,
                    state.outcome.content,
                    features,
                    source=state.path.name,
                    warnings=state.outcome.mended[extractor.modality],
                    weights=extractor.weights.to_dict(),
                )
                state.new.add(name)
            except MediaError as error:
                state.outcome.note(error)
            state.open -= 1
            self._settle(state)

    def _settle(self, state: State) -> None:
        if not state.open:
            self.finished, state.settled = self.finished + 1, True
            self.failed += bool(state.outcome.problems)
            self.report()

    def result(self, seconds: float, workers: int) -> ExtractionResult:
        states = self.states
        streams = sorted({stream for state in states for stream in state.outcome.absent})
        return ExtractionResult(
            files={name: tuple(state.stored.get(name) for state in states) for name in self.extractors},
            done=sum(bool(state.new) for state in states),
            cached=sum(bool(state.stored) and not state.new and not state.outcome.problems for state in states),
            failures=self._remarks(lambda state: ["; ".join(state.outcome.problems)] if state.outcome.problems else []),
            absent={stream: self._remarks(lambda state: _said(state, stream)) for stream in streams},  # noqa: B023
            warnings=self._remarks(lambda state: [text for own in state.stored.values() for text in own.warnings]),
            replaced=tuple(dict.fromkeys(path for state in states for path in state.replaced)),
            seconds=seconds,
            waited=self.waited,
            workers=workers,
        )

    def _remarks(self, texts: Callable[[State], Iterable[str]]) -> tuple[Remark, ...]:
        """What is to be said about the clips, in their order, each text once a clip."""
        return tuple(
            Remark(name, state.path, text)
            for (name, _), state in zip(self.clips, self.states, strict=True)
            for text in dict.fromkeys(texts(state))
        )


def _said(state: State, stream: Modality) -> list[str]:
    return [state.outcome.absent[stream]] if stream in state.outcome.absent else []
