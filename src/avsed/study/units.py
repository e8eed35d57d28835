"""One training of a study: an ordinary run, trained and scored on validation and test clips, by one process at a time."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from avsed.config import PASSING, Config, make_config
from avsed.errors import AvsedError, CheckpointError, ConfigError
from avsed.files import read_json, remove_leftovers
from avsed.run import Run
from avsed.study.records import RECORDS, Record, read_record

RUNS = "runs"
"""The folder of trainings in a study's."""
TAIL = 4096  # bytes at a log's end that hold its last line

State = Literal["done", "trained", "begun", "missing"]


@dataclass(frozen=True)
class Unit:
    """root : folder of the study's runs; setting : name; config : of this training, with its seed"""

    root: Path
    setting: str
    config: Config

    @property
    def name(self) -> str:
        """``SETTING/SEED``."""
        return f"{self.setting}/{self.config.seed}"

    @property
    def run(self) -> Run:
        return Run(self.root / self.setting / str(self.config.seed))

    @property
    def splits(self) -> tuple[str, str]:
        """The splits it is scored on: the one that selects, and the one that counts.

        Raises ConfigError if the configuration names none.
        """
        data = self.config.data
        if data.validation is None or data.test is None:
            raise ConfigError("a study needs clips to choose by and others to score: set data.validation and data.test")
        return data.validation, data.test

    @property
    def trained(self) -> bool:
        """Whether the training has ended, with all that is to be told of it."""
        run = self.run
        return run.system.is_file() and "finished" in run.about()

    def results(self, split: str) -> dict[str, Any] | None:
        """What was found on a split, None if nothing was, or with other decisions or metrics than the study's."""
        file = self.run.results(split)
        if not file.is_file():
            return None
        found = read_json(file, otherwise=f"delete it to have {self.name} scored again")
        shaped = {name: getattr(self.config, name).model_dump(mode="json") for name in ("postprocessing", "metrics")}
        return found if {name: found.get(name) for name in shaped} == shaped else None

    @property
    def record_file(self) -> Path:
        return self.root.parent / RECORDS / self.setting / f"{self.config.seed}.safetensors"

    @property
    def record(self) -> Record | None:
        """What is kept of it, if anything is."""
        return read_record(self.record_file)

    @property
    def scored(self) -> bool:
        """Whether the run is there, with all that the table needs."""
        return self.trained and all(self.results(split) is not None for split in self.splits)

    @property
    def state(self) -> State:
        if self.trained:
            return "done" if self.scored else "trained"
        if self.record is not None:
            return "done"
        return "begun" if self.run.checkpoint.is_file() else "missing"

    @property
    def steps(self) -> int:
        """Steps that the training has done, as far as its log says."""
        try:
            with self.run.log.open("rb") as file:
                file.seek(max(0, self.run.log.stat().st_size - TAIL))
                lines = file.read().splitlines()
        except OSError:
            return 0
        for line in reversed(lines):
            try:
                return int(json.loads(line)["step"])
            except (ValueError, KeyError, TypeError):
                continue  # half a line, of a training that writes
        return 0

    def check(self) -> None:
        """See that what is in the folder is of this training.

        Raises CheckpointError, naming the differing keys.
        """
        run, there = self.run, {}
        if run.started and run.config_file.read_bytes() != self.config.to_yaml().encode():
            there[run.folder] = run.config()
        if (record := self.record) is not None:
            there[self.record_file] = make_config(record.config, source=str(self.record_file))
        for place, config in there.items():
            if changed := config.differences(self.config, passing=PASSING):
                raise CheckpointError(
                    f"{place}: holds a training with another configuration ({'; '.join(changed)}); "
                    "give the same one to go on, or another --out"
                )

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the training against other processes while the block runs; False if another one has it.

        The operating system lets go when the process ends, however it ends. The file says who had it last.
        """
        import fcntl

        path = self.run.lock
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            os.ftruncate(file, 0)
            os.write(file, f"{socket.gethostname()} {os.getpid()}\n".encode())
            yield True
        finally:
            os.close(file)

    @property
    def busy(self) -> bool:
        """Whether another process has it."""
        if not self.run.lock.is_file():
            return False
        with self.held() as mine:
            return not mine

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes it again in another process."""
        return {"root": str(self.root), "setting": self.setting, "config": self.config.model_dump(mode="json")}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any], *, root: Path | None = None) -> Unit:
        """root : another folder of runs"""
        return cls(root or Path(told["root"]), told["setting"], make_config(told["config"], source="the study"))


def carry_out(units: Sequence[Unit]) -> dict[str, AvsedError]:
    """Train and score in this process, which must hold the units, of one setting; what is there is not done again.

    Returns by name what failed, and why. Raises AvsedError if configuration or data are not as they should be, or it was asked to stop.
    """
    from avsed.commands import evaluate
    from avsed.training.train import train_together

    failed: dict[str, AvsedError] = {}

    def attempt(unit: Unit, work: Callable[[], object]) -> None:
        try:
            work()
        except AvsedError as error:
            failed[unit.name] = error

    for unit in units:
        for place in ("scores", "results"):
            remove_leftovers(unit.run.folder / place)  # of an evaluation that was killed
        attempt(unit, unit.check)
    missing = [unit for unit in units if unit.name not in failed and not unit.trained]
    if missing:
        folders = [unit.run.folder for unit in missing]
        found = train_together([unit.config for unit in missing], folders, workers=1)
        failed |= {unit.name: own for unit, own in zip(missing, found, strict=True) if isinstance(own, AvsedError)}
    for unit in units:
        data, device = unit.config.data.root, unit.config.device
        for split in unit.splits:
            if unit.name not in failed and unit.results(split) is None:
                attempt(unit, partial(evaluate, unit.run.folder, data=data, split=split, device=device, workers=1))
    return failed
