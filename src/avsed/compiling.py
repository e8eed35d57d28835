"""How inner loops are compiled. To be imported only where they run: numba takes a while to import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

# Mathematics not simply "fast": that may assume finite numbers, and a training that diverges has to show it.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile at the first call, and keep the machine code for the next process if there is a folder that can be written."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # numba finds no such folder
        return njit(**OPTIONS)(function)


def exactly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile loops whose numbers are compared with limits: in the order written, as numpy would compute them."""
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)


def inlined(function: Callable[..., None]) -> Callable[..., None]:
    """Compile as a part of whatever calls it, in the same file: only when that file changes does numba compile anew."""
    return njit(forceinline=True, **OPTIONS)(function)
