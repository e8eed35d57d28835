"""The whole chain on a small scale: write videos, extract, train without and with borrowed features, evaluate, detect."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsed import console
from avsed.commands import configure, evaluate, predict
from avsed.config import load_config
from avsed.data.demo import LABELS, Recipe, generate
from avsed.errors import ConfigError, nearest
from avsed.evaluation import Evaluation
from avsed.features.threads import available_cores
from avsed.predictions import Predictions
from avsed.study.paper import SETTINGS
from avsed.tables import read_events
from avsed.timeline import format_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

KEYS = (
    "fusion.auditory=aisfx",
    "fusion.visual=efficientnet-lite0",
    "extractors.efficientnet-lite0.images_per_second=1",
    "training.steps=180",
    "training.weak_batch=8",
    "training.unlabelled_batch=4",
    "training.validations=4",
    f"data.labels={json.dumps(LABELS)}",
)
CLIPS = (("weak", 120), ("unlabeled", 60), ("validation", 20), ("test", 60))
QUICK = ("training.steps=10", "training.validations=1")
QUICK_CLIPS = (("weak", 12), ("unlabeled", 6), ("validation", 4), ("test", 6))


@dataclass(frozen=True)
class Demo:
    """What the demo did.

    evaluations : of each setting, in the order of training; the last one's system found the events
    unavailable : names of weights that were not at hand, so that settings were left out
    chance : clip-based micro F1 of naming the commonest tag for every clip
    """

    folder: Path
    clip: Path
    reference: list[Any]
    evaluations: dict[str, Evaluation]
    prediction: Predictions
    unavailable: tuple[str, ...]
    chance: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "folder": str(self.folder),
            "seconds": self.seconds,
            "chance_clip_micro_f1": self.chance,
            "evaluations": {setting: found.to_dict() for setting, found in self.evaluations.items()},
            "unavailable_weights": list(self.unavailable),
            "prediction": self.prediction.to_dict(),
            "reference": [event._asdict() for event in self.reference],
        }

    def render(self) -> Iterator[RenderableType]:
        """What the command prints."""
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        *_, (setting, evaluation) = self.evaluations.items()
        yield f"{setting}:"
        yield from evaluation.render()
        table = Table(title="what the model heard and saw, F1 in %", title_justify="left", box=SIMPLE)
        table.add_column("setting")
        for heading in ("clip-based micro", "segment-based micro", "event-based macro"):
            table.add_column(heading, justify="right")
        for name, found in self.evaluations.items():
            table.add_row(name, *(f"{100 * value:.2f}" for value in found.headline().values()))
        table.add_row("(the commonest tag for every clip)", f"{100 * self.chance:.2f}", "", "")
        yield table
        table = Table(title=Text(f"events of {self.clip.name}, seconds"), title_justify="left", box=SIMPLE)
        for heading in ("", "onset", "offset", "event"):
            table.add_column(heading)
        for event in self.reference:
            table.add_row("reference", f"{event.onset:.2f}", f"{event.offset:.2f}", Text(event.label))
        for event in self.prediction.detections[0].events:
            table.add_row("detected", f"{event.onset:.2f}", f"{event.offset:.2f}", Text(event.label))
        yield table
        run = self.folder / "runs" / setting
        yield f"videos and tables       {self.folder / 'data'}"
        yield f"trainings and results   {self.folder / 'runs'}"
        if self.unavailable:
            yield (
                f"left out for want of pretrained weights: try 'avsed weights get {' '.join(self.unavailable)}' and the "
                "same again"
            )
        yield f"next: avsed predict {run} YOUR_VIDEO.mp4"
        yield f"all in {format_seconds(self.seconds)}"


def demo(
    out: str | Path,
    *,
    settings: Sequence[str] = (),
    quick: bool = False,
    device: str | None = None,
    threads: int | None = None,
) -> Demo:
    """Write a small data set of videos, train on it without and with borrowed features, and detect a held-out clip's events.

    out : folder for all of it; the same call goes on where it was interrupted
    settings : of `SETTINGS`, or ``all``; by default the baseline, and the one with all features whose weights are at hand
    quick : the shortest run that goes through every step; it learns next to nothing
    threads : CPU cores to use, >= 1; None for all

    Raises ConfigError if the device is not there or a setting is unknown, WeightsError if one that was asked for lacks its
    weights, AvsedError if the folder holds something else.
    """
    from avsed.device import choose_device
    from avsed.training.estimate import estimate
    from avsed.training.train import train

    began = time.monotonic()
    where = choose_device(device or "auto")  # before the videos are written
    folder = Path(out)
    chosen, unavailable = _choose(settings)
    recipe = Recipe(clips=QUICK_CLIPS if quick else CLIPS)
    keys = (*KEYS, *(QUICK if quick else ()), *([f"threads={threads}"] if threads else []))
    if len(chosen) > 2:
        plans = [load_config(None, [*keys, f"inputs={name}"]) for name in chosen]
        each = estimate(plans, device=where, duration=recipe.duration, classes=len(LABELS))
        seconds = sum(own.seconds for own in each)
        console.note(
            f"{len(chosen)} trainings of {plans[0].training.steps} steps: about {format_seconds(seconds)}, beside videos, "
            "features and scores"
        )
    with console.bar("videos", sum(count for _, count in recipe.clips)) as bar:
        generate(
            folder / "data", recipe, workers=threads or available_cores(), progress=lambda done, _: bar.update(done)
        )
    configs = {name: configure(folder / "data", settings=keys, device=device, inputs=name) for name in chosen}
    evaluations = {}
    for name, config in configs.items():
        console.note(f"training with {name}")
        train(config, folder / "runs" / name, workers=threads)
        evaluations[name] = evaluate(folder / "runs" / name, device=device, workers=threads)
    reference = read_events(folder / "data/metadata/test.tsv")
    shown = max(reference, key=lambda clip: (len({event.label for event in reference[clip]}), clip))
    clip = folder / "data/clips/test" / shown
    prediction = predict(folder / "runs" / chosen[-1], [clip], out=folder / "prediction", device=device)
    chance = _chance(evaluations[chosen[0]])
    seconds = time.monotonic() - began
    return Demo(folder, clip, sorted(reference[shown]), evaluations, prediction, unavailable, chance, seconds)


def _choose(settings: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The settings to train, the richest last, and the weights that are not at hand."""
    from avsed.features.weights import find, look, named

    weights = {"auditory": named("aisfx"), "visual": named("efficientnet-lite0-imagenet")}
    here = {"spectral", *(role for role, own in weights.items() if look(own) is not None)}
    unavailable = tuple(own.name for role, own in weights.items() if role not in here)
    if not settings:
        richest = max((name for name in SETTINGS if set(name.split("+")) <= here), key=lambda name: name.count("+"))
        if unavailable:
            console.warn(f"the weights {' and '.join(unavailable)} are not here: what needs them is left out")
        return list(dict.fromkeys(["spectral", richest])), unavailable
    known = {frozenset(name.split("+")): [name] for name in SETTINGS} | {frozenset({"all"}): list(SETTINGS)}
    wanted: dict[str, None] = {}
    for name in (name for item in settings for name in item.split(",")):
        if (meant := known.get(frozenset(name.split("+")))) is None:
            raise ConfigError(
                f"--settings {name}: unknown{nearest(name, SETTINGS)}; known are all, {', '.join(SETTINGS)}"
            )
        wanted |= dict.fromkeys(meant)
    for role, own in weights.items():
        if any(role in name.split("+") for name in wanted):
            find(own)  # an error says how to get them
    return list(wanted), ()


def _chance(evaluation: Evaluation) -> float:
    """Clip-based micro F1 of saying the commonest tag for every clip."""
    held = evaluation.clip.counts.reference
    right = int(held.sum(axis=0).max())
    return 2 * right / (len(held) + int(held.sum()))
