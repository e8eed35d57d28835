"""Work on a Dask cluster: a connection, tasks that run again when their workers are lost, and who shares a disk.

::

    this process   Cluster ─▶ Tasks ──submit──▶ scheduler ──▶ worker: a function, which starts a Child and follows it
                      │         ▲                               │   ▲
                      │         └────────── Answer ─────────────┘   │
                      └──────────────── stop: an event ─────────────┘
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from avsed import console
from avsed.child import Child
from avsed.errors import AvsedError
from avsed.files import read_json

if TYPE_CHECKING:
    from distributed import Client, Future

EVERY_S = 0.2  # between two looks at what tasks do
SLOWLY_S = 2.0  # between two questions to the scheduler
AGAIN = 6
"""Times that a task begins anew after the cluster has given it up, which it does after losing 3 workers with it: halves 64 clips to one."""
MISSING = "--scheduler needs Dask, which is not installed here: pip install 'avsed[cluster]' on this machine and on the workers"

T = TypeVar("T")


class Cluster:
    """A connection. client : Dask's; name : of this work, like no other"""

    def __init__(self, client: Client) -> None:
        from distributed import Event

        self.client, self.name = client, uuid.uuid4().hex
        self._event = Event(f"avsed-stop-{self.name}", client=client)
        self._slots, self._counted = 0, -SLOWLY_S

    def workers(self) -> Mapping[str, Any]:
        """What the scheduler tells of each worker, by address."""
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])

    def slots(self) -> int:
        """How many tasks run at once; the scheduler is asked now and then."""
        if time.monotonic() - self._counted >= SLOWLY_S:
            self._slots, self._counted = sum(int(own["nthreads"]) for own in self.workers().values()), time.monotonic()
        return self._slots

    def submit(self, function: Callable[..., Any], told: Any, name: str, **more: Any) -> Future:
        """Have ``function(told, stop=..., ...)`` run on a worker; stop : for `follow`."""
        key = f"{function.__name__}-{self.name}-{name}"
        return self.client.submit(function, told, stop=self._event.name, key=key, pure=False, **more)

    def stop(self) -> None:
        """Ask all processes that `follow` waits for to save what they have and end."""
        self._event.set()


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """A cluster that has workers; an error inside stops what runs there.

    address : of the scheduler, as ``tcp://host:8786``, or a scheduler file (``.json``)

    Raises AvsedError if Dask is not installed or the scheduler does not answer.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise AvsedError(f"{MISSING} ({error})") from error
    given: dict[str, Any] = {"address": address}
    if address.endswith(".json"):
        if not Path(address).is_file():  # Dask would wait for it, for ever
            raise AvsedError(
                f"--scheduler {address}: no such file; start the scheduler with --scheduler-file {address}"
            )
        try:
            told = read_json(address, otherwise="start the scheduler again with it as --scheduler-file")
        except AvsedError as error:
            raise AvsedError(f"--scheduler {error}") from error
        if "address" not in told:
            raise AvsedError(f"--scheduler {address}: no address in it; give the file that a scheduler has written")
        given = {"scheduler_file": address}
    try:
        client = Client(**given, set_as_default=False)
    except Exception as error:  # Dask says OSError, ValueError, TypeError, and RuntimeError of what it does not know
        raise AvsedError(f"--scheduler {address}: no scheduler answers there: {error}") from error
    with client:
        cluster = Cluster(client)
        if not cluster.workers():
            console.note(f"{address}: the scheduler has no workers yet; waiting for them")
        client.wait_for_workers(1)
        try:
            yield cluster
        except BaseException:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                cluster.stop()
            raise


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What came of a task.

    value : what it returned; reason : why it returned nothing, empty if it did
    lost : whether that is because workers were lost with it, again and again
    """

    task: T
    value: Any = None
    reason: str = ""
    lost: bool = False


class Tasks(Generic[T]):
    """Tasks that have not ended; one whose workers were lost begins anew, in parts if it has any.

    function : what a worker calls, with ``told(task)``, ``stop`` and more
    parts : of a task, so that in the end only what costs workers their lives is given up
    most : tasks that are handed over at a time, for each that can run at once; None for all
    """

    def __init__(
        self,
        cluster: Cluster,
        function: Callable[..., Any],
        tasks: Sequence[T],
        *,
        told: Callable[[T], Any],
        most: int | None = None,
        parts: Callable[[T], Sequence[T]] = lambda task: [task],
        **more: Any,
    ) -> None:
        self._cluster, self._function, self._told, self._most, self._more = cluster, function, told, most, more
        self._parts, self._numbers = parts, count()
        self._left = deque((task, 0) for task in tasks)
        self._flying: dict[Future, tuple[T, int]] = {}
        self._fill()

    def __len__(self) -> int:
        """Tasks that have not ended."""
        return len(self._left) + len(self._flying)

    @property
    def running(self) -> int:
        """Tasks under way, at most."""
        return min(len(self._flying), self._cluster.slots())

    def ended(self) -> Iterator[Answer[T]]:
        """What has ended since the last look."""
        for future in [future for future in self._flying if future.done()]:
            task, attempt = self._flying.pop(future)
            answer = _answer(task, future)
            future.release()
            if answer.lost and attempt < AGAIN:
                self._left.extendleft((part, attempt + 1) for part in self._parts(task))
            else:
                yield answer
        self._fill()

    def halt(self) -> Iterator[Answer[T]]:
        """Begin nothing more, ask what runs to end, and wait for it, as long as there are workers."""
        self._left.clear()
        with contextlib.suppress(Exception):  # the scheduler may be gone; then nothing is left to wait for
            self._cluster.stop()
        while self._flying and self._cluster.workers():
            yield from self.ended()
            time.sleep(EVERY_S)

    def _fill(self) -> None:
        most = len(self) if self._most is None or not self._left else self._most * self._cluster.slots()
        while self._left and len(self._flying) < most:
            self._submit(*self._left.popleft())

    def _submit(self, task: T, attempt: int) -> None:
        future = self._cluster.submit(self._function, self._told(task), str(next(self._numbers)), **self._more)
        self._flying[future] = task, attempt


def _answer(task: T, future: Future) -> Answer[T]:
    if future.status == "cancelled":
        return Answer(task, reason="the cluster has dropped it (is its scheduler still there?)")
    try:
        return Answer(task, future.result())
    except AvsedError as error:
        return Answer(task, reason=str(error))
    except Exception as error:  # whatever a worker or the cluster says
        return Answer(task, None, f"{type(error).__name__}: {error}", type(error).__name__ == "KilledWorker")


def follow(child: Child, stop: str) -> tuple[int, bool]:
    """On a worker: wait until a process ends; returns its exit status, and whether it was asked to end.

    stop : name of the event that ends it in good order, as this worker's own end does
    """
    from distributed import Event, get_worker

    event = Event(stop, client=get_worker().client)
    looked = time.monotonic()
    try:
        while (status := child.status()) is None:
            time.sleep(EVERY_S / 4)
            if time.monotonic() - looked > 2 * EVERY_S:
                looked = time.monotonic()
                if event.is_set():
                    child.stop()
                    return child.wait(), True
        return status, bool(event.is_set())
    finally:
        child.stop()


def threads_of_a_slot() -> int:
    """On a worker: the threads that one of its tasks may use, of those that ``OMP_NUM_THREADS`` allows (Dask's default is 1)."""
    from distributed import get_worker

    from avsed.features.threads import allowed_threads

    return max(1, allowed_threads() // int(get_worker().state.nthreads))


@contextmanager
def beacon(folder: Path) -> Iterator[Path]:
    """A file that only who shares the disk can see. Raises AvsedError if it cannot be written."""
    path = folder / f".shared-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise AvsedError(f"{folder}: cannot be written: {error.strerror or error}") from error
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
