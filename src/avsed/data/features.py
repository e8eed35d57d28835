"""The features of a split's clips: from its table to the store, with a progress bar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from avsed import console
from avsed.data.folder import Split
from avsed.features.bookkeeping import ExtractionResult, Progress
from avsed.features.extraction import extract_features
from avsed.features.store import FeatureStore

if TYPE_CHECKING:
    import torch

    from avsed.cluster import Cluster
    from avsed.config import Config
    from avsed.features.extractors import AnyExtractor


def extract_split(
    split: Split,
    extractors: Mapping[str, AnyExtractor],
    *,
    workers: int | None = None,
    device: torch.device | None = None,
) -> ExtractionResult:
    """Make sure that the store has a split's features; see `avsed.features.extraction.extract_features`."""
    with _showing(split, tuple(extractors)) as progress:
        return extract_features(
            _clips(split), extractors, FeatureStore(), workers=workers, device=device, progress=progress
        )


def extract_split_on(cluster: Cluster, split: Split, names: Sequence[str], config: Config) -> ExtractionResult:
    """The same on a cluster; see `avsed.features.cluster.extract_on_cluster`."""
    from avsed.features.cluster import extract_on_cluster

    with _showing(split, names) as progress:
        return extract_on_cluster(_clips(split), names, config, FeatureStore(), cluster=cluster, progress=progress)


def _clips(split: Split) -> list[tuple[str, Path]]:
    return [(clip.name, clip.path) for clip in split.clips]


@contextmanager
def _showing(split: Split, names: Sequence[str]) -> Iterator[Progress]:
    """A bar of a split's clips."""
    with console.bar(f"{', '.join(names)} of {split.name}", len(split.clips)) as bar:
        yield lambda done, total, failed: bar.update(done, f"{failed} failed" if failed else "")
