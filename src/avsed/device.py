"""Where the numbers are crunched: chosen once, printed, and never silently another one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

from avsed.errors import ConfigError
from avsed.features.threads import available_cores
from avsed.memory import free_host_memory

T = TypeVar("T")


def choose_device(name: str) -> torch.device:
    """``auto`` (the GPU if PyTorch sees one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises ConfigError if the name is unknown or the GPU asked for is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is unknown: give auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            build = "" if torch.version.cuda else "; this PyTorch is built for the CPU only"
            raise ConfigError(
                f"device {name!r} was asked for, but PyTorch {torch.__version__} sees {count} GPUs{build}"
            )
        device = torch.device("cuda", device.index or 0)
    return device


def set_threads(threads: int | None) -> int:
    """Let PyTorch use so many threads on the CPU; returns the number.

    threads : None for what ``OMP_NUM_THREADS`` says, or, where that is no number, one for each core this process may run on
    """
    told = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(threads or (int(told) if told.isdecimal() else 0) or available_cores())
    return torch.get_num_threads()


def multiplies_halves(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 itself (a CPU: AMX, AVX-512's or Arm's), without which that is slower than single precision."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    told: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions do not say
    units = [told[name] for name in ("amx_bf16", "avx512_bf16", "bf16") if name in told]
    return any(units) or not units


def each(count: int, work: Callable[[int], T], *, device: torch.device | None = None) -> list[T]:
    """``work`` of 0 … count − 1, on a CPU in as many threads as PyTorch may use, each of them computing alone.

    Threads that share an operator wait for each other at its end: wherever another process runs, for longer than they compute.
    """
    threads = min(torch.get_num_threads(), count) if device is None or device.type == "cpu" else 1
    return list(_pool(threads).map(work, range(count))) if threads > 1 else [work(number) for number in range(count)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads in which PyTorch's operators start no others."""
    own = torch.get_num_threads()
    ready = Barrier(threads + 1)

    def begin() -> None:
        torch.get_num_threads()  # lets PyTorch set this thread up, before it is told otherwise
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="avsed", initializer=begin)
    for _ in range(threads):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(own)  # a part of the setting is the process's
    return pool


def free_memory(device: torch.device, *, sharing: int = 1) -> float:
    """Bytes that can still be had on a device; on the CPU, of the machine's memory (0 where the system does not tell).

    sharing : processes that want as much: of a GPU each may have its part of the whole, of the machine's memory a part of what is free
    """
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        return min(float(free), whole / sharing)
    return float(free_host_memory() or 0) / sharing


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on ``device``, without waiting for what the device is doing."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory the copy would wait
    return tensor.to(device, non_blocking=True)


def describe(device: torch.device) -> str:
    """``cpu (2 threads)`` or ``cuda:0 (NVIDIA H100 80GB)``, for people and for the record of a run."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)"
