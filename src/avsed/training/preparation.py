"""From a data set's folder to what a training learns from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from avsed import console
from avsed.config import Config
from avsed.data.bank import FeatureBank
from avsed.data.folder import DataSet, Split, fingerprint, open_data
from avsed.errors import AnnotationError, ConfigError, MediaError
from avsed.features.extraction import ExtractionResult, extract_features
from avsed.features.logmel import LogMel
from avsed.features.standardise import Standardiser
from avsed.features.store import FeatureStore, StoredFeatures
from avsed.training.loop import TrainingClips

SHARE = 0.6  # of the free memory that resident features may take
SHOWN = 5


@dataclass(frozen=True)
class Prepared:
    """What a training needs.

    labels : the classes; clips : features and tags on the device; standardiser : fitted on the training clips
    validation : the split and its features, None if there is none
    window : spectral frames of the longest training clip
    about : counts and fingerprints of the splits, for the record
    """

    labels: tuple[str, ...]
    clips: TrainingClips
    standardiser: Standardiser
    validation: tuple[Split, Sequence[StoredFeatures]] | None
    window: int
    about: dict[str, Any]


def open_configured(config: Config) -> DataSet:
    """The data set that a configuration names.

    Raises ConfigError if it names none, AnnotationError if its tables or recordings are not as they should be.
    """
    if config.data.root is None:
        raise ConfigError("the configuration names no data set: set data.root or give the folder on the command line")
    data = open_data(
        config.data.root, splits=config.data.splits, labels=config.data.labels, missing=config.data.missing
    )
    for problem in data.problems:
        console.warn(str(problem))
    return data


def extract_split(split: Split, config: Config, *, workers: int | None) -> ExtractionResult:
    """Make sure that the store has a split's features, with a progress bar."""
    clips = [(clip.name, clip.path) for clip in split.clips]
    with console.bar(f"log-mel of {split.name}", len(clips)) as bar:
        return extract_features(
            clips,
            LogMel(config.features),
            FeatureStore(),
            workers=workers,
            progress=lambda done, total, failed: bar.update(done, f"{failed} failed" if failed else ""),
        )


def split_features(split: Split, config: Config, *, workers: int | None) -> Sequence[StoredFeatures]:
    """The stored features of a split's clips, in their order.

    Raises MediaError, naming the first unreadable recording and how many there are.
    """
    result = extract_split(split, config, workers=workers)
    for warning in result.warnings[:SHOWN]:
        console.warn(f"{warning.path}: {warning.message}")
    if result.failures:
        first = result.failures[0]
        others = f" (and {len(result.failures) - 1} more of split {split.name!r})" if len(result.failures) > 1 else ""
        raise MediaError(first.path, f"{first.message}{others}; mend or remove them; 'avsed check' lists all")
    return [stored for stored in result.files if stored is not None]


def prepare(config: Config, *, device: torch.device, workers: int | None = None) -> Prepared:
    """Open the data set, extract what is missing, standardise, and move features to the device if they fit."""
    data = open_configured(config)
    weak = data.split(config.data.weak)
    if weak.kind == "unlabelled" or not weak.clips:
        raise AnnotationError(f"{weak.table}: training needs clips with labels, columns filename and event_labels")
    if not data.labels:
        raise AnnotationError(f"{weak.table}: no clip has a label")
    unlabelled = _optional(data, config.data.unlabelled) if config.training.unlabelled_batch else None
    validation = _optional(data, config.data.validation) if config.training.validations else None

    weak_files = split_features(weak, config, workers=workers)
    other_files = split_features(unlabelled, config, workers=workers) if unlabelled else []
    heard = split_features(validation, config, workers=workers) if validation else []
    training = [*weak_files, *other_files]
    standardiser = Standardiser.fit(stored.load() for stored in training)

    needed = 4 * sum(stored.rows * stored.dims for stored in training)
    resident = config.training.memory == "resident" or (
        config.training.memory == "auto" and needed <= SHARE * free_memory(device)
    )
    console.note(
        f"features of {len(training)} training clips: {needed / 1e6:.0f} MB, {'kept in memory' if resident else 'streamed'}"
    )

    def bank(files: Sequence[StoredFeatures]) -> FeatureBank:
        return FeatureBank(
            [stored.load for stored in files],
            [stored.rows for stored in files],
            standardiser=standardiser,
            multiple=config.model.time_pool,
            device=device,
            resident=resident,
        )

    tags = np.array([[label in weak.labels[clip.name] for label in data.labels] for clip in weak.clips], np.float32)
    clips = TrainingClips(
        bank(weak_files), torch.from_numpy(tags).to(device), bank(other_files) if other_files else None
    )
    used = [split for split in (weak, unlabelled, validation) if split is not None]
    return Prepared(
        labels=data.labels,
        clips=clips,
        standardiser=standardiser,
        validation=(validation, heard) if validation else None,
        window=max(stored.rows for stored in training),
        about={"splits": {split.name: fingerprint(split) for split in used}, "labels": list(data.labels)},
    )


def free_memory(device: torch.device) -> float:
    """Bytes that can still be had on a device; on the CPU, of the machine's memory."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _optional(data: DataSet, name: str | None) -> Split | None:
    """A split that may be left out by null, or by a folder without it."""
    if name is None or name not in data.splits:
        if name is not None:
            console.note(f"{data.root}: no split {name!r}: left out")
        return None
    split = data.split(name)
    return split if split.clips else None
