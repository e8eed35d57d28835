"""The whole: plan, features, trainings, table."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsed import console
from avsed.config import Config
from avsed.errors import AvsedError, ConfigError
from avsed.run import versions
from avsed.study.features import extract_all
from avsed.study.plan import Plan, make_plan
from avsed.study.running import Failures, run_here, visible_gpus
from avsed.study.table import NothingYet, StudyTable, make_table, rule
from avsed.study.units import Unit
from avsed.study.writing import FILES, shown, write
from avsed.timeline import format_seconds
from avsed.values import flatten

if TYPE_CHECKING:
    from rich.console import RenderableType

    from avsed.training.estimate import Estimate

PAPERS_CLIP_S = 10.0
STATES = {"done": "done", "trained": "to be scored", "begun": "begun", "missing": "missing"}


@dataclass(frozen=True)
class Studied:
    """What a study has found so far. failures : trainings that this call could not finish, and why"""

    folder: Path
    table: StudyTable
    failures: Failures
    logs: Mapping[str, Path]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"folder": str(self.folder), "failures": dict(self.failures), **self.table.to_dict()}

    def render(self) -> Iterator[RenderableType]:
        """What the command prints."""
        yield from shown(self.table, failures={})
        yield f"written: {', '.join(str(self.folder / name) for name in FILES)}"
        for name, reason in self.failures.items():
            yield f"failed: {name}: {reason} (see {self.logs[name]})"


@dataclass(frozen=True)
class Planned:
    """What a study would do. estimates : of the trainings to be done, as if none had begun; free : bytes on the disk"""

    plan: Plan
    states: Mapping[str, str]
    estimates: Mapping[str, Estimate]
    workers: int
    device: str
    free: int

    @property
    def failures(self) -> Failures:
        return {}

    def _left(self) -> Iterator[tuple[Unit, Estimate, float]]:
        """Trainings that have not ended, and which part of each is still to be done."""
        for unit in self.plan.units:
            if self.states[unit.name] in ("begun", "missing"):
                steps = unit.config.training.steps
                yield unit, self.estimates[unit.setting], 1 - min(unit.steps, steps) / steps

    @property
    def seconds(self) -> float:
        return sum(cost.seconds * left for _, cost, left in self._left()) / self.workers

    @property
    def bytes(self) -> float:
        return sum(cost.bytes for _, cost, _ in self._left())

    def _counts(self, setting: str) -> dict[str, int]:
        own = [self.states[unit.name] for unit in self.plan.units_of(setting) if unit.name in self.states]
        return {state: own.count(state) for state in STATES}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "folder": str(self.plan.folder),
            "rule": rule(self.plan),
            "settings": {name: self._counts(name) for name in self.plan.wanted},
            "units": dict(self.states),
            "workers": self.workers,
            "device": self.device,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "free_bytes": self.free,
        }

    def render(self) -> Iterator[RenderableType]:
        """What the command prints."""
        from rich.box import SIMPLE
        from rich.table import Table

        table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
        for heading in ("setting", "takes", *STATES.values(), "time of one"):
            table.add_column(heading)
        for name in self.plan.wanted:
            counts = [str(count) for count in self._counts(name).values()]
            takes = "+".join(self.plan.settings[name].streams)
            table.add_row(name, takes, *counts, format_seconds(self.estimates[name].seconds))
        yield table
        yield rule(self.plan)
        left = len(list(self._left()))
        more = sum(state == "trained" for state in self.states.values())
        yield (
            f"{left} trainings to do{f', {more} to be scored' if more else ''}: about {format_seconds(self.seconds)} with "
            f"{self.workers} at once on {self.device}, beside features and scores"
        )
        yield f"about {self.bytes / 1e9:.1f} GB in {self.plan.folder}, where {self.free / 1e9:.0f} GB are free"


def study(
    config: str | Path,
    *,
    out: str | Path,
    data: str | Path | None = None,
    settings: Sequence[str] = (),
    seeds: int | None = None,
    keep: str | float | None = None,
    select: str | None = None,
    workers: int | None = None,
    together: int = 1,
    scheduler: str | None = None,
    device: str | None = None,
    dry_run: bool = False,
    table_only: bool = False,
    overrides: Sequence[str] = (),
) -> Studied | Planned:
    """Train each setting several times, score all trainings, and make the table of those that are best on validation clips.

    config : YAML, with a section ``study`` perhaps; settings : names of those to be trained now
    seeds, keep, select : ``study.seeds``, ``study.keep``, ``study.select``
    workers : processes at once, by default one a GPU, else 1; together : trainings of a setting in each, on one copy of the features
    scheduler : address of a Dask cluster in place of processes here
    dry_run : say what would be done and what it takes; table_only : of what is there

    What is done already is not done again; see ``docs/study.md``. Raises ConfigError or CheckpointError if configuration or folder are
    not as they should be, Stopped after SIGINT or SIGTERM.
    """
    if sum([dry_run, table_only, scheduler is not None]) > 1:
        raise ConfigError("--dry-run, --table-only and --scheduler: give one of them")
    if workers is not None and scheduler is not None:
        raise ConfigError("--workers and --scheduler: give one of them; a cluster has its own workers")
    if together > 1 and scheduler is not None:
        raise ConfigError("--together and --scheduler: give one of them; on a cluster each training is a process")
    plan = make_plan(
        config,
        out=out,
        overrides=_overrides(data, seeds, keep, select, device, overrides, here=scheduler is None),
        settings=settings,
    )
    failures: Failures = {}
    if dry_run:
        return _planned(plan, workers)
    if not table_only:
        failures = _carry_out(plan, workers=workers, together=together, scheduler=scheduler)
    logs = {unit.name: unit.run.said for unit in plan.units}
    told = {name: f"{reason} (see {logs[name]})" for name, reason in failures.items()}
    try:
        table = make_table(plan)
    except NothingYet:
        if not told:
            raise
        raise AvsedError(
            f"no training could be finished; {'; '.join(f'{name}: {why}' for name, why in told.items())}"
        ) from None
    about = {
        "configuration": plan.base.model_dump(mode="json"),
        "study": plan.study.model_dump(mode="json") | {"settings": flatten(dict(plan.changes))},
        "versions": versions(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write(table, plan.folder, about=about, failures=told)
    return Studied(plan.folder, table, failures, logs)


def _overrides(
    data: str | Path | None,
    seeds: int | None,
    keep: str | float | None,
    select: str | None,
    device: str | None,
    given: Sequence[str],
    *,
    here: bool,
) -> list[str]:
    from avsed.commands import quoted

    if data is not None and here and not Path(data).is_dir():
        raise ConfigError(f"{data}: no such folder; --data takes the folder of a data set")
    values = {
        "data.root": None if data is None else quoted(data),
        "study.seeds": seeds,
        "study.keep": keep,
        "study.select": None if select is None else quoted(select),
        "device": None if device is None else quoted(device),
    }
    return [*given, *(f"{key}={value}" for key, value in values.items() if value is not None)]


def _carry_out(plan: Plan, *, workers: int | None, together: int, scheduler: str | None) -> Failures:
    """Do what is to be done; returns what failed."""
    missing = [unit for unit in plan.units if unit.state != "done"]
    plan.folder.mkdir(parents=True, exist_ok=True)
    plan.keep()
    console.note(f"{len(plan.units)} trainings, {len(plan.units) - len(missing)} done before")
    if not missing:
        return {}
    _ = missing[0].splits
    if scheduler is not None:
        from avsed.study.cluster import run_on_cluster

        return run_on_cluster(missing, address=scheduler)
    needed = {unit.setting: plan.settings[unit.setting] for unit in missing}
    extract_all(needed)
    gpus = visible_gpus(plan.base)
    return run_here(missing, workers=workers or max(1, len(gpus)), together=together, devices=gpus)


def _planned(plan: Plan, workers: int | None) -> Planned:
    """What there is to do, measured with as many threads as each training will have."""
    from avsed.device import choose_device, describe
    from avsed.features.threads import allowed_threads
    from avsed.training.estimate import estimate

    gpus = visible_gpus(plan.base)
    count = workers or max(1, len(gpus))
    threads = plan.base.threads or max(1, allowed_threads() // count)
    configs = {name: plan.settings[name].model_copy(update={"threads": threads}) for name in plan.wanted}
    where = choose_device(plan.base.device)
    duration, classes = _clips(plan.base)
    costs = estimate(list(configs.values()), device=where, duration=duration, classes=classes)
    place = next(folder for folder in (plan.folder, *plan.folder.parents) if folder.is_dir())
    return Planned(
        plan,
        {unit.name: unit.state for unit in plan.units},
        dict(zip(configs, costs, strict=True)),
        count,
        f"{len(gpus)} GPUs" if len(gpus) > 1 else describe(where),
        shutil.disk_usage(place).free,
    )


def _clips(config: Config) -> tuple[float, int]:
    """Seconds of a training clip, by the first one, and the number of classes."""
    from avsed.media.probe import probe
    from avsed.training.preparation import open_configured

    data = open_configured(config)
    clips = data.split(config.data.weak).clips
    if not clips:
        raise ConfigError(f"{data.root}: no clips in {config.data.weak}")
    return probe(clips[0].path).duration or PAPERS_CLIP_S, len(data.labels)
