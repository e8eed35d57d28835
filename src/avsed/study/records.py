"""What a study keeps of a finished training, so that its table can be made when the run is gone, or on another machine.

::

    STUDY/records/SETTING/SEED.safetensors    the counts of every test clip, some 40 kB; and, as text, the configuration and what was
                                              found on validation and test clips

A record is written when the table is made of a run, and stands for it where the run's folder is not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avsed import numbers
from avsed.config import PASSING, Config, make_config
from avsed.errors import CheckpointError, ConfigError
from avsed.files import replacing
from avsed.metrics.counts import Counts, Result, summarise
from avsed.study.paper import COLUMNS

RECORDS = "records"
"""The folder in a study's."""

COUNTED = ("reference", "estimated", "correct", "substitutions", "deletions", "insertions")
TOLD = ("fingerprint", "provenance", "postprocessing", "metrics", "versions", "device", "training_seconds", "numbers")
"""What is kept of the results on a split."""


@dataclass(frozen=True)
class Record:
    """config : of the training, but for `PASSING`; validation, test : `TOLD` of either split's results; measures : of test clips"""

    config: Mapping[str, Any]
    validation: Mapping[str, Any]
    test: Mapping[str, Any]
    measures: Mapping[str, Result]

    @classmethod
    def of(
        cls, config: Config, validation: Mapping[str, Any], test: Mapping[str, Any], measures: Mapping[str, Result]
    ) -> Record:
        """The record of a training and its results."""
        whole = config.model_dump(mode="json")
        for key in PASSING:
            section, _, name = key.rpartition(".")
            del (whole[section] if section else whole)[name]
        chosen, final = ({key: own[key] for key in TOLD if key in own} for own in (validation, test))
        return cls(whole, chosen, final, measures)

    def write(self, path: Path) -> None:
        """Write it, unless the file is there and says the same."""
        from safetensors.numpy import save

        arrays = {f"{name}.{key}": getattr(own.counts, key) for name, own in self.measures.items() for key in COUNTED}
        one = next(iter(self.measures.values()))
        told = {
            "config": self.config,
            "validation": self.validation,
            "test": self.test,
            "definitions": {name: own.definition for name, own in self.measures.items()},
            "labels": one.labels,
            "clips": one.clips,
        }
        whole = save(
            {name: np.ascontiguousarray(values) for name, values in arrays.items()},
            {key: json.dumps(value, sort_keys=True) for key, value in told.items()},
        )
        if not path.is_file() or path.read_bytes() != whole:
            with replacing(path) as temporary:
                temporary.write_bytes(whole)


def read_record(path: Path) -> Record | None:
    """A training's record; None if there is none. Raises CheckpointError, naming the file, if it is damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            told = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            for split in ("validation", "test"):  # what tells whether trainings were scored on the same clips
                _ = told[split]["fingerprint"]["sha256"], told[split]["fingerprint"]["clips"]
            measures: dict[str, Result] = {}
            for name, definition in told["definitions"].items():
                counts = {key: file.get_tensor(f"{name}.{key}") for key in COUNTED}
                shape = len(told["clips"]), len(told["labels"])
                if any(own.shape not in (shape, shape[:1]) for own in counts.values()):
                    raise ValueError(f"{name}: counts of other clips or classes than it names")
                measures[name] = summarise(
                    Counts(tuple(told["labels"]), tuple(told["clips"]), **counts),
                    {key: value for key, value in definition.items() if key != "empty_output"},
                    empty_output=definition["empty_output"],
                )
            make_config(told["config"], source="its configuration")
            if lacking := {numbers.named(key).measure for key in COLUMNS} - measures.keys():
                raise ValueError(f"nothing of {', '.join(sorted(lacking))}")
            return Record(told["config"], told["validation"], told["test"], measures)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path}: not a training's record, or a damaged one: {error}; delete it") from error
