"""Frame and clip probabilities with their time grid and classes: what every model gives and every decision starts from.

Files are safetensors (no code runs on reading): all clips of a split in one file, frames of all clips one after another. They are
read clip by clip, when a clip is asked for, so that a file may be larger than the memory.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from avsed.errors import ScoresError
from avsed.files import replacing

FORMAT = "avsed scores 1"
TagsFrom = Literal["clip probabilities", "frames"]


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


class ScoreSequence(Sequence[Scores]):
    """The scores of many clips, each read when it is asked for, as often as it is asked for.

    clips : names, each once; classes : of all clips, in the order of the columns
    tags_from : what the clips' tags are: clip probabilities of the system, or, where it gives none, the greatest frame score
    load : reads the clip of an index
    boundaries : reads only the time grid of the clip of an index, as in `Scores`
    """

    def __init__(
        self,
        clips: Sequence[str],
        classes: Sequence[str],
        *,
        load: Callable[[int], Scores],
        boundaries: Callable[[int], np.ndarray],
        tags_from: TagsFrom,
    ) -> None:
        self.clips, self.classes, self.tags_from = tuple(clips), tuple(classes), tags_from
        self.boundaries = boundaries
        self._load = load

    def __len__(self) -> int:
        return len(self.clips)

    @overload
    def __getitem__(self, index: int) -> Scores: ...
    @overload
    def __getitem__(self, index: slice) -> ScoreSequence: ...
    def __getitem__(self, index: int | slice) -> Scores | ScoreSequence:
        if isinstance(index, slice):
            return self.chosen({clip: clip for clip in self.clips[index]})
        place = range(len(self))[index]  # IndexError past the end; from the end, if negative
        return self._load(place)

    def chosen(self, clips: Mapping[str, str], classes: Sequence[str] | None = None) -> ScoreSequence:
        """Some of the clips under other names, and some of the classes in another order.

        clips : new name -> name here, in the new order
        classes : by default as they are
        """
        own = {clip: index for index, clip in enumerate(self.clips)}
        names, places = tuple(clips), [own[name] for name in clips.values()]
        wanted = self.classes if classes is None else tuple(classes)
        columns = None if wanted == self.classes else [self.classes.index(label) for label in wanted]

        def load(index: int) -> Scores:
            scores = replace(self._load(places[index]), clip=names[index])
            if columns is None:
                return scores
            return replace(scores, classes=wanted, frames=scores.frames[:, columns], tags=scores.tags[columns])

        return ScoreSequence(
            names,
            wanted,
            load=load,
            boundaries=lambda index: self.boundaries(places[index]),
            tags_from=self.tags_from,
        )


def write_scores(path: str | Path, scores: Sequence[Scores]) -> None:
    """Write the scores of many clips, all with the same classes, into one file (whole or not at all).

    The sequence is gone through twice, and never held: memory is needed for boundaries and tags, not for frames.
    """
    if not len(scores):
        raise ScoresError(f"{path}: no scores to write")
    clips: list[str] = []
    lengths, boundaries, tags = [], [], []
    for one in scores:
        if not clips:
            first, classes = one.clip, one.classes
        if one.classes != classes:
            raise ScoresError(f"{path}: {one.clip} has other classes than {first}")
        clips.append(one.clip)
        lengths.append(len(one.frames))
        boundaries.append(one.boundaries)
        tags.append(one.tags)
    about = {"format": FORMAT, "classes": json.dumps(classes), "clips": json.dumps(clips)}
    arrays = {
        "boundaries": np.concatenate(boundaries, dtype="<f8"),
        "lengths": np.array(lengths, "<i8"),
        "tags": np.stack(tags, dtype="<f4"),
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_header(arrays, (sum(lengths), len(classes)), about))
        for array in arrays.values():
            file.write(array.tobytes())
        for one in scores:
            file.write(one.frames.astype("<f4", copy=False).tobytes())


def _header(arrays: Mapping[str, np.ndarray], frames: tuple[int, int], about: Mapping[str, str]) -> bytes:
    """The head of a safetensors file: the length of the JSON that follows, little-endian, and where each array lies after it."""
    kinds = {"f8": "F64", "i8": "I64", "f4": "F32"}
    shapes = {name: (kinds[array.dtype.str[1:]], array.shape, array.nbytes) for name, array in arrays.items()}
    shapes["frames"] = ("F32", frames, 4 * frames[0] * frames[1])
    told: dict[str, Any] = {"__metadata__": dict(about)}
    begin = 0
    for name, (kind, shape, size) in shapes.items():
        told[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, begin + size]}
        begin += size
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read_scores(path: str | Path) -> ScoreSequence:
    """Open what `write_scores` wrote; each clip is read when it is asked for.

    Raises ScoresError, naming the file, if it is missing, damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="numpy")
        about = file.metadata() or {}
        if about.get("format") != FORMAT:
            raise ScoresError(
                f"{path}: not a file of scores (expected format {FORMAT!r}, found {about.get('format')!r})"
            )
        lengths = file.get_tensor("lengths")
        parts = {name: file.get_slice(name) for name in ("frames", "boundaries", "tags")}
    except (OSError, SafetensorError) as error:
        raise ScoresError(f"{path}: cannot read scores: {error}") from error
    classes, clips = tuple(json.loads(about["classes"])), tuple(json.loads(about["clips"]))
    count, total = len(clips), int(lengths.sum())
    shapes = {"frames": [total, len(classes)], "boundaries": [total + count], "tags": [count, len(classes)]}
    if len(lengths) != count or any(part.get_shape() != shapes[name] for name, part in parts.items()):
        raise ScoresError(f"{path}: damaged: its arrays do not fit {count} clips and {len(classes)} classes")
    for what, names in (("clip", clips), ("class", classes)):
        if len(set(names)) != len(names):
            twice = Counter(names).most_common(1)[0][0]
            raise ScoresError(f"{path}: the {what} {twice!r} stands twice")
    ends = np.cumsum(lengths)

    def grid(index: int) -> np.ndarray:
        begin, end = int(ends[index] - lengths[index]), int(ends[index])
        return parts["boundaries"][begin + index : end + index + 1]  # one more a clip than frames

    def load(index: int) -> Scores:
        begin, end = int(ends[index] - lengths[index]), int(ends[index])
        try:
            return Scores(
                clips[index], classes, parts["frames"][begin:end], grid(index), parts["tags"][index : index + 1][0]
            )
        except ScoresError as error:
            raise ScoresError(f"{path}: {error}") from error

    return ScoreSequence(clips, classes, load=load, boundaries=grid, tags_from="clip probabilities")
