"""The features of a split's clips: from its table to the store, with a progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from avsed import console
from avsed.data.folder import Split
from avsed.features.bookkeeping import ExtractionResult
from avsed.features.extraction import extract_features
from avsed.features.store import FeatureStore

if TYPE_CHECKING:
    import torch

    from avsed.features.extractors import AnyExtractor


def extract_split(
    split: Split,
    extractors: Mapping[str, AnyExtractor],
    *,
    workers: int | None = None,
    device: torch.device | None = None,
) -> ExtractionResult:
    """Make sure that the store has a split's features; see `avsed.features.extraction.extract_features`."""
    clips = [(clip.name, clip.path) for clip in split.clips]
    with console.bar(f"{', '.join(extractors)} of {split.name}", len(clips)) as bar:
        return extract_features(
            clips,
            extractors,
            FeatureStore(),
            workers=workers,
            device=device,
            progress=lambda done, total, failed: bar.update(done, f"{failed} failed" if failed else ""),
        )
