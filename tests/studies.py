"""Studies for tests: plans, and runs that look finished without a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from runs import keep_evaluation, noisy_scores

from avsed.annotations import Event, Events
from avsed.features.provenance import learned_from
from avsed.study.paper import BASELINE, DCASE
from avsed.study.plan import Plan, make_plan
from avsed.study.units import Unit

CLASSES = ("Cat", "Dog")
REFERENCE: Events = {
    f"{number:02d}.wav": [Event(2.0, 4.0, CLASSES[number % 2])] if number % 3 else [] for number in range(18)
}


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def plan(folder: Path, text: str = "", **given: object) -> Plan:
    return make_plan(put(folder / "c.yaml", text), out=folder / "out", **given)  # type: ignore[arg-type]


def finished(unit: Unit, noise: float, *, reference: Events = REFERENCE) -> None:
    """The folder of a run that was trained and evaluated, of a system whose scores are the truth and some noise."""
    random, config, run = np.random.default_rng((unit.config.seed, len(unit.setting))), unit.config, unit.run
    provenance = {name: learned_from(["AudioSet"], config.data.sources) for name in config.streams if name != "logmel"}
    for split in unit.splits:
        scores = noisy_scores(reference, CLASSES, noise=noise, random=random)
        durations = dict.fromkeys(reference, 10.0)
        keep_evaluation(
            run, config, scores, reference, durations, split=split, all_thresholds=False, provenance=provenance
        )
    run.system.touch()
    run.describe(finished="now", steps=config.training.steps)


FEW = "metrics: {resamples: 60}\n"
TWO = FEW + "study: {settings: [auditory+spectral, spectral], seeds: 4, keep: 0.5}\n"


def half_done(folder: Path) -> Path:
    """A study of two settings with four trainings each, one of which is still to be done."""
    own = plan(folder, f"data: {{sources: [{DCASE}, AudioSet]}}\n" + TWO)
    own.folder.mkdir()
    own.keep()
    for unit in own.units:
        if unit.name != "spectral+auditory/3":
            finished(unit, 0.2 if unit.setting == BASELINE else 0.05)
    return folder
