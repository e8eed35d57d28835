"""Files that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avsed.errors import AvsedError, CheckpointError

TEMPORARY = re.compile(r"\..+-[0-9a-f]{32}(\..*)?")  # names of what `replacing` has not finished


@contextmanager
def replacing(path: str | Path, *, lasting: bool = True) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of ``path`` when the block ends without an error.

    The folder is made if need be; after an error the temporary file is removed and ``path`` is as it was. lasting : also after a
    power cut, which may else leave an empty file; waiting for the disk takes some milliseconds
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}-{uuid.uuid4().hex}{target.suffix}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # some writers make files that only their owner may read
        if lasting:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def leftovers(folder: str | Path) -> list[Path]:
    """The files that `replacing` has not finished: of processes that were killed, or that still write."""
    place = Path(folder)
    return [path for path in place.iterdir() if TEMPORARY.fullmatch(path.name)] if place.is_dir() else []


def remove_leftovers(folder: str | Path) -> None:
    """Remove the half-written files in a folder, not in the folders in it; nobody else must be writing there."""
    for path in leftovers(folder):
        path.unlink(missing_ok=True)


def is_utf8(text: str) -> bool:
    """Whether a text can be written; names of files whose bytes are not UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def write_text(path: str | Path, text: str, *, lasting: bool = True) -> None:
    """Write a small text file, UTF-8, whole or not at all; lasting : see `replacing`.

    Raises AvsedError, naming the line, for text that is not UTF-8.
    """
    if not is_utf8(text):
        odd = next(line for line in text.splitlines() if not is_utf8(line))
        raise AvsedError(f"{path}: cannot be written, its line {odd!r} is not UTF-8; rename the file that it names")
    with replacing(path, lasting=lasting) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path, *, otherwise: str) -> dict[str, Any]:
    """An object of JSON. Raises CheckpointError, naming the file, if it is none. otherwise : what to do then"""
    try:
        told = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable as JSON: {error}; {otherwise}") from error
    if not isinstance(told, dict):
        raise CheckpointError(f"{path}: expected an object of JSON, found {json.dumps(told)[:40]}; {otherwise}")
    return told


def write_json(path: str | Path, value: Any, *, lasting: bool = True) -> None:
    """Write indented JSON, whole or not at all; NaN is not JSON and raises ValueError. lasting : see `replacing`"""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", lasting=lasting)
