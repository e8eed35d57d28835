"""A trained system applied to recordings of any length, in bounded memory.

A recording no longer than the longest training clip is scored whole, exactly as in evaluation. A longer one is cut into windows of
that length, which overlap by half; each is normalised as a training clip is. Where windows overlap, their probabilities are
averaged with weights that fall towards a window's edges, and only then is anything decided, so that nothing is reported twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avsed.annotations import Event
from avsed.config import PostprocessingConfig
from avsed.features.logmel import log_mel
from avsed.features.sequence import FeatureSequence
from avsed.media import Audio, stream_audio
from avsed.model.pooling import linear_softmax
from avsed.postprocessing import detect_events, detect_tags
from avsed.run import Run
from avsed.scores import Scores
from avsed.system import System
from avsed.timeline import pooled_frames, spectral_frames

BATCH = 8  # windows scored at once


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
    """

    def __init__(self, system: System, *, postprocessing: PostprocessingConfig | None = None) -> None:
        self.system = system
        self.postprocessing = postprocessing or system.config.postprocessing

    @classmethod
    def load(cls, run: str | Path, *, device: str = "auto") -> Detector:
        """The detector of a run's folder, or of the file of a trained system.

        Raises CheckpointError if there is none, ConfigError if the device is not there.
        """
        from avsed.device import choose_device

        path = Path(run)
        return cls(System.load(Run(path).trained_system() if path.is_dir() else path, device=choose_device(device)))

    def detect(self, path: str | Path) -> Detection:
        """Tags and events of one recording.

        Raises MediaError, naming the file, if it cannot be decoded or has no sound.
        """
        scores = self.score(path)
        return Detection(
            Path(path), scores, detect_tags(scores, self.postprocessing), detect_events(scores, self.postprocessing)
        )

    def score(self, path: str | Path) -> Scores:
        """Frame and clip probabilities of one recording; the clip probability is Equation 1 over all its frames."""
        blocks = stream_audio(path, rate=self.system.config.features.rate)
        return score_stream(self.system, Path(path).name, blocks)


def score_stream(system: System, name: str, blocks: Iterator[Audio]) -> Scores:
    """Scores of a recording that arrives in consecutive blocks of samples.

    blocks : at least one sample in all, at the rate of the system's features
    """
    window = _Windows(system)
    buffer, begin, offset = np.zeros(0, np.float32), None, 0  # offset: position of buffer[0] in the recording, samples
    for block in blocks:
        begin = block.start if begin is None else begin
        buffer = np.concatenate([buffer, block.samples])
        # A window is scored once more than the sound it needs is there, so that the last one can be laid flush with the end.
        while len(buffer) > window.samples + window.advance:
            window.add(offset // window.frame, buffer[: window.samples])
            buffer, offset = buffer[window.advance :], offset + window.advance
    total = offset + len(buffer)
    count = pooled_frames(spectral_frames(total, system.config.features.hop), system.config.model.time_pool)
    begin = begin or 0.0
    duration = total / system.config.features.rate
    if offset == 0 and spectral_frames(total, system.config.features.hop) <= system.window:
        spectra = log_mel(buffer, system.config.features)
        sequence = FeatureSequence.regular(spectra, system.config.features, begin=begin, duration=duration)
        return next(system.score([name], [sequence]))
    if len(buffer) > window.samples:  # one more whole window before the last
        window.add(offset // window.frame, buffer[: window.samples])
    last = max(0, count - window.frames)
    window.add(last, buffer[last * window.frame - offset :])
    frames = window.join(count)
    grid = system.grid(spectral_frames(total, system.config.features.hop), begin=begin, duration=duration)
    tags = linear_softmax(torch.from_numpy(frames)[None])[0].numpy()
    return Scores(name, system.labels, frames, grid.boundaries, tags)


class _Windows:
    """Overlapping windows of a recording, scored in batches and joined by weight.

    frames, samples : length of a window; advance : samples from one window to the next; frame : samples of a model frame
    """

    def __init__(self, system: System) -> None:
        features, pool = system.config.features, system.config.model.time_pool
        self._system, self._features, self._pool = system, features, pool
        self.frame = pool * features.hop
        self.frames = max(2, system.window // pool)
        self.samples = self.frames * self.frame - 1  # gives frames * pool spectral frames
        self.advance = max(1, self.frames // 2) * self.frame
        places = np.arange(self.frames) + 0.5
        self._weights = np.minimum(places, self.frames - places).astype(np.float32)  # a triangle, positive everywhere
        self._waiting: list[tuple[int, np.ndarray]] = []
        self._sums: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._found: list[tuple[int, np.ndarray]] = []

    def add(self, first: int, samples: np.ndarray) -> None:
        """A window that begins with model frame ``first`` of the recording."""
        spectra = self._system.standardiser.apply(log_mel(samples, self._features))
        self._waiting.append((first, spectra[: self.frames * self._pool]))
        if len(self._waiting) == BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        frames = torch.tensor([len(spectra) for _, spectra in self._waiting])
        batch = torch.zeros(len(self._waiting), self.frames * self._pool, self._features.bands)
        for row, (_, spectra) in enumerate(self._waiting):
            batch[row, : len(spectra)] = torch.from_numpy(spectra)
        full = bool((frames == batch.shape[1]).all())
        found, _ = self._system.frames_of(batch.to(self._system.device), None if full else frames)
        self._found += [
            (first, found[row, : pooled_frames(len(spectra), self._pool)])
            for row, (first, spectra) in enumerate(self._waiting)
        ]
        self._waiting.clear()

    def join(self, count: int) -> np.ndarray:
        """float32 (count, classes): the weighted mean of all windows at each frame of the recording."""
        self._flush()
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
