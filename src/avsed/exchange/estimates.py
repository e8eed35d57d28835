"""What is compared: reference annotations, and what any system says of the same clips, in the form in which it says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from avsed.annotations import Durations, Events, Tags
from avsed.scores import ScoreSequence

Kind = Literal["events", "boxes", "tags", "probabilities", "scores", "points"]


class Box(NamedTuple):
    """An event with a confidence: ``[onset, offset)`` in seconds, its label, and a score in [0, 1]."""

    onset: float
    offset: float
    label: str
    score: float


Boxes = dict[str, list[Box]]


class OperatingPoint(NamedTuple):
    """The events that a system says at one threshold, in [0, 1], and the table that they stand in."""

    threshold: float
    events: Events
    path: Path


@dataclass(frozen=True)
class ClipProbabilities:
    """Probabilities that a class sounds somewhere in a clip. values : float32 (clips, classes), in [0, 1]."""

    clips: tuple[str, ...]
    classes: tuple[str, ...]
    values: np.ndarray


@dataclass(frozen=True)
class Reference:
    """What sounds in clips. tags : of every clip; events : of every clip, or None if only tags are known; durations : in seconds."""

    path: Path
    tags: Tags
    events: Events | None = None
    durations: Durations | None = None


@dataclass(frozen=True)
class Estimate:
    """What a system says of clips, in exactly one form.

    path : where it was read; form : what it was taken for, in words
    events : an event list; boxes : events with confidences; tags : labels of clips; probabilities : of clips and classes
    scores : of frames; points : event lists at several thresholds, by rising threshold
    """

    path: Path
    form: str
    events: Events | None = None
    boxes: Boxes | None = None
    tags: Tags | None = None
    probabilities: ClipProbabilities | None = None
    scores: ScoreSequence | None = None
    points: tuple[OperatingPoint, ...] | None = None

    def __post_init__(self) -> None:
        assert sum(getattr(self, kind) is not None for kind in get_args(Kind)) == 1

    @property
    def kind(self) -> Kind:
        """The form that is given."""
        return next(kind for kind in get_args(Kind) if getattr(self, kind) is not None)

    @property
    def clips(self) -> tuple[str, ...]:
        """The clips that something is said of."""
        if self.points is not None:
            return tuple({clip: None for point in self.points for clip in point.events})
        if self.scores is not None:
            return self.scores.clips
        if self.probabilities is not None:
            return self.probabilities.clips
        return tuple(self.events or self.boxes or self.tags or ())

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes that have a column; None where classes are named only by what is said."""
        holder = self.scores or self.probabilities
        return None if holder is None else holder.classes
