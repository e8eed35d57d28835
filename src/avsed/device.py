"""Where the numbers are crunched: chosen once, printed, and never silently another one."""

from __future__ import annotations

import os

import torch

from avsed.errors import ConfigError


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
    """Let PyTorch use so many threads on the CPU (None: one for each core this process may run on); returns the number."""
    torch.set_num_threads(
        threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return torch.get_num_threads()


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
