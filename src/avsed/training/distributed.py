"""The processes of one training that ``torchrun`` has started, each with a GPU or some cores of its own.

The first one alone writes, validates and prints; of a step each does its share (`avsed.training.shares`). Outside of `together`, every
function here is that of a single process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from avsed import console
from avsed.device import choose_device
from avsed.errors import AvsedError, ConfigError
from avsed.memory import SHARING
from avsed.values import flatten

PATIENCE = timedelta(days=7)  # with what the first process does alone: extraction, validation
GRACE_S = 1.0  # the others leave the first process to say what is wrong: torchrun ends all when one ends

T = TypeVar("T")
_talk: dist.ProcessGroup | None = None  # of words, not of tensors on a GPU; None in a single process


def launched() -> bool:
    """Whether torchrun has started this process and others beside it."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def prints() -> bool:
    """Whether this process is the one that prints."""
    return not launched() or os.environ["RANK"] == "0"


@contextmanager
def together(device: str) -> Iterator[None]:
    """Train with the other processes that torchrun has started, if it has started this one.

    device : of the configuration, see `own_device`

    Raises ConfigError if there is no such device.
    """
    global _talk
    if not launched():
        yield
        return
    mine = _of_its_own(device)
    if mine.type == "cuda":
        torch.cuda.set_device(mine)
    dist.init_process_group("nccl" if mine.type == "cuda" else "gloo")
    _talk = dist.new_group(backend="gloo", timeout=PATIENCE)
    if not (first := leads()):
        console.be_silent()
    try:
        yield
    except AvsedError as error:
        status = getattr(error, "exit_status", None)
        if status is None:
            raise
        _part()
        if first:
            raise
        time.sleep(GRACE_S)  # all were asked to stop, and the first one says so
        raise SystemExit(status) from error
    _part()


def _part() -> None:
    """End in good order what all processes end alike; after an error of one of them, others may never come to it."""
    global _talk
    dist.destroy_process_group()
    _talk = None


def size() -> int:
    """Number of processes that train together."""
    return 1 if _talk is None else dist.get_world_size()


def rank() -> int:
    """Number of this process, from 0."""
    return 0 if _talk is None else dist.get_rank()


def leads() -> bool:
    """Whether this process is the one that writes, validates and prints."""
    return rank() == 0


def own_device(name: str) -> torch.device:
    """The device of a configuration; of several processes each has the GPU with its number on its machine.

    Raises ConfigError if the name is not good (`choose_device`), names one GPU for all processes, or if there is none for this one.
    """
    return choose_device(name) if _talk is None else _of_its_own(name)


def _of_its_own(name: str) -> torch.device:
    device = choose_device(name)
    if device.type == "cpu":
        return device
    if ":" in name:
        raise ConfigError(f"device {name!r}: under torchrun each process takes a GPU of its own: give cuda or auto")
    return choose_device(f"cuda:{os.environ['LOCAL_RANK']}")


def sharing(device: torch.device) -> int:
    """Processes that share the memory of this one's device."""
    if size() > 1:
        return int(os.environ["LOCAL_WORLD_SIZE"]) if device.type == "cpu" else 1
    return int(os.environ.get(SHARING, 1))


def largest(*numbers: int) -> tuple[int, ...]:
    """Of each number the largest that a process has given."""
    if _talk is None:
        return numbers
    found = torch.tensor(numbers)
    dist.all_reduce(found, dist.ReduceOp.MAX, group=_talk)
    return tuple(found.tolist())


def same(facts: Mapping[str, Any], what: str) -> None:
    """Raise AvsedError, naming the first fact that differs, if the processes have not all found the same of ``what``."""
    if _talk is None:
        return
    found: list[dict[str, Any]] = [{}] * size()
    dist.all_gather_object(found, flatten(facts), group=_talk)
    for number, other in enumerate(found):
        for key in found[0].keys() | other.keys():
            if (first := found[0].get(key)) != (here := other.get(key)):
                raise AvsedError(
                    f"{what}: {key} is {first} for process 0, but {here} for process {number}: all must see the same files"
                )


def led(work: Callable[[], T]) -> T | None:
    """What the first process makes while the others, who get None, wait. Where it fails, they end, too."""
    if _talk is None:
        return work()
    failed, made = torch.ones(1), None
    if leads():
        try:
            made = work()
            failed.zero_()
        finally:
            dist.broadcast(failed, 0, group=_talk)
        return made
    dist.broadcast(failed, 0, group=_talk)
    if failed:
        time.sleep(GRACE_S)
        raise SystemExit(1)
    return None


def first_alone(work: Callable[[], T]) -> T:
    """What each process makes for itself, the others after the first one, who find on the disk what took long."""
    made = led(work)
    if made is None:
        made = work()
    largest(0)  # nobody goes on before all are ready
    return made
