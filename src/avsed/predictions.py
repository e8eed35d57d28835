"""Tags and events of many recordings, kept while they are found: one that cannot be read is listed and stops nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsed import console
from avsed.detector import Detection, Detector
from avsed.errors import AvsedError, MediaError
from avsed.files import write_json
from avsed.scores import write_scores
from avsed.tables import write_events, write_tags

if TYPE_CHECKING:
    from rich.console import RenderableType

NOT_MEDIA = {".tsv", ".csv", ".json", ".txt", ".md", ".yaml", ".yml", ".py"}
WRITE_EVERY_S = 60.0  # so much work is lost if the machine stops


@dataclass(frozen=True)
class Predictions:
    """What was found in recordings. failures : recordings that could not be read; out : where it was written, if anywhere."""

    detections: list[Detection]
    failures: dict[str, str] = field(default_factory=dict)
    out: Path | None = None
    period: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: seconds, fractions."""
        return {
            "frame_period": self.period,
            "recordings": [found.to_dict() for found in self.detections],
            "failures": [{"file": file, "message": message} for file, message in self.failures.items()],
        }

    def render(self) -> Iterator[RenderableType]:
        """What the command prints: a table that other programs read, unless it went into files."""
        if self.out is not None:
            yield f"events and tags of {len(self.detections)} recordings: {self.out}"
            return
        yield "filename\tonset\toffset\tevent_label"
        for found in self.detections:
            rows = [f"{event.onset:.3f}\t{event.offset:.3f}\t{event.label}" for event in found.events]
            yield from (f"{found.file}\t{row}" for row in rows or ["\t\t"])

    def write(self, *, scores: bool) -> None:
        """Write the files of ``out``, each whole or not at all; ``scores`` : the probabilities of every frame, too."""
        if self.out is None:
            return
        write_events(self.out / "events.tsv", {str(found.file): found.events for found in self.detections})
        write_tags(self.out / "tags.tsv", {str(found.file): found.tags for found in self.detections})
        write_json(self.out / "predictions.json", self.to_dict())
        if scores and self.detections:
            write_scores(self.out / "scores.safetensors", [found.scores for found in self.detections])


def predict_all(
    detector: Detector, files: Sequence[str | Path], *, out: Path | None = None, keep_scores: bool = False
) -> Predictions:
    """Tags and events of recordings, and of those in folders. One that is given twice counts once.

    out : folder that they are written into now and then, and however the work ends

    Raises AvsedError if there is no recording, OSError if ``out`` cannot be written.
    """
    recordings = _recordings(files)
    if not recordings:
        raise AvsedError(f"{', '.join(map(str, files))}: no recordings found")
    result = Predictions([], out=out, period=detector.system.period)
    result.write(scores=keep_scores)  # what cannot be written shows before the work, not after it
    written = time.monotonic()
    try:
        with console.bar("recordings", len(recordings)) as bar:
            for number, path in enumerate(recordings):
                try:
                    _check_name(path)
                    result.detections.append(detector.detect(path))
                except MediaError as error:
                    result.failures[str(path)] = error.problem
                    console.warn(str(error))
                bar.update(number + 1)
                if time.monotonic() - written > WRITE_EVERY_S:
                    result.write(scores=keep_scores)
                    written = time.monotonic()
    finally:
        result.write(scores=keep_scores)
    return result


def _recordings(files: Sequence[str | Path]) -> list[Path]:
    """The files themselves, and all files of folders (not of the folders in them) but tables and texts; each once."""
    found: dict[Path, Path] = {}
    for file in map(Path, files):
        inside = sorted(file.iterdir()) if file.is_dir() else [file]
        for path in inside:
            if path == file or (path.is_file() and path.suffix not in NOT_MEDIA and path.name[0] != "."):
                found.setdefault(path.resolve(), path)
    return list(found.values())


def _check_name(path: Path) -> None:
    """Raise MediaError if tables cannot hold a recording's name."""
    if set(str(path)) & set("\t\n\r"):
        raise MediaError(path, "its name holds tabs or line breaks, which tables cannot hold; rename it")
