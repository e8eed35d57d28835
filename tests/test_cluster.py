"""Extraction on a real Dask cluster of two worker processes, against the same on one machine: killed, stopped, without the data."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import RATE, sine, write
from waiting import PATIENCE, end, until

from avsed import commands
from avsed.cluster import AGAIN, Answer, Tasks
from avsed.errors import AvsedError, ConfigError
from avsed.features.cluster import MOST, Chunk, _halves
from avsed.features.efficientat import WIDTHS
from avsed.features.mobilenet import MobileNet
from avsed.features.store import FeatureStore
from avsed.media import write_clip
from avsed.study.cluster import extract_there

distributed = pytest.importorskip("distributed", reason="Dask is not installed")
psutil = pytest.importorskip("psutil", reason="psutil, which comes with Dask, is not installed")

WEAK, TEST = 18, 2
SETTINGS = ("data.labels=[Dog]", "threads=1", "extractors.efficientat.size=mn01")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with a recording that cannot be read, one without sound and one that is cut short; random weights of an ear."""
    home = tmp_path_factory.mktemp("home")
    for split, count, header in (("weak", WEAK, "event_labels"), ("test", TEST, "onset\toffset\tevent_label")):
        folder = home / "data" / split
        folder.mkdir(parents=True)
        names = [f"{split}{number:02}.mkv" for number in range(count)]
        for number, name in enumerate(names):
            write(folder / name, sound=sine(0.5 + 0.05 * (number % 7), 200 + 10 * number))
        rows = [name + ("\tDog" if split == "weak" else "\t0.1\t0.2\tDog") for name in names]
        (home / "data" / f"{split}.tsv").write_text("\n".join([f"filename\t{header}", *rows]) + "\n")
    write(home / "data/weak/weak09.mkv", shown={0.0: 20, 0.2: 90, 0.4: 200})
    (home / "data/weak/weak11.mkv").write_bytes(b"no recording" * 99)
    (home / "data/weak/weak13.mkv").unlink()
    write_clip(home / "data/weak/weak13.mp3", samples=sine(1.0), rate=RATE, audio_codec="libmp3lame")
    whole = (home / "data/weak/weak13.mp3").read_bytes()
    (home / "data/weak/weak13.mp3").write_bytes(whole[: len(whole) // 2])
    for name in ("weak11.mkv", "weak13.mp3"):  # what has just been written is not taken for known
        os.utime(home / "data/weak" / name, (time.time() - 3600,) * 2)
    torch.manual_seed(0)
    torch.save(MobileNet(WIDTHS["mn01"]).state_dict(), home / "ear.pt")
    return home


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Any]:
    """Two worker processes, with a cache of their own.

    Each test has a cluster of its own: in the place of a killed worker there may come no other one, since a LocalCluster gives up
    those that do not within 15 seconds.
    """
    with distributed.LocalCluster(
        2,
        threads_per_worker=1,
        dashboard_address=None,
        local_directory=str(tmp_path / "scratch"),
        env={"AVSED_CACHE": str(tmp_path / "theirs")},
    ) as local:
        local.wait_for_workers(2, timeout=PATIENCE)
        yield local


@pytest.fixture
def theirs(cluster: Any, tmp_path: Path) -> Path:
    """The workers' cache, empty."""
    return tmp_path / "theirs"


def settings(home: Path) -> list[str]:
    return [*SETTINGS, f"extractors.efficientat.weights={home / 'ear.pt'}"]


def extract(home: Path, cache: Path, *features: str, root: Path | None = None, **how: Any) -> dict[str, Any]:
    """What the command tells; how : workers, or a scheduler"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVSED_CACHE", str(cache))
        data = root or home / "data"
        return commands.extract(data, features=features, settings=settings(home), device="cpu", **how).to_dict()


def stored(cache: Path) -> dict[str, tuple[Any, bytes]]:
    """The features in a cache, by path: what the header says, and the values."""
    found = {}
    for path in (cache / "features").glob("*/*/[0-9a-f]*.safetensors"):
        whole = path.read_bytes()
        begin = 8 + int.from_bytes(whole[:8], "little")
        found["/".join(path.parts[-3:])] = json.loads(whole[8:begin]), whole[begin:]
    return found


def extracting() -> list[Any]:
    """The processes that extract, each the child of a worker."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "avsed.features.process" in process.cmdline():
                found.append(process)
        except psutil.Error:
            pass  # it has just ended
    return found


@contextmanager
def suspended(process: Any) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def gone(process: Any) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def asked(process: Any) -> bool:
    """Whether a worker has asked a process of its own to stop: it holds the other end of the process's input no more."""
    pipe = Path(f"/proc/{process.pid}/fd/0").readlink()
    for file in Path(f"/proc/{process.ppid()}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            if file.readlink() == pipe:
                return False
    return True


def lasting(told: dict[str, Any]) -> dict[str, Any]:
    """What is told of an extraction, without its time."""
    own = {name: dict(split) for name, split in told["splits"].items()}
    for split in own.values():
        for name in ("seconds", "clips_per_s", "network_waited", "workers"):
            del split[name]
    return {**told, "splits": own}


@pytest.mark.parametrize("shared", [True, False], ids=["a shared disk", "disks of their own"])
def test_a_lost_worker_s_clips_are_extracted_by_another(
    home: Path, cluster: Any, theirs: Path, tmp_path: Path, shared: bool
) -> None:
    features = ("logmel",) if shared else ("logmel", "efficientat")
    ours, local = theirs if shared else tmp_path / "ours", tmp_path / "local"
    over = threading.Event()

    def lose() -> None:
        """Kill a worker that extracts, when the other one's features are there."""
        process = until(extracting, over)[0]
        with suspended(process):
            until(lambda: stored(theirs), over)
            process.parent().kill()
        until(lambda: gone(process))  # it ends by itself

    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(lose)
        try:
            told = extract(home, ours, *features, scheduler=cluster.scheduler_address)
        finally:
            over.set()
        lost.result()
    assert lasting(told) == lasting(extract(home, local, *features, workers=1))
    weak = told["splits"]["weak"]
    assert (weak["extracted"], len(weak["failures"]), len(weak["absent"]["audio"])) == (WEAK - 2, 1, 1)
    assert len(weak["warnings"]) == 1 and told["device"] == (None if shared else "cpu (1 threads)")
    assert stored(ours) == stored(local)
    assert not list((ours / "features").glob(".shared*"))
    known = [FeatureStore(ours / "features").known_content(path) for path in (home / "data").glob("*/*.m*")]
    assert None not in known  # so what is stored is found without being read
    if shared:
        again = extract(home, ours, *features, scheduler=cluster.scheduler_address)["splits"]
        assert (again["weak"]["extracted"], again["weak"]["cached"], again["test"]["workers"]) == (0, WEAK - 2, 0)


needs_proc = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks at /proc")


@needs_proc
def test_ctrl_c_keeps_what_is_done(home: Path, cluster: Any, theirs: Path, tmp_path: Path) -> None:
    words = [home / "data", "--features", "logmel", "--scheduler", cluster.scheduler_address]
    words += [f"--set={setting}" for setting in settings(home)]
    ours = tmp_path / "ours"
    process = subprocess.Popen(
        [sys.executable, "-m", "avsed.cli", "extract", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"AVSED_CACHE": str(ours)},
    )
    try:
        held = until(extracting, process)[0]
        with suspended(held):
            until(lambda: stored(ours), process)  # of the other worker
            process.send_signal(signal.SIGINT)
            until(lambda: asked(held), process)
        said = process.communicate(timeout=PATIENCE)[1]
    finally:
        end(process)
    assert process.returncode == 130 and f"of {WEAK} clips to do; the same command goes on" in said, said
    kept = stored(ours)
    assert 0 < len(kept) < WEAK - 2 and not extracting()
    weak = extract(home, ours, "logmel", workers=1)["splits"]["weak"]
    assert (weak["cached"], weak["extracted"]) == (len(kept), WEAK - 2 - len(kept))


@needs_proc
def test_recordings_that_a_worker_lacks_are_no_failed_recordings(
    home: Path, cluster: Any, theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data is where this process works, and not where the workers do."""
    monkeypatch.chdir(home)
    given = {"root": Path("/proc/self/cwd/data"), "scheduler": cluster.scheduler_address}
    with pytest.raises(
        AvsedError, match=r"/proc/self/cwd/data/weak/weak\d+\.m.*: the worker tcp://.* has no such file"
    ) as told:
        extract(home, tmp_path / "ours", "logmel", **given)
    assert "(cannot be read: No such file or directory)" in str(told.value)


@pytest.fixture
def elsewhere(home: Path, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data and the ear, where the workers find them under the path of the real ones."""
    there = tmp_path / "there"
    shutil.copytree(home, there)
    with distributed.Client(cluster, set_as_default=False) as client:
        client.run(os.chdir, str(there))
    monkeypatch.chdir(home)
    return there


@needs_proc
def test_another_recording_in_a_worker_s_place_is_named(cluster: Any, elsewhere: Path, tmp_path: Path) -> None:
    write(elsewhere / "data/weak/weak00.mkv", sound=sine(0.5, 3000))
    here = Path("/proc/self/cwd")
    with pytest.raises(AvsedError, match=r"cwd/data/weak/weak00\.mkv: the worker tcp://.* has another file there"):
        extract(here, tmp_path / "ours", "logmel", root=here / "data", scheduler=cluster.scheduler_address)


@needs_proc
def test_another_extractor_on_a_worker_is_named(cluster: Any, elsewhere: Path, tmp_path: Path) -> None:
    torch.save(MobileNet(WIDTHS["mn01"]).state_dict(), elsewhere / "ear.pt")
    here = Path("/proc/self/cwd")
    with pytest.raises(AvsedError, match=r"the worker tcp://.* computes efficientat.*, but efficientat.* is wanted"):
        extract(here, tmp_path / "ours", "efficientat", root=here / "data", scheduler=cluster.scheduler_address)


def test_a_study_s_features_may_take_many_processes(home: Path, cluster: Any, theirs: Path) -> None:
    """Dask's own workers must not have any."""
    chosen = ["data.unlabelled=null", "data.validation=null", "data.missing=drop", "fusion.missing=drop"]
    config = commands.configure(home / "data", settings=[*settings(home), *chosen]).located().model_dump(mode="json")
    with distributed.Client(cluster, set_as_default=False) as client:
        client.submit(extract_there, {"spectral": config}, stop="never", pure=False).result(PATIENCE)
    assert len(stored(theirs)) == WEAK - 2 + TEST


class Lost:
    """A cluster that gives tasks up. fate : of each future, in turn"""

    def __init__(self, *fate: str) -> None:
        self.fate = iter(fate)
        self.names: list[str] = []

    def slots(self) -> int:
        return 1

    def submit(self, function: Callable[..., Any], told: Any, name: str) -> Any:
        class KilledWorker(Exception):
            pass

        class Future:
            status = next(self.fate)

            def done(self) -> bool:
                return True

            def release(self) -> None:
                pass

            def result(self) -> Any:
                if self.status == "lost":
                    raise KilledWorker("it died with 4 workers")
                return function(told)

        self.names.append(name)
        return Future()


def test_a_task_begins_anew_until_it_is_given_up() -> None:
    local = Lost("lost", "finished", *["lost"] * (1 + AGAIN), "cancelled")
    tasks = Tasks(local, str, [7, 8, 9], told=lambda number: number, most=1)  # type: ignore[arg-type]
    found: list[Answer[int]] = []
    while tasks:
        found += tasks.ended()
    assert found[0] == Answer(7, "7")
    assert found[1] == Answer(8, None, "KilledWorker: it died with 4 workers", True)
    assert found[2].task == 9 and not found[2].lost and "is its scheduler still there?" in found[2].reason
    assert len(set(local.names)) == len(local.names)


def test_of_a_chunk_that_is_lost_only_the_clip_to_blame_is_given_up() -> None:
    names = ("logmel",)
    chunk = Chunk(tuple(range(MOST)), names)

    class Deadly(Lost):
        """Workers are lost with clip 5."""

        def submit(self, function: Callable[..., Any], told: Any, name: str) -> Any:
            self.fate = iter(["lost" if 5 in told else "finished"])
            return super().submit(function, told, name)

    local = Deadly()
    tasks = Tasks(local, len, [chunk], told=lambda chunk: chunk.clips, most=1, parts=_halves)  # type: ignore[arg-type]
    found: list[Answer[Chunk]] = []
    while tasks:
        found += tasks.ended()
    assert [answer.task.clips for answer in found if answer.lost] == [(5,)]
    assert sorted(clip for answer in found for clip in answer.task.clips) == list(range(MOST))


def test_a_scheduler_file_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(AvsedError, match=r"--scheduler none\.json: no such file"):
        commands.extract(home / "data", scheduler="none.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "expected an object of JSON"),
        ("{}", "no address"),
        (None, "no scheduler answers"),
    ],
)
def test_what_is_no_scheduler_is_named(home: Path, tmp_path: Path, content: str | None, message: str) -> None:
    address = "tls://127.0.0.1:1"  # which needs keys that nobody gave
    if content is not None:
        (tmp_path / "scheduler.json").write_text(content)
        address = str(tmp_path / "scheduler.json")
    with pytest.raises(AvsedError, match=message) as caught:
        commands.extract(home / "data", scheduler=address)
    assert f"--scheduler {address}" in str(caught.value)


def test_workers_and_a_scheduler_are_refused_together(home: Path) -> None:
    with pytest.raises(ConfigError, match="--workers and --scheduler: give one of them"):
        commands.extract(home / "data", workers=2, scheduler="tcp://127.0.0.1:1")


def test_without_dask_it_says_how_to_get_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(AvsedError, match=r"pip install 'avsed\[cluster\]'"):
        commands.extract(home / "data", settings=settings(home), scheduler="tcp://127.0.0.1:1")
