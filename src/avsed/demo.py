"""The whole chain on a small scale: write videos, extract, train, evaluate, detect."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsed import console
from avsed.commands import configure, evaluate, predict
from avsed.data.demo import LABELS, Recipe, generate
from avsed.evaluation import Evaluation
from avsed.features.threads import available_cores
from avsed.predictions import Predictions
from avsed.tables import read_events
from avsed.timeline import format_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

SETTINGS = (
    "training.steps=300",
    "training.weak_batch=8",
    "training.unlabelled_batch=4",
    "training.validations=4",
    f"data.labels={json.dumps(LABELS)}",
)
QUICK = ("training.steps=10", "training.validations=1")
QUICK_CLIPS = (("weak", 12), ("unlabeled", 6), ("validation", 4), ("test", 6))


@dataclass(frozen=True)
class Demo:
    """What the demo did. chance : clip-based micro F1 of naming the commonest tag for every clip"""

    folder: Path
    clip: Path
    reference: list[Any]
    evaluation: Evaluation
    prediction: Predictions
    chance: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "folder": str(self.folder),
            "seconds": self.seconds,
            "chance_clip_micro_f1": self.chance,
            "evaluation": self.evaluation.to_dict(),
            "prediction": self.prediction.to_dict(),
            "reference": [event._asdict() for event in self.reference],
        }

    def render(self) -> Iterator[RenderableType]:
        """What the command prints."""
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        yield from self.evaluation.render()
        yield f"(naming the commonest tag for every clip: clip-based micro F1 {100 * self.chance:.2f} %)"
        table = Table(title=Text(f"events of {self.clip.name}, seconds"), title_justify="left", box=SIMPLE)
        for heading in ("", "onset", "offset", "event"):
            table.add_column(heading)
        for event in self.reference:
            table.add_row("reference", f"{event.onset:.2f}", f"{event.offset:.2f}", Text(event.label))
        for event in self.prediction.detections[0].events:
            table.add_row("detected", f"{event.onset:.2f}", f"{event.offset:.2f}", Text(event.label))
        yield table
        yield f"videos and tables      {self.folder / 'data'}"
        yield f"training and results   {self.folder / 'run'}"
        yield f"next: avsed predict {self.folder / 'run'} YOUR_VIDEO.mp4"
        yield f"all in {format_seconds(self.seconds)}"


def demo(out: str | Path, *, quick: bool = False, device: str | None = None, threads: int | None = None) -> Demo:
    """Write a small data set of videos, train the baseline on it, evaluate, and detect the events of one held-out clip.

    out : folder for all of it; the same call goes on where it was interrupted
    quick : the shortest run that goes through every step; it learns next to nothing
    threads : CPU cores to use, >= 1; None for all

    Raises ConfigError if the device is not there, AvsedError if the folder holds something else.
    """
    from avsed.device import choose_device
    from avsed.training.train import train

    began = time.monotonic()
    choose_device(device or "auto")  # before the videos are written
    folder = Path(out)
    recipe = Recipe(clips=QUICK_CLIPS) if quick else Recipe()
    with console.bar("videos", sum(count for _, count in recipe.clips)) as bar:
        generate(
            folder / "data", recipe, workers=threads or available_cores(), progress=lambda done, _: bar.update(done)
        )
    settings = (*SETTINGS, *(QUICK if quick else ()), *([f"threads={threads}"] if threads else []))
    train(configure(folder / "data", settings=settings, device=device), folder / "run", workers=threads)
    evaluation = evaluate(folder / "run", device=device, workers=threads)
    reference = read_events(folder / "data/metadata/test.tsv")
    name = max(reference, key=lambda clip: (len({event.label for event in reference[clip]}), clip))
    clip = folder / "data/clips/test" / name
    prediction = predict(folder / "run", [clip], out=folder / "prediction", device=device)
    return Demo(
        folder, clip, sorted(reference[name]), evaluation, prediction, _chance(evaluation), time.monotonic() - began
    )


def _chance(evaluation: Evaluation) -> float:
    """Clip-based micro F1 of saying the commonest tag for every clip."""
    held = evaluation.clip.counts.reference
    right = int(held.sum(axis=0).max())
    return 2 * right / (len(held) + int(held.sum()))
