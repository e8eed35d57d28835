"""The folder of one training: what it was told, how far it is, what came out.

::

    RUN/config.yaml              the whole configuration, defaults included
        run.json                 data (counts, fingerprints), versions, device, duration: what a result needs to explain itself
        checkpoint.safetensors   state of the training, for going on
        log.jsonl, tensorboard/  loss, learning rate and validation scores on the way
        system.safetensors       the trained system: all that 'avsed predict' needs
        scores/SPLIT.safetensors, results/SPLIT.json, results/SPLIT.tsv    what 'avsed evaluate' found
        results/SPLIT.reference.tsv, results/SPLIT.durations.tsv           what it was compared with
        postprocessing/NAME.yaml what 'avsed tune' found; results with it are called SPLIT.NAME
        lock, train.log          in a study: held by the process that trains here; what it said
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import avsed
from avsed.config import PASSING, Config, load_config
from avsed.errors import CheckpointError, ConfigError
from avsed.files import read_json, write_json, write_text
from avsed.values import flatten

BRIEF = 150  # characters of a fact in a message


class Run:
    """Paths and small files of a training's folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config_file = self.folder / "config.yaml"
        self.about_file = self.folder / "run.json"
        self.checkpoint = self.folder / "checkpoint.safetensors"
        self.log = self.folder / "log.jsonl"
        self.tensorboard = self.folder / "tensorboard"
        self.system = self.folder / "system.safetensors"
        self.presets = self.folder / "postprocessing"
        self.lock = self.folder / "lock"
        self.said = self.folder / "train.log"

    def scores(self, split: str) -> Path:
        return self.folder / "scores" / f"{split}.safetensors"

    def results(self, split: str) -> Path:
        return self.folder / "results" / f"{split}.json"

    def events(self, split: str) -> Path:
        return self.folder / "results" / f"{split}.tsv"

    def reference(self, split: str) -> Path:
        return self.folder / "results" / f"{split}.reference.tsv"

    def durations(self, split: str) -> Path:
        return self.folder / "results" / f"{split}.durations.tsv"

    @property
    def started(self) -> bool:
        """Whether steps of a training are in the folder: another one would overwrite them, or pass for their continuation."""
        return self.checkpoint.is_file() or self.system.is_file()

    def begin(self, config: Config) -> None:
        """Take the folder for a training with this configuration, or find one there that was begun with the same.

        A training that failed before its first checkpoint leaves the folder free.

        Raises CheckpointError if the folder holds a training with another configuration, naming the differing keys, or
        something else; OSError if it cannot be written.
        """
        files = (self.config_file, self.about_file, self.checkpoint, self.log, self.system)
        half_written = [
            f".{file.stem}-{'[0-9a-f]' * 32}{file.suffix}" for file in files
        ]  # of a training that was killed
        for pattern in (*half_written, ".tmp??????"):  # the last are safetensors' own
            for left in self.folder.glob(pattern):
                left.unlink()
        ours = self.config_file.is_file()
        if ours:
            known = self.config() if self.started else load_config(self.config_file)  # perhaps of something else
            changed = known.differences(config, passing=PASSING)
            if changed and self.started:
                raise CheckpointError(
                    f"{self.folder}: holds a training with another configuration ({'; '.join(changed)}); "
                    "give the same one to go on, or another --out"
                )
        if ours and self.started:
            return
        foreign = sorted(
            set(self.folder.glob("*")) - {self.lock, self.said} - ({self.tensorboard, *files} if ours else set())
        )
        if foreign:
            raise CheckpointError(
                f"{self.folder}: is neither empty nor a training of avsed (it holds {foreign[0].name}); give another --out"
            )
        config.save(self.config_file)

    def take_data(self, config: Config, facts: Mapping[str, Any]) -> None:
        """Keep what a training learns from, or, if it has begun, see that it is still the same.

        facts : plain values for ``run.json``, such as the classes and each split's fingerprint

        Raises CheckpointError, naming what differs, if the training began with other data.
        """
        if self.started:
            told = self.about()
            before, now = flatten({name: told.get(name) for name in facts}), flatten(facts)
            changed = [
                f"{key}: {_brief(before.get(key))} -> {_brief(now.get(key))}"
                for key in sorted(before.keys() | now.keys())
                if before.get(key) != now.get(key)
            ]
            if changed:
                raise CheckpointError(
                    f"{self.folder}: the training began with other data ({'; '.join(changed)}); "
                    "give the same data to go on, or another --out"
                )
            config.save(self.config_file)  # the data's folder, device and threads may be others
        self.describe(**facts)

    def config(self) -> Config:
        """What the training was begun with. Raises CheckpointError, naming the file, if it is damaged."""
        advice = f"put it back, or delete {self.folder} to train anew"
        if not self.config_file.read_bytes().strip():  # as a power cut leaves it
            raise CheckpointError(f"{self.config_file}: empty; {advice}")
        try:
            return load_config(self.config_file)
        except ConfigError as error:
            raise CheckpointError(f"{error}; {advice}") from error

    def about(self) -> dict[str, Any]:
        """What ``run.json`` says; empty if there is none yet.

        Raises CheckpointError, naming the file, if it is damaged.
        """
        if not self.about_file.is_file():
            return {}
        return read_json(self.about_file, otherwise=f"put it back, or delete {self.folder} to train anew")

    def describe(self, **facts: Any) -> None:
        """Add facts to ``run.json``."""
        write_json(self.about_file, self.about() | facts)

    def trained_system(self) -> Path:
        """The file of the trained system.

        Raises CheckpointError if the folder is no run or its training has not ended.
        """
        if self.system.is_file():
            return self.system
        if self.config_file.is_file():
            raise CheckpointError(
                f"{self.folder}: the training has not ended; run 'avsed train' again with --out {self.folder}"
            )
        raise CheckpointError(f"{self.folder}: not the folder of a training (no config.yaml in it)")

    def cut_log(self, step: int) -> None:
        """Drop the log's lines past ``step``: an interrupted training writes them again, the first with means over its own steps only.

        Raises CheckpointError, naming file and line, if the log is damaged.
        """
        if not self.log.is_file():
            return
        kept = []
        for number, line in enumerate(self.log.read_bytes().splitlines(keepends=True), 1):
            try:
                if line.endswith(b"\n") and json.loads(line)["step"] <= step:
                    kept.append(line.decode())
            except (ValueError, KeyError, TypeError) as error:
                raise CheckpointError(
                    f"{self.log}:{number}: not a line of a training's log; remove it to go on"
                ) from error
        write_text(self.log, "".join(kept))

    def append_log(self, record: dict[str, Any]) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def versions() -> dict[str, str]:
    """Versions of what shapes the numbers, for the record of a run; nothing is imported for it."""
    packages = ("torch", "numpy", "numba", "av", "soxr")
    return {
        "python": platform.python_version(),
        "avsed": avsed.__version__,
        **{package: metadata.version(package) for package in packages},
    }


def _brief(value: Any) -> str:
    """A fact in a message: as much of it as people compare."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= BRIEF else f"{text[:BRIEF]}…"
