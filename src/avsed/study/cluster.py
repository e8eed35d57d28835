"""Trainings on a Dask cluster: each is one task, which starts the same process that a training has on one machine.

Where a worker sees the study's own folder (a shared disk), the training happens there, goes on from its checkpoint, and is held
against other processes. Elsewhere the worker trains in a folder of its own and returns all its files, which the client writes into the
study's folder. The data set must be where the configuration says, on every worker. A task whose worker is lost runs again on another.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avsed import console
from avsed.child import ASKED, Child
from avsed.cluster import EVERY_S, Cluster, Tasks, beacon, connected, follow, threads_of_a_slot
from avsed.config import Config
from avsed.errors import AvsedError
from avsed.files import replacing
from avsed.memory import SHARING
from avsed.stopping import Stopped, listening
from avsed.study.process import TrainingProcess
from avsed.study.running import SLOWLY_S, Display, Failures
from avsed.study.units import Unit


def run_on_cluster(units: Sequence[Unit], *, address: str) -> Failures:
    """Carry out trainings as tasks of a cluster; address : see `avsed.cluster.connected`.

    Returns those that failed. Raises AvsedError if Dask is not installed or the scheduler does not answer, Stopped after SIGINT or
    SIGTERM.
    """
    failures: Failures = {}
    with connected(address) as cluster, beacon(units[0].root.parent) as seen:
        _extract(cluster, {unit.setting: unit.config for unit in units})
        with console.bar("study", Display.total(units)) as bar, listening() as stop:
            display = Display(units, bar)
            tasks = Tasks(cluster, train_there, units, told=Unit.to_dict, beacon=str(seen))
            while tasks and not stop:
                time.sleep(EVERY_S)
                for answer in tasks.ended():
                    unit = answer.task
                    if reason := answer.reason or _taken(unit, *answer.value):
                        failures[unit.name] = reason
                    display.ended(unit, reason)
                display.update(tasks.running)
        if stop:
            message = f"stopped with {len(tasks)} of {len(units)} trainings to do; the same command goes on"
            raise Stopped(message, stop[0])
    return failures


def _extract(cluster: Cluster, configs: Mapping[str, Config]) -> None:
    """Compute features before the trainings: on one machine, then on the others, which may share its cache."""
    hosts: dict[str, str] = {}
    for address, about in cluster.workers().items():
        hosts.setdefault(about["host"], address)
    told = {name: config.model_dump(mode="json") for name, config in configs.items()}
    for some in (list(hosts.values())[:1], list(hosts.values())[1:]):
        futures = [
            cluster.submit(extract_there, told, address, workers=[address], allow_other_workers=True)
            for address in some
        ]
        try:
            cluster.client.gather(futures)
        except AvsedError:
            raise
        except Exception as error:  # whatever a worker or the cluster says
            raise AvsedError(f"features of the study: {type(error).__name__}: {error}") from error


def extract_there(told: Mapping[str, Any], *, stop: str) -> None:
    """A task: the features of settings, in a process that may start others, which a worker of Dask may not."""
    from distributed import get_worker

    worker = get_worker()
    with tempfile.TemporaryDirectory(prefix="avsed-study-", dir=worker.local_directory) as own:
        child = Child("avsed.study.features", told, log=Path(own, "log"), environment={})
        status, _ = follow(child, stop)
        if status:
            raise AvsedError(f"{worker.address}: {child.reason(status)}")


def train_there(told: Mapping[str, Any], *, beacon: str, stop: str) -> tuple[str, dict[str, bytes] | None]:
    """A task: one training. Returns why it is not done (empty if it is), and its files, None if they are in the study's folder.

    beacon : a file in the study's folder, which a worker with the same disk sees; stop : name of an event that ends it
    """
    if Path(beacon).is_file():
        unit = Unit.from_dict(told)
        return _follow(unit, stop), None
    from distributed import get_worker

    own = Path(
        tempfile.mkdtemp(prefix="avsed-study-", dir=get_worker().local_directory)
    )  # Dask clears it after a lost worker
    try:
        unit = Unit.from_dict(told, root=own)
        reason = _follow(unit, stop)
        place = unit.run.folder
        files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        return reason, files
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _follow(unit: Unit, stop: str) -> str:
    """Run the process of a training to its end; returns why it is not done.

    It begins again if another one has the training, or if a signal has ended it that nobody here has sent: SLURM's at the end of a job,
    which this worker will not survive either.
    """
    from distributed import Event, get_worker

    event, slots = Event(stop, client=get_worker().client), int(get_worker().state.nthreads)
    while True:
        if unit.busy and not event.is_set():
            time.sleep(SLOWLY_S)
            continue
        child = TrainingProcess([unit], {"OMP_NUM_THREADS": str(threads_of_a_slot()), SHARING: str(slots)})
        status, asked = follow(child, stop)
        (outcome,) = child.outcomes(status)
        if asked and outcome.busy:
            return "another process has it"
        if asked or not (outcome.busy or status in ASKED):
            return outcome.reason
        time.sleep(SLOWLY_S)  # a process on the same disk has it: of a worker that has just died, perhaps


def _taken(unit: Unit, reason: str, files: Mapping[str, bytes] | None) -> str:
    """Write what a worker returned into the study's folder; returns why the training is not done."""
    if files is not None:
        with unit.held() as mine:
            if not mine:
                return "another process trains it here"
            _write(unit, files)
    return reason


def _write(unit: Unit, files: Mapping[str, bytes]) -> None:
    """Results last: a training is done when they are there."""
    folder = unit.run.folder
    unit.check()
    for name in sorted(files, key=lambda name: (name.endswith(".json") and name.startswith("results"), name)):
        if folder / name != unit.run.lock:
            with replacing(folder / name) as temporary:
                temporary.write_bytes(files[name])
