"""Frame and clip probabilities with their time grid and classes: what every model gives and every decision starts from.

Files are safetensors (no code runs on reading): all clips of a split in one file, frames of all clips one after another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsed.errors import ScoresError
from avsed.files import replacing

FORMAT = "avsed scores 1"


@dataclass(frozen=True)
class Scores:
    """What a system says of one clip.

    clip : the clip's file name
    classes : names of the classes, in the order of the columns
    frames : float32 (frames, classes), in [0, 1]
    boundaries : float64 (frames + 1,), seconds, non-decreasing; frame j spans [boundaries[j], boundaries[j + 1])
    tags : float32 (classes,), in [0, 1]: the probability that the class sounds somewhere in the clip
    """

    clip: str
    classes: tuple[str, ...]
    frames: np.ndarray
    boundaries: np.ndarray
    tags: np.ndarray

    def __post_init__(self) -> None:
        shape = self.frames.shape
        if self.frames.ndim != 2 or shape[1] != len(self.classes):
            raise ScoresError(f"{self.clip}: frames {shape} do not fit {len(self.classes)} classes")
        if self.boundaries.shape != (shape[0] + 1,):
            raise ScoresError(
                f"{self.clip}: {shape[0]} frames need {shape[0] + 1} boundaries, got {self.boundaries.shape}"
            )
        if self.tags.shape != (len(self.classes),):
            raise ScoresError(f"{self.clip}: tags {self.tags.shape} do not fit {len(self.classes)} classes")
        if np.any(np.diff(self.boundaries) < 0):
            raise ScoresError(f"{self.clip}: frame boundaries must not decrease")
        for name, values in (("frame", self.frames), ("clip", self.tags)):
            if not np.all((values >= 0) & (values <= 1)):  # also false for NaN
                raise ScoresError(f"{self.clip}: {name} probabilities must lie in [0, 1]")

    @property
    def duration(self) -> float:
        """Seconds from the first boundary to the last."""
        return float(self.boundaries[-1] - self.boundaries[0])


def write_scores(path: str | Path, scores: Sequence[Scores]) -> None:
    """Write the scores of many clips, all with the same classes, into one file (whole or not at all)."""
    from safetensors.numpy import save_file

    if not scores:
        raise ScoresError(f"{path}: no scores to write")
    classes = scores[0].classes
    odd = next((s.clip for s in scores if s.classes != classes), None)
    if odd is not None:
        raise ScoresError(f"{path}: {odd} has other classes than {scores[0].clip}")
    arrays: dict[str, np.ndarray] = {
        "frames": np.ascontiguousarray(np.concatenate([s.frames for s in scores]), np.float32),
        "boundaries": np.ascontiguousarray(np.concatenate([s.boundaries for s in scores]), np.float64),
        "tags": np.ascontiguousarray(np.stack([s.tags for s in scores]), np.float32),
        "lengths": np.array([len(s.frames) for s in scores], np.int64),
    }
    about = {"format": FORMAT, "classes": json.dumps(classes), "clips": json.dumps([s.clip for s in scores])}
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata=about)


def read_scores(path: str | Path) -> list[Scores]:
    """Read what `write_scores` wrote.

    Raises ScoresError, naming the file, if it is missing, damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise ScoresError(
                    f"{path}: not a file of scores (expected format {FORMAT!r}, found {about.get('format')!r})"
                )
            arrays = {name: file.get_tensor(name) for name in ("frames", "boundaries", "tags", "lengths")}
    except (OSError, SafetensorError) as error:
        raise ScoresError(f"{path}: cannot read scores: {error}") from error
    classes = tuple(json.loads(about["classes"]))
    clips = json.loads(about["clips"])
    ends = np.cumsum(arrays["lengths"])
    result = []
    for index, (clip, end, length) in enumerate(zip(clips, ends, arrays["lengths"], strict=True)):
        frames = arrays["frames"][end - length : end]
        boundaries = arrays["boundaries"][end - length + index : end + index + 1]  # one more a clip than frames
        result.append(Scores(clip, classes, frames, boundaries, arrays["tags"][index]))
    return result
