"""From a data set's folder to what a training learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch

from avsed import console
from avsed.annotations import Events
from avsed.config import Config
from avsed.data.bank import FeatureBank
from avsed.data.folder import DataSet, Split, fingerprint, open_data
from avsed.device import free_memory
from avsed.errors import AnnotationError, ConfigError, MediaError
from avsed.features.extraction import ExtractionResult, extract_features
from avsed.features.logmel import LogMel
from avsed.features.standardise import Standardiser
from avsed.features.store import FeatureStore, StoredFeatures
from avsed.training.loop import TrainingClips

SHARE = 0.6  # of the free memory that resident features may take
SHOWN = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Prepared:
    """What a training needs.

    labels : the classes; clips : features and tags on the device; standardiser : fitted on the training clips
    validation : the split and its features, None if there is none
    window : spectral frames of the longest training clip
    about : classes, counts and fingerprints of the splits, a hash of the training recordings: for the record
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


def split_features(split: Split, config: Config, *, workers: int | None) -> tuple[Split, Sequence[StoredFeatures]]:
    """The stored features of a split's clips, in their order.

    Returns the split, too: with ``data.missing: drop`` it lacks the clips whose recordings cannot be read.

    Raises MediaError, naming the first unreadable recording and how many there are.
    """
    result = extract_split(split, config, workers=workers)
    for warning in result.warnings[:SHOWN]:
        console.warn(f"{warning.path}: {warning.message}")
    failures = result.failures
    if failures and (config.data.missing != "drop" or len(failures) == len(split.clips)):
        others = f" (and {len(failures) - 1} more of split {split.name!r})" if len(failures) > 1 else ""
        raise MediaError(
            failures[0].path, f"{failures[0].message}{others}; mend or remove them; 'avsed extract' lists all"
        )
    if failures:
        shown = ", ".join(failure.name for failure in failures[:SHOWN]) + (", …" if len(failures) > SHOWN else "")
        console.warn(
            f"{split.table}: {len(failures)} of {len(split.clips)} recordings cannot be read and are left out: {shown}"
        )
        split = _without(split, {failure.name for failure in failures})
    return split, [stored for stored in result.files if stored is not None]


def reference_events(split: Split) -> Events:
    """The events that a split is scored against.

    Raises AnnotationError, naming its table, if it has no clips or no events with times.
    """
    if split.events is None:
        raise AnnotationError(f"{split.table}: scoring needs events with times (filename, onset, offset, event_label)")
    if not split.clips:
        raise AnnotationError(f"{split.table}: no clips to score")
    return split.events


def about_split(split: Split) -> dict[str, Any]:
    """What a result says of its clips: their number, a hash of names and labels, and the names of those left out."""
    return {**fingerprint(split), "left_out": list(split.missing)}


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
    if validation is not None:
        reference_events(validation)  # now, not when it is first needed

    weak, weak_files = split_features(weak, config, workers=workers)
    other_files: Sequence[StoredFeatures] = ()
    if unlabelled is not None:
        unlabelled, other_files = split_features(unlabelled, config, workers=workers)
    heard = None if validation is None else split_features(validation, config, workers=workers)
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

    own = weak.labels
    tags = np.array([[label in own[clip.name] for label in data.labels] for clip in weak.clips], np.float32)
    clips = TrainingClips(
        bank(weak_files), torch.from_numpy(tags).to(device), bank(other_files) if other_files else None
    )
    used = [split for split in (weak, unlabelled, heard[0] if heard else None) if split is not None]
    # The extractor's key and the recording's hash of each clip, in the order that the steps count on.
    learnt = ["/".join(stored.path.parts[-3:]) for stored in training]
    return Prepared(
        labels=data.labels,
        clips=clips,
        standardiser=standardiser,
        validation=heard,
        window=max(stored.rows for stored in training),
        about={
            "labels": list(data.labels),
            "splits": {split.name: about_split(split) for split in used},
            "recordings": hashlib.sha256("\n".join(learnt).encode()).hexdigest(),
        },
    )


def _optional(data: DataSet, name: str | None) -> Split | None:
    """A split that may be left out by null, or by a folder without clips of it."""
    if name is None:
        return None
    if name in data.splits and data.split(name).clips:
        return data.split(name)
    console.note(f"{data.root}: no {'clips in' if name in data.splits else 'split'} {name!r}: left out")
    return None


def _without(split: Split, gone: Collection[str]) -> Split:
    """A split without some of its clips, which are then among those missing."""

    def kept(values: Mapping[str, T] | None) -> dict[str, T] | None:
        return None if values is None else {clip: value for clip, value in values.items() if clip not in gone}

    return replace(
        split,
        clips=tuple(clip for clip in split.clips if clip.name not in gone),
        missing=(*split.missing, *sorted(gone)),
        tags=kept(split.tags),
        events=kept(split.events),
    )
