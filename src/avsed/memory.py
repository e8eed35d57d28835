"""How much of the machine's memory this process can still have: what is free, within the limits set for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

SHARING = "AVSED_SHARING"
"""A variable of the environment: how many processes share this one's device, if something has started several for it."""


class _Names(NamedTuple):
    """Where Linux keeps the limits of control groups, and what it calls a limit, what is used, and what of it can be dropped."""

    place: str
    limit: str
    used: str
    droppable: str


V1 = _Names("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
V2 = _Names("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ")


def free_host_memory(root: Path = Path("/")) -> int | None:
    """Bytes that can be had without taking from others: free or holding only what can be read again.

    root : where ``proc`` and ``sys`` lie

    Returns None on a system that does not tell.
    """
    rooms = []
    if (kilobytes := _number(root / "proc/meminfo", "MemAvailable:")) is not None:
        rooms.append(1024 * kilobytes)
    for folder, names in _groups(root):
        limit, used = _number(folder / names.limit), _number(folder / names.used)
        if limit is not None and used is not None:
            rooms.append(max(0, limit - used + (_number(folder / "memory.stat", names.droppable) or 0)))
    return min(rooms, default=None)


def _groups(root: Path) -> Iterator[tuple[Path, _Names]]:
    """The control groups of this process, and those around them: the narrowest limit holds."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        names = V2 if not controllers else V1 if "memory" in controllers.split(",") else None
        if names is not None:
            group = PurePosixPath(path.lstrip("/"))
            yield from ((root / names.place / part, names) for part in (group, *group.parents))


def _number(file: Path, key: str = "") -> int | None:
    """The number in a file of the kernel's, in the line that begins with ``key``; None without one (``max`` is no number)."""
    for line in _lines(file):
        if line.startswith(key):
            value = line.removeprefix(key).split()[0]
            return int(value) if value.isdecimal() else None
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
