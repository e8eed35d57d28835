"""Trainings on a Dask cluster: each is one task, which starts the same process that a training has on one machine.

Where a worker sees the study's own folder (a shared disk), the training happens there, goes on from its checkpoint, and is held
against other processes. Elsewhere the worker trains in a folder of its own and returns all its files, which the client writes into the
study's folder. The data set must be where the configuration says, on every worker. A task whose worker is lost runs again on another.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsed import console
from avsed.config import Config, make_config
from avsed.errors import AvsedError
from avsed.files import replacing
from avsed.study.process import Child, Outcome
from avsed.study.running import EVERY_S, SLOWLY_S, Display, Failures, Stopped, extract_all, listening
from avsed.study.units import Unit

if TYPE_CHECKING:
    from distributed import Client

AGAIN = 5  # times that a training begins anew after the cluster has given it up, which it does after losing 3 workers with it
MISSING = "--scheduler needs Dask, which is not installed here: pip install 'avsed[cluster]' on this machine and on the workers"


def run_on_cluster(units: Sequence[Unit], *, address: str) -> Failures:
    """Carry out trainings as tasks of a cluster.

    address : of the scheduler, as ``tcp://host:8786``, or a scheduler file (``.json``)

    Returns those that failed. Raises AvsedError if Dask is not installed or the scheduler does not answer, Stopped after SIGINT or
    SIGTERM.
    """
    try:
        from distributed import Client, Event
    except ImportError as error:
        raise AvsedError(f"{MISSING} ({error})") from error
    given: dict[str, Any] = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    try:
        client = Client(**given, set_as_default=False)
    except (OSError, ValueError) as error:
        raise AvsedError(f"--scheduler {address}: no scheduler answers there: {error}") from error
    failures: Failures = {}
    study = uuid.uuid4().hex
    event = Event(f"avsed-stop-{study}", client=client)
    with client, _beacon(units[0].root.parent) as beacon:
        if not _workers(client):
            console.note(f"{address}: the scheduler has no workers yet; waiting for them")
        client.wait_for_workers(1)
        _extract(client, {unit.setting: unit.config for unit in units})

        def submit(unit: Unit, attempt: int) -> Any:
            key = f"avsed-{study}-{unit.name}-{attempt}"
            return client.submit(train_there, unit.to_dict(), beacon=str(beacon), stop=event.name, key=key, pure=False)

        waiting = {submit(unit, 0): (unit, 0) for unit in units}
        with console.bar("study", Display.total(units)) as bar, listening() as stop:
            display = Display(units, bar)
            while waiting and not stop:
                time.sleep(EVERY_S)
                for future in [future for future in waiting if future.done()]:
                    unit, attempt = waiting.pop(future)
                    reason, lost = _taken(unit, future)
                    future.release()
                    if lost and attempt < AGAIN:
                        waiting[submit(unit, attempt + 1)] = (unit, attempt + 1)
                        continue
                    if reason:
                        failures[unit.name] = reason
                    display.ended(unit, reason)
                display.update(min(len(waiting), len(_workers(client))))
        if stop:
            event.set()
            raise Stopped(
                f"stopped with {len(waiting)} of {len(units)} trainings to do; the same command goes on", stop[0]
            )
    return failures


def _workers(client: Client) -> Mapping[str, Any]:
    """The cluster's workers, by address."""
    return dict(client.scheduler_info(n_workers=-1)["workers"])


def _extract(client: Client, configs: Mapping[str, Config]) -> None:
    """Compute features before the trainings: on one machine, then on the others, which may share its cache."""
    hosts: dict[str, str] = {}
    for address, about in _workers(client).items():
        hosts.setdefault(about["host"], address)
    told = {name: config.model_dump(mode="json") for name, config in configs.items()}
    for some in (list(hosts.values())[:1], list(hosts.values())[1:]):
        futures = [
            client.submit(extract_there, told, workers=[address], allow_other_workers=True, pure=False)
            for address in some
        ]
        client.gather(futures)


def extract_there(configs: Mapping[str, Mapping[str, Any]]) -> None:
    """A task: the features of settings."""
    extract_all({name: make_config(own, source="the study") for name, own in configs.items()})


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

    The process ends in good order when the event is set, and when this worker dies.
    """
    from distributed import Event, get_worker

    from avsed.features.threads import allowed_threads

    worker = get_worker()
    event = Event(stop, client=worker.client)
    environment = {"OMP_NUM_THREADS": str(max(1, allowed_threads() // worker.state.nthreads))}
    while True:
        child = Child([unit], environment)
        try:
            while (outcomes := child.poll()) is None:
                time.sleep(SLOWLY_S / 4)
                if event.is_set():
                    child.stop()
                    outcomes = child.wait()
                    break
        finally:
            child.stop()
        (outcome,) = outcomes
        if not outcome.busy or event.is_set():
            return _told(outcome)
        time.sleep(SLOWLY_S)  # a process on the same disk has it: of a worker that has just died, perhaps


def _told(outcome: Outcome) -> str:
    return "another process has it" if outcome.busy else outcome.reason


def _taken(unit: Unit, future: Any) -> tuple[str, bool]:
    """Write what a worker returned into the study's folder; returns why the training is not done, and whether workers were lost."""
    if future.status == "cancelled":
        return "the cluster has dropped it (is its scheduler still there?)", False
    try:
        reason, files = future.result()
    except Exception as error:  # whatever a worker or the cluster says
        return f"{type(error).__name__}: {error}", type(error).__name__ == "KilledWorker"
    if files is not None:
        with unit.held() as mine:
            if not mine:
                return "another process trains it here", False
            _write(unit, files)
    return str(reason), False


def _write(unit: Unit, files: Mapping[str, bytes]) -> None:
    """Results last: a training is done when they are there."""
    folder = unit.run.folder
    unit.check()
    for name in sorted(files, key=lambda name: (name.endswith(".json") and name.startswith("results"), name)):
        if folder / name != unit.run.lock:
            with replacing(folder / name) as temporary:
                temporary.write_bytes(files[name])


@contextmanager
def _beacon(folder: Path) -> Iterator[Path]:
    """A file that only who shares the disk can see."""
    path = folder / f".shared-{uuid.uuid4().hex}"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
