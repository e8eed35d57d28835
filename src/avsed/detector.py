"""A trained system applied to recordings of any length, in bounded memory.

A recording no longer than the longest training clip is scored whole, exactly as in evaluation. A longer one is cut into windows of
that length, which overlap by half; each is normalised as a training clip is. Where windows overlap, their probabilities are
averaged with weights that fall towards a window's edges, and only then is anything decided, so that nothing is reported twice.

On a CPU, windows are scored side by side, each batch by a thread of its own, while the recording is being decoded. Threads that share
one batch wait for each other hundreds of times in it, which beside other work on the machine takes many times longer than the batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avsed.annotations import Event
from avsed.data.clips import clip_grid
from avsed.features.extractors import restore
from avsed.features.live import LiveFeatures, Recording
from avsed.features.logmel import LogMel
from avsed.features.sequence import FeatureSequence
from avsed.features.weights import find
from avsed.model.pooling import linear_softmax
from avsed.postprocessing import detect_events, detect_tags
from avsed.postprocessing.options import PostprocessingConfig
from avsed.run import Run
from avsed.scores import Scores
from avsed.system import System
from avsed.timeline import pooled_frames, spectral_frames

BATCH = 8  # windows scored at once
CPU_BATCH = 4  # the same on a CPU: maps stay below 32 MB, from where on memory is fetched anew each time, page by page
MOST_AHEAD = 8  # batches that wait for the network: VGG16's pictures of one on a CPU take 45 MB

Ready = Callable[[], dict[str, FeatureSequence]]
"""What is left to do for a window's features, by extractor."""


@dataclass(frozen=True)
class Detection:
    """What was found in one recording.

    file : the recording
    scores : frame and clip probabilities
    tags : the classes whose clip probability reaches the threshold
    events : sorted by onset
    """

    file: Path
    scores: Scores
    tags: frozenset[str]
    events: list[Event]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: seconds and fractions. An event's probability is its mean frame probability."""
        probability = dict(zip(self.scores.classes, self.scores.tags.tolist(), strict=True))
        return {
            "file": str(self.file),
            "begin": float(self.scores.boundaries[0]),
            "duration": self.scores.duration,
            "tags": [{"label": tag, "probability": probability[tag]} for tag in sorted(self.tags)],
            "events": [
                event._asdict() | {"probability": _mean_probability(event, self.scores)} for event in self.events
            ],
        }


class Detector:
    """Finds tags and events in recordings.

    system : the trained system
    postprocessing : how scores become decisions; by default as in the system's configuration

    Raises WeightsError if the weights of a network that the system needs are not at hand, ConfigError if ``postprocessing`` names
    other classes than the system's.
    """

    def __init__(self, system: System, *, postprocessing: PostprocessingConfig | None = None) -> None:
        self.system = system
        self.postprocessing = postprocessing or system.config.postprocessing
        self.postprocessing.check_labels(system.labels)
        self.extractors = {name: restore(name, system.config, told) for name, told in system.extractors.items()}
        self.networks = {
            name: extractor.network(find(extractor.weights)).to(system.device)
            for name, extractor in self.extractors.items()
            if not isinstance(extractor, LogMel)
        }

    @classmethod
    def load(
        cls, run: str | Path, *, device: str = "auto", postprocessing: PostprocessingConfig | None = None
    ) -> Detector:
        """The detector of a run's folder, or of the file of a trained system.

        Raises CheckpointError if there is none, ConfigError if the device is not there.
        """
        from avsed.device import choose_device

        path = Path(run)
        with _one_thread_each():
            file = Run(path).trained_system() if path.is_dir() else path
            return cls(System.load(file, device=choose_device(device)), postprocessing=postprocessing)

    def detect(self, path: str | Path) -> Detection:
        """Tags and events of one recording.

        Raises MediaError, naming the file, if it cannot be decoded or lacks a stream that the system needs.
        """
        scores = self.score(Recording(Path(path)))
        return Detection(
            Path(path), scores, detect_tags(scores, self.postprocessing), detect_events(scores, self.postprocessing)
        )

    def score(self, recording: Recording) -> Scores:
        """Frame and clip probabilities of one recording; the clip probability is Equation 1 over all its frames."""
        system = self.system
        training = system.model.training
        system.model.eval()  # here, for all threads: `System.frames_of` then changes nothing while others compute
        try:
            with _one_thread_each() as threads, _Windows(system, threads) as windows:
                features = LiveFeatures(
                    recording,
                    self.extractors,
                    self.networks,
                    rate=system.config.features.rate,
                    optional=system.config.fusion.missing == "learned",
                    submit=windows.submit,
                )
                return _score(system, str(recording.path), features, windows)
        finally:
            system.model.train(training)


@contextmanager
def _one_thread_each() -> Iterator[int]:
    """While the block runs, PyTorch does not share a computation among threads; yields how many threads it may have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _score(system: System, name: str, features: LiveFeatures, windows: _Windows) -> Scores:
    hop, pool = system.config.features.hop, system.config.model.time_pool
    first = 0  # model frame at which the next window begins
    # A window is scored once more than the sound it needs is there, so that the last one can be laid flush with the end.
    while features.reaches(first * windows.frame + windows.samples + windows.advance * windows.frame):
        windows.add(first, features.stretch(first * windows.frame, first * windows.frame + windows.samples))
        first += windows.advance
    total = features.total
    spectral = spectral_frames(total, hop)
    if first == 0 and spectral <= system.window:
        return next(system.score([name], [features.stretch(0, None)()]))
    if total > first * windows.frame + windows.samples:  # one more whole window before the last
        windows.add(first, features.stretch(first * windows.frame, first * windows.frame + windows.samples))
    count = pooled_frames(spectral, pool)
    last = max(0, count - windows.frames)
    windows.add(last, features.stretch(last * windows.frame, None))
    frames = windows.join(count)
    grid = system.grid(spectral, begin=features.begin, duration=total / system.config.features.rate)
    tags = linear_softmax(torch.from_numpy(frames)[None])[0].numpy()
    return Scores(name, system.labels, frames, grid.boundaries, tags)


class _Windows:
    """Overlapping windows of a recording, scored in batches by threads and joined by weight.

    frames, samples : length of a window; advance : frames from one window to the next; frame : samples of a model frame
    """

    def __init__(self, system: System, threads: int) -> None:
        pool = system.config.model.time_pool
        self._system = system
        self.frame = pool * system.config.features.hop
        self.frames = max(2, system.window // pool)
        self.samples = self.frames * self.frame - 1  # gives frames * pool spectral frames
        self.advance = max(1, self.frames // 2)
        places = np.arange(self.frames) + 0.5
        self._weights = np.minimum(places, self.frames - places).astype(np.float32)  # a triangle, positive everywhere
        on_cpu = system.device.type == "cpu"
        self._batch = CPU_BATCH if on_cpu else BATCH
        threads = threads if on_cpu else 1
        self._ahead = min(2 * threads, MOST_AHEAD)  # batches of samples and pictures held in memory
        self._threads = ThreadPoolExecutor(threads, "windows", initializer=torch.set_num_threads, initargs=(1,))
        self._waiting: list[tuple[int, Ready]] = []
        self._scored: deque[Future[list[tuple[int, np.ndarray]]]] = deque()
        self._found: list[tuple[int, np.ndarray]] = []

    def __enter__(self) -> _Windows:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Have a thread do what windows that are added later wait for: threads take work in the order it was given."""
        return self._threads.submit(work)

    def add(self, first: int, ready: Ready) -> None:
        """A window that begins with model frame ``first`` of the recording."""
        self._waiting.append((first, ready))
        if len(self._waiting) == self._batch:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._scored.append(self._threads.submit(self._score, self._waiting))
            self._waiting = []
        while len(self._scored) > self._ahead:
            self._found += self._scored.popleft().result()

    def _score(self, windows: list[tuple[int, Ready]]) -> list[tuple[int, np.ndarray]]:
        """Frame probabilities of a batch of windows; runs in several threads at once."""
        clips = [ready() for _, ready in windows]
        found, _ = self._system.frames_of(self._system.bank(clips).gather(np.arange(len(clips))))
        return [
            (first, frames[: clip_grid(clip, self._system.config).count])
            for (first, _), frames, clip in zip(windows, found, clips, strict=True)
        ]

    def join(self, count: int) -> np.ndarray:
        """float32 (count, classes): the weighted mean of all windows at each frame of the recording."""
        self._flush()
        while self._scored:
            self._found += self._scored.popleft().result()
        sums = np.zeros((count, len(self._system.labels)), np.float32)
        weights = np.zeros((count, 1), np.float32)
        for first, frames in self._found:
            frames = frames[: count - first]
            weight = self._weights[: len(frames), None]
            sums[first : first + len(frames)] += weight * frames
            weights[first : first + len(frames)] += weight
        return np.clip(sums / weights, 0.0, 1.0)


def _mean_probability(event: Event, scores: Scores) -> float:
    inside = (scores.boundaries[:-1] < event.offset) & (scores.boundaries[1:] > event.onset)
    return float(scores.frames[inside, scores.classes.index(event.label)].mean())
