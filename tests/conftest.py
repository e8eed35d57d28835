"""What many tests share: one thread a process, the optional real data beside the project, a feature store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from avsed.features.store import FeatureStore

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


@pytest.fixture
def one_thread() -> None:
    """PyTorch with one thread, whatever an earlier test has set."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """An empty store, of which no other test knows."""
    from avsed.features.store import FeatureStore  # not before the environment above is set

    return FeatureStore(tmp_path / "store")
