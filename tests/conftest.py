"""What every test shares: one thread a process, and the path of the optional real data beside the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("shared machine", deadline=None)  # a slow moment of the machine is no failure
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and annotations beside the checkout; the test is skipped where it is absent."""
    folder = Path(os.environ.get("AVSED_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"real data not at hand: no folder {folder} (set AVSED_SHARED to one that has it)")
    return folder
