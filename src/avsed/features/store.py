"""The feature store: what was computed once is kept, one file a clip and extractor.

::

    FOLDER/logmel-1-0f3a5b7c9d1e2f40/ab/abcdef….safetensors    features; name: SHA-256 of the recording's bytes
           media/12/1234….json                                 SHA-256 of a recording, by path, size and time

The key of the folder (extractor, version, parameters) and the name of the file (content of the recording) hold what
shaped the features, so that a stored file is never out of date, only no longer asked for; renamed and duplicate
recordings share it. Files are written whole or not at all, so that any number of processes may use one store at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import avsed
from avsed.errors import CheckpointError, MediaError
from avsed.features.sequence import Described, FeatureSequence
from avsed.files import replacing, write_json

FORMAT = "avsed-features-1"

SETTLED = 2.0
"""Seconds that a recording must have been left alone for its hash to be remembered: file times may be that coarse."""


def cache_folder() -> Path:
    """Folder of what can be made again: ``$AVSED_CACHE``, else ``avsed`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("AVSED_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "avsed"
    return Path.home() / ".cache" / "avsed"


@dataclass(frozen=True)
class StoredFeatures:
    """A file of the store, with what its header says.

    path : the file
    rows, dims : shape of the features
    begin, stop : seconds, see `FeatureSequence`
    warnings : what was mended when the recording was decoded
    """

    path: Path
    rows: int
    dims: int
    begin: float
    stop: float
    warnings: tuple[str, ...]

    def load(self) -> FeatureSequence:
        """Read the features. Raises CheckpointError, naming the file, if it is missing or damaged."""
        try:
            with safe_open(self.path, framework="np") as file:
                values, times = file.get_tensor("values"), file.get_tensor("times")
            return FeatureSequence(values, times, self.begin, self.stop)
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointError(f"{self.path}: cannot read stored features: {error}; extract them again") from error


class FeatureStore:
    """Features of recordings, found by extractor and content.

    folder : where they are kept; by default ``features`` in `cache_folder`; it is made when something is first written
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder).expanduser() if folder is not None else cache_folder() / "features"

    def path(self, key: str, content: str) -> Path:
        """The file for an extractor's key and the SHA-256 of a recording, whether it exists or not."""
        return self.folder / key / content[:2] / f"{content}.safetensors"

    def find(self, key: str, content: str) -> StoredFeatures | None:
        """What is stored for an extractor's key and the SHA-256 of a recording, None if nothing is.

        Raises CheckpointError, naming the file, if it is damaged or holds something else.
        """
        path = self.path(key, content)
        try:
            with safe_open(path, framework="np") as file:
                about = file.metadata() or {}
                rows, dims = file.get_slice("values").get_shape()
            if (about.get("format"), about.get("key"), about.get("content")) != (FORMAT, key, content):
                raise ValueError(f"expected {FORMAT!r} of this extractor and recording, found {about.get('format')!r}")
            warnings = tuple(json.loads(about["warnings"]))
            return StoredFeatures(path, rows, dims, float(about["begin"]), float(about["stop"]), warnings)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path}: not usable as stored features: {error}; extract them again") from error

    def save(
        self,
        extractor: Described,
        content: str,
        features: FeatureSequence,
        *,
        source: str,
        warnings: tuple[str, ...] = (),
        weights: Mapping[str, Any] | None = None,
    ) -> StoredFeatures:
        """Keep the features of a recording, replacing what was there; whole or not at all.

        content : SHA-256 of the recording; source : its file name, for people
        warnings : what was mended when it was decoded
        weights : what is to be told of the network's weights, as JSON values

        Raises CheckpointError, naming the file, if it cannot be written (no space, no permission).
        """
        path = self.path(extractor.key, content)
        about = {
            "format": FORMAT,
            "avsed": avsed.__version__,
            "extractor": extractor.name,
            "version": str(extractor.version),
            "parameters": json.dumps(extractor.parameters, sort_keys=True),
            "key": extractor.key,
            "content": content,
            "source": source,
            "begin": repr(float(features.begin)),
            "stop": repr(float(features.stop)),
            "warnings": json.dumps(warnings),
        }
        if weights is not None:
            about["weights"] = json.dumps(weights, sort_keys=True)
        tensors = {"values": np.ascontiguousarray(features.values), "times": np.ascontiguousarray(features.times)}
        try:
            with replacing(path, lasting=False) as temporary:
                save_file(tensors, temporary, metadata=about)
        except (OSError, SafetensorError) as error:
            raise _unwritable(path, error) from error
        rows, dims = features.values.shape
        return StoredFeatures(path, rows, dims, features.begin, features.stop, warnings)

    def take(self, name: str, data: bytes) -> None:
        """Keep a file of another store; whole or not at all. name : its path in a store's folder

        Raises CheckpointError, naming the file, if it cannot be written.
        """
        path = self.folder / name
        try:
            with replacing(path, lasting=False) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise _unwritable(path, error) from error

    def known_content(self, media: str | Path) -> str | None:
        """SHA-256 of a recording if it has been read before and has the same size and time since, else None."""
        try:
            seen, entry = _stamp(media), json.loads(self.entry(media).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None  # not seen before, or a damaged entry, which is as good as none
        if not isinstance(entry, dict) or {name: entry.get(name) for name in seen} != seen:
            return None
        content = entry.get("sha256")
        return content if isinstance(content, str) and len(content) == 64 else None

    def content(self, media: str | Path) -> str:
        """SHA-256 of a recording's bytes, which are read unless the store knows them.

        Raises MediaError, naming the file, if it cannot be read or changes meanwhile; CheckpointError if the store
        cannot be written.
        """
        if (known := self.known_content(media)) is not None:
            return known
        try:
            before = _stamp(media)
            with Path(media).open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            after = _stamp(media)
        except OSError as error:
            raise MediaError(media, f"cannot be read: {error.strerror or error}") from error
        if before != after:
            raise MediaError(media, "was changed while it was read; try again when it is complete")
        if time.time() - after["mtime_ns"] / 1e9 >= SETTLED:
            entry = self.entry(media)
            try:
                write_json(entry, {**after, "sha256": content}, lasting=False)  # a damaged one is as good as none
            except OSError as error:
                raise _unwritable(entry, error) from error
        return content

    def entry(self, media: str | Path) -> Path:
        """The file that tells the SHA-256 of a recording, whether it exists or not."""
        name = hashlib.sha256(os.fsencode(Path(media).absolute())).hexdigest()
        return self.folder / "media" / name[:2] / f"{name}.json"


def _stamp(media: str | Path) -> dict[str, Any]:
    stat = Path(media).stat()
    return {"path": os.fspath(Path(media).absolute()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _unwritable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: cannot be written: {error}; make room there, or set AVSED_CACHE to another folder")
