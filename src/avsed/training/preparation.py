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
from avsed.data.clips import clip_grid, frame_targets, make_bank, spectral_length
from avsed.data.features import extract_split
from avsed.data.folder import DataSet, Split, fingerprint, open_data
from avsed.device import free_memory
from avsed.errors import AnnotationError, ConfigError, MediaError
from avsed.features.bookkeeping import Remark
from avsed.features.extractors import AnyExtractor, describe, make_extractors
from avsed.features.options import LOGMEL
from avsed.features.standardise import Standardiser
from avsed.features.store import StoredFeatures
from avsed.training import distributed
from avsed.training.batches import StrongClips, TrainingClips

SHARE = 0.6  # of the free memory that resident features may take
SHOWN = 5
PACE = (
    1.2  # times by which rows may come faster or slower than frames, to be placed by number: VGGish's come every 60 ms
)

T = TypeVar("T")
StoredStreams = Mapping[str, StoredFeatures]
"""The stored features of one clip, by extractor; a stream that the clip lacks is missing."""


@dataclass(frozen=True)
class Prepared:
    """What a training needs.

    labels : the classes; clips : features and tags on the device
    standardiser : of the log-mel map, fitted on the training clips; None without spectral input
    extractors : what each stream's features were made with
    validation : the split and its features, None if there is none
    window : spectral frames of the longest training clip
    about : classes, counts and fingerprints of the splits, a hash of the training recordings: for the record
    """

    labels: tuple[str, ...]
    clips: TrainingClips
    standardiser: Standardiser | None
    extractors: dict[str, dict[str, Any]]
    validation: tuple[Split, Sequence[StoredStreams]] | None
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


def split_features(
    split: Split,
    config: Config,
    extractors: Mapping[str, AnyExtractor],
    *,
    device: torch.device,
    workers: int | None,
) -> tuple[Split, Sequence[StoredStreams]]:
    """The stored features of a split's clips, in their order.

    Returns the split, too: it lacks the clips whose recordings cannot be read (with ``data.missing: drop``) and those that
    lack a stream that the model takes (with ``fusion.missing: drop``).

    Raises MediaError, naming the split's table, how many such recordings there are, and the first of them.
    """
    names = [clip.name for clip in split.clips]
    result = extract_split(split, extractors, device=device, workers=workers)
    for warning in result.warnings[:SHOWN]:
        console.warn(f"{warning.path}: {warning.message}")
    split = _drop(split, result.failures, "cannot be read", flag="data.missing", drop=config.data.missing == "drop")
    files = zip(*result.files.values(), strict=True)
    found = {
        name: {stream: stored for stream, stored in zip(result.files, own, strict=True) if stored is not None}
        for name, own in zip(names, files, strict=True)
    }
    left = {clip.name for clip in split.clips}  # what is damaged may lack a stream, too
    absent = [remark for remarks in result.absent.values() for remark in remarks if remark.name in left]
    if config.fusion.missing == "learned":
        some = [remark for remark in absent if found[remark.name]]
        if some:
            console.note(f"{split.table}: {len(some)} streams are absent; what is learned stands in their place")
        absent = [remark for remark in absent if not found[remark.name]]
    what = f"lack what {' + '.join(config.streams)} takes"
    split = _drop(split, absent, what, flag="fusion.missing", drop=config.fusion.missing == "drop")
    return split, [found[clip.name] for clip in split.clips]


def _drop(split: Split, gone: Sequence[Remark], what: str, *, flag: str, drop: bool) -> Split:
    """A split without clips that cannot be used; MediaError unless that was asked for and some are left."""
    names = {remark.name for remark in gone}
    if not names:
        return split
    number = f"{len(names)} of {len(split.clips)} recordings {what}"
    if not drop or len(names) == len(split.clips):
        shown = "; ".join(f"{remark.name}: {remark.message}" for remark in gone[:SHOWN])
        more = f"; and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
        way = "" if drop else f", or leave them out with --set {flag}=drop"
        raise MediaError(split.table, f"{number}: {shown}{more} (mend or remove them{way}; 'avsed extract' lists all)")
    more = ", …" if len(names) > SHOWN else ""
    console.warn(f"{split.table}: {number} and are left out: {', '.join(sorted(names)[:SHOWN])}{more}")
    return _without(split, names)


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
    config.postprocessing.check_labels(data.labels)
    strong = strong_split(data, config) if config.training.strong_batch else None
    unlabelled = _optional(data, config.data.unlabelled) if config.training.unlabelled_batch else None
    validation = _optional(data, config.data.validation) if config.training.validations else None
    if validation is not None:
        reference_events(validation)  # now, not when it is first needed

    extractors = make_extractors(config.streams, config)
    _check_pace(extractors, config)
    weak, weak_files = split_features(weak, config, extractors, device=device, workers=workers)
    other_files: Sequence[StoredStreams] = ()
    if unlabelled is not None:
        unlabelled, other_files = split_features(unlabelled, config, extractors, device=device, workers=workers)
    heard = (
        None if validation is None else split_features(validation, config, extractors, device=device, workers=workers)
    )
    strong_files: Sequence[StoredStreams] = ()
    if strong is not None:
        strong, strong_files = split_features(strong, config, extractors, device=device, workers=workers)
    training = [*weak_files, *other_files, *strong_files]
    for name in extractors:
        if not any(name in streams for streams in training):
            raise MediaError(weak.table, f"no training clip has what {name} takes; leave it out of inputs")
    standardiser = None
    if config.spectral:
        standardiser = Standardiser.fit(streams[LOGMEL].load() for streams in training if LOGMEL in streams)

    # Log-mel maps are kept in 4 bytes a value, what pretrained networks say in 2.
    needed = sum((4 if name == LOGMEL else 2) * f.rows * f.dims for streams in training for name, f in streams.items())
    resident = config.training.memory == "resident" or (
        config.training.memory == "auto" and needed <= SHARE * free_memory(device, sharing=distributed.sharing(device))
    )
    console.note(
        f"features of {len(training)} training clips: {needed / 1e6:.0f} MB, {'kept in memory' if resident else 'streamed'}"
    )

    def bank(files: Sequence[StoredStreams]) -> FeatureBank:
        return make_bank(
            files,
            config,
            dims={name: extractor.dims for name, extractor in extractors.items()},
            standardiser=standardiser,
            device=device,
            resident=resident,
        )

    def tags(split: Split) -> torch.Tensor:
        own = split.labels
        found = np.array([[label in own[clip.name] for label in data.labels] for clip in split.clips], np.float32)
        return torch.from_numpy(found).to(device)

    with_events = None
    if strong is not None and strong.events is not None:
        targets = [
            frame_targets(strong.events[clip.name], clip_grid(streams, config), data.labels)
            for clip, streams in zip(strong.clips, strong_files, strict=True)
        ]
        with_events = StrongClips(bank(strong_files), tags(strong), targets)
    clips = TrainingClips(bank(weak_files), tags(weak), bank(other_files) if other_files else None, with_events)
    about_extractors = {name: describe(extractor) for name, extractor in extractors.items()}
    used = [split for split in (weak, strong, unlabelled, heard[0] if heard else None) if split is not None]
    # The extractor's key and the recording's hash of each clip, in the order that the steps count on.
    learnt = ["/".join(stored.path.parts[-3:]) for streams in training for stored in streams.values()]
    return Prepared(
        labels=data.labels,
        clips=clips,
        standardiser=standardiser,
        extractors=about_extractors,
        validation=heard,
        window=max(spectral_length(streams, config) for streams in training),
        about={
            "labels": list(data.labels),
            "splits": {split.name: about_split(split) for split in used},
            "extractors": about_extractors,
            "recordings": hashlib.sha256("\n".join(learnt).encode()).hexdigest(),
        },
    )


def strong_split(data: DataSet, config: Config) -> Split:
    """The training clips with events.

    Raises AnnotationError, naming the table, if there are none, or if a recording is also one that the training is scored on.
    """
    assert config.data.strong is not None, "the configuration was checked"
    split = data.split(config.data.strong)
    if split.events is None or not split.clips:
        raise AnnotationError(
            f"{split.table}: training.strong_batch needs clips with events, columns filename, onset, offset and event_label"
        )
    own = {clip.path.resolve() for clip in split.clips}
    for name, scored in data.splits.items():
        shared = [clip.name for clip in scored.clips if clip.path.resolve() in own]
        if shared and name in (config.data.validation, config.data.test):
            raise AnnotationError(
                f"{split.table}: {len(shared)} recordings are also in {name}, on which the training is scored: "
                f"{', '.join(shared[:SHOWN])}; take them out of one of the two"
            )
    return split


def _check_pace(extractors: Mapping[str, AnyExtractor], config: Config) -> None:
    """Raise ConfigError if rows are to be placed by number although they come at another pace than the model's frames."""
    frame = config.model.time_pool * config.features.hop / config.features.rate
    for name, extractor in extractors.items():
        pace = extractor.period / frame
        if config.fusion.alignment == "index" and name != LOGMEL and not 1 / PACE < pace < PACE:
            raise ConfigError(
                f"fusion.alignment index puts row n on frame n, but {name} makes a row every {1000 * extractor.period:.0f} ms "
                f"and the model has a frame every {1000 * frame:.0f} ms; set fusion.alignment to time"
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
