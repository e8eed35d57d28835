"""The folder of one training: what it was told, how far it is, what came out.

::

    RUN/config.yaml              the whole configuration, defaults included
        run.json                 data (counts, fingerprints), versions, device, duration: what a result needs to explain itself
        checkpoint.safetensors   state of the training, for going on
        log.jsonl, tensorboard/  loss, learning rate and validation scores on the way
        system.safetensors       the trained system: all that 'avsed predict' needs
        scores/SPLIT.safetensors, results/SPLIT.json, results/SPLIT.tsv    what 'avsed evaluate' found
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import avsed
from avsed.config import Config, load_config
from avsed.errors import CheckpointError
from avsed.files import write_json, write_text


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

    def scores(self, split: str) -> Path:
        return self.folder / "scores" / f"{split}.safetensors"

    def results(self, split: str) -> Path:
        return self.folder / "results" / f"{split}.json"

    def events(self, split: str) -> Path:
        return self.folder / "results" / f"{split}.tsv"

    def begin(self, config: Config) -> None:
        """Claim the folder for a configuration, or find it claimed for the same one.

        Raises CheckpointError if the folder holds a training with another configuration, naming the differing keys.
        """
        if self.config_file.is_file():
            changed = load_config(self.config_file).differences(config)
            changed = [line for line in changed if line.split(":")[0] not in ("device", "threads", "data.root")]
            if changed:
                raise CheckpointError(
                    f"{self.folder}: holds a training with another configuration ({'; '.join(changed)}); "
                    "give the same one to go on, or another --out"
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise CheckpointError(f"{self.folder}: is neither empty nor a training of avsed; give another --out")
        for left in self.folder.glob(f".*-{'[0-9a-f]' * 32}.*"):  # half-written files of a training that was killed
            left.unlink()
        config.save(self.config_file)

    def about(self) -> dict[str, Any]:
        """What ``run.json`` says; empty if there is none yet."""
        return json.loads(self.about_file.read_text(encoding="utf-8")) if self.about_file.is_file() else {}

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
        """Drop the log's lines past ``step``: an interrupted training writes them again."""
        if self.log.is_file():
            lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
            write_text(
                self.log, "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step)
            )

    def append_log(self, record: dict[str, Any]) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def versions() -> dict[str, str]:
    """Versions of what shapes the numbers, for the record of a run."""
    import av
    import numpy
    import soxr
    import torch

    packages = {"avsed": avsed, "torch": torch, "numpy": numpy, "av": av, "soxr": soxr}
    return {"python": platform.python_version()} | {name: str(p.__version__) for name, p in packages.items()}
