"""A trained system and a data set: what evaluation and tuning have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avsed import console
from avsed.config import load_config
from avsed.data.folder import DataSet, Split
from avsed.device import choose_device, describe, set_threads
from avsed.errors import ConfigError
from avsed.features.extractors import restore
from avsed.features.provenance import provenance
from avsed.postprocessing.files import Preset
from avsed.run import Run, versions
from avsed.scores import Scores
from avsed.system import System
from avsed.training.preparation import about_split, open_configured, reference_events, split_features
from avsed.training.train import score_split
from avsed.values import check_sections, section_of

SETTINGS = ("postprocessing", "metrics", "data")  # sections that may be others than in training


@dataclass(frozen=True)
class Opened:
    """A run with the data it is scored on. system : its configuration is that of the training with what was overridden."""

    run: Run
    system: System
    data: DataSet

    def with_preset(self, preset: Preset, given: Sequence[str] = ()) -> Opened:
        """The same with other post-processing; given : overrides, none of which may be of post-processing, too.

        Raises ConfigError if one is, or the preset is of other classes than the system's.
        """
        both = [setting for setting in given if section_of(setting) == "postprocessing"]
        if both:
            raise ConfigError(
                f"--set {both[0]}: post-processing {preset.name!r} is used as it is; change its file, or leave it out"
            )
        preset.config.check_labels(self.system.labels)
        config = self.system.config.model_copy(update={"postprocessing": preset.config})
        return replace(self, system=replace(self.system, config=config))

    def scored(self, split: Split, *, workers: int | None) -> tuple[Split, list[Scores]]:
        """A split without the clips that are left out, and the scores of the others.

        Raises AnnotationError if it has no events to be compared with, MediaError if recordings cannot be read.
        """
        reference_events(split)  # before its features are computed
        config = self.system.config
        extractors = {name: restore(name, config, told) for name, told in self.system.extractors.items()}
        split, files = split_features(split, config, extractors, device=self.system.device, workers=workers)
        return split, list(score_split(self.system, split, files))

    def about(self, split: Split) -> dict[str, Any]:
        """What a result says of its split, its system and itself."""
        config, trained = self.system.config, self.run.about()
        return {
            "split": split.name,
            "fingerprint": about_split(split),
            "run": str(self.run.folder),
            "seed": config.seed,
            "steps": trained.get("steps"),
            "training_seconds": trained.get("seconds"),
            "postprocessing": config.postprocessing.model_dump(mode="json"),
            "metrics": config.metrics.model_dump(mode="json"),
            "versions": versions(),
            "device": describe(self.system.device),
            "frame_period": self.system.period,
            "inputs": list(config.inputs),
            "extractors": self.system.extractors,
            "provenance": provenance(self.system.extractors, config.data.sources),
        }


def open_run(
    run: str | Path,
    *,
    data: str | Path | None = None,
    given: Sequence[str] = (),
    device: str | None = None,
    missing: str | None = None,
) -> Opened:
    """Load a trained system and open its data set.

    data : folder of the data set, if it has moved
    given : ``KEY=VALUE`` overrides of ``postprocessing``, ``metrics`` and ``data``
    missing : ``drop`` leaves clips out that lack a stream which the system takes

    Raises ConfigError if something else is overridden, CheckpointError if the training has not ended.
    """
    folder = Run(run)
    system_file = folder.trained_system()
    check_sections(given, SETTINGS, "a trained system's own settings are fixed")
    given = [*given, *([f"data.root={json.dumps(str(data))}"] if data is not None else [])]
    config = load_config(folder.config_file, given)
    if missing is not None and missing != config.fusion.missing:
        changed = load_config(folder.config_file, [*given, f"fusion.missing={json.dumps(missing)}"])
        if "learned" in (missing, config.fusion.missing):
            learned = "has learned" if missing != "learned" else "has not learned"
            raise ConfigError(f"--missing {missing}: {run} {learned} what stands for an absent stream")
        config = changed
    set_threads(config.threads)
    where = choose_device(device or config.device)
    console.note(f"device: {describe(where)}")
    system = replace(System.load(system_file, device=where), config=config)
    config.postprocessing.check_labels(system.labels)
    source = config.data.model_copy(update={"labels": system.labels})
    return Opened(folder, system, open_configured(config.model_copy(update={"data": source})))
