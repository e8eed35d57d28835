"""What is done to a batch before the networks see it: frame shift and mixup, then filters and masks.

::

    batch, labels ─ shift ─ mixup ─┬─ filters ─ masks ─▶ student
                                   └─ filters ─ masks ─▶ teacher     the student's own (same), others (own), or none (plain)

Shift and mixup change what is to be found and when, so both networks see them, and labels and targets follow; otherwise their
consistency would compare different things. Filters and masks leave that as it is: what the teacher sees of them is a choice. The
default is ``same``, as in DCASE's baseline (DESED_task), whose two networks get one input and differ by their dropout; ``own`` is
two perturbations of one clip, as in Tarvainen and Valpola (2017) and in Nam et al.; ``plain`` has the student guess what it is not shown.

All streams of a clip are shifted and mixed alike; filters and masks are of spectra alone. Padding stays zero and stays where it is.
Everything random follows from the training's seed and the step's number, whatever the device.

Sources: Zhang et al., "mixup", ICLR 2018; Park et al., "SpecAugment", Interspeech 2019; Nam, Kim and Park, "FilterAugment",
ICASSP 2022; frame shift as in DESED_task.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from avsed.device import upload
from avsed.model.batch import Batch
from avsed.model.pooling import real_frames
from avsed.timeline import pooled_frames
from avsed.training.options import AugmentationConfig, FiltersConfig, MasksConfig, MixupConfig, ShiftConfig

AUGMENTATION = 3  # a part of its seeds; 0 to 2 are the streams of clips
SHIFT, MIXUP, STUDENT, TEACHER, FILTERS, MASKS = range(6)
NEPERS = math.log(10) / 20
"""Of a decibel: what a gain of 1 dB adds to the logarithm of a magnitude."""


class Augmentation:
    """The augmentation of a training; what is switched off returns the very objects it was given.

    time_pool : spectral frames in a model frame
    seed : of the training
    deviation : float32 (bands,), of the standardised log-mel bands, which filters need; None without spectral input

    `views` raises ValueError if filters are wanted of spectra and there is no deviation.
    """

    def __init__(
        self, config: AugmentationConfig, *, time_pool: int, seed: int, deviation: np.ndarray | None = None
    ) -> None:
        self.config, self._pool, self._seed, self._deviation = config, time_pool, seed, deviation

    def moved(
        self, number: int, batch: Batch, tags: torch.Tensor, targets: torch.Tensor | None
    ) -> tuple[Batch, torch.Tensor, torch.Tensor | None]:
        """The clips of step ``number`` shifted and mixed, for both networks; their tags and targets likewise.

        batch : weak, strong and unlabelled clips, in this order
        tags : float (weak and strong clips, classes); targets : float (strong clips, model frames, classes), None if there are none
        """
        if self.config.shift is not None:
            by = draw_shifts(self._random(number, SHIFT), whole_frames(batch, self._pool), self.config.shift)
            batch, targets = shift(
                batch,
                targets,
                by,
                first=len(tags) - (0 if targets is None else len(targets)),
                time_pool=self._pool,
                circular=self.config.shift.edges == "circular",
            )
        if self.config.mixup is not None:
            strong = 0 if targets is None else len(targets)
            parts = (len(tags) - strong, strong, batch.clips - len(tags))
            partners, shares = draw_mixes(self._random(number, MIXUP), parts, self.config.mixup)
            batch, tags, targets = mix(
                batch, tags, targets, partners, shares, either=self.config.mixup.tags == "max", time_pool=self._pool
            )
        return batch, tags, targets

    def views(self, number: int, batch: Batch) -> tuple[Batch, Batch]:
        """What student and teacher see of the batch: its spectra behind filters and masks."""
        if batch.spectra is None or (self.config.filters is None and self.config.masks is None):
            return batch, batch
        seen = self._view(batch, number, STUDENT)
        if self.config.teacher == "same":
            return seen, seen
        return seen, batch if self.config.teacher == "plain" else self._view(batch, number, TEACHER)

    def _view(self, batch: Batch, number: int, who: int) -> Batch:
        if self.config.filters is not None and batch.spectra is not None:
            if self._deviation is None:
                raise ValueError("filters need the deviation of each standardised band")
            gains = draw_gains(
                self._random(number, who, FILTERS), batch.clips, len(self._deviation), self.config.filters
            )
            batch = add(batch, gains * (NEPERS / self._deviation))
        if self.config.masks is not None and batch.spectra is not None:
            frames = model_frames(batch, self._pool)
            length, bands = batch.model_frames(self._pool), batch.spectra.shape[2]
            random = self._random(number, who, MASKS)
            batch = mask(batch, *draw_masks(random, frames, length=length, bands=bands, config=self.config.masks))
        return batch

    def _random(self, number: int, *what: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, AUGMENTATION, number, *what])


def model_frames(batch: Batch, time_pool: int) -> np.ndarray:
    """int64 (clips,): the real model frames of each clip, the last of which may hold less than ``time_pool`` spectral frames."""
    if batch.lengths is None:
        return np.full(batch.clips, batch.model_frames(time_pool))
    return np.array([pooled_frames(length, time_pool) for length in batch.lengths.tolist()], np.int64)


def whole_frames(batch: Batch, time_pool: int) -> np.ndarray:
    """int64 (clips,): the model frames of each clip that hold ``time_pool`` spectral frames."""
    if batch.lengths is None:
        return np.full(batch.clips, batch.model_frames(time_pool))
    return batch.lengths.numpy() // time_pool


def draw_shifts(random: np.random.Generator, frames: np.ndarray, config: ShiftConfig) -> np.ndarray:
    """int64 (clips,): frames by which each clip is moved, positive towards its end; at most half of its ``frames``."""
    most = np.minimum(config.frames, frames // 2)
    return random.integers(-most, most + 1)


def shift(
    batch: Batch, targets: torch.Tensor | None, by: np.ndarray, *, first: int, time_pool: int, circular: bool
) -> tuple[Batch, torch.Tensor | None]:
    """Move each clip in time by whole model frames. A last frame that is not whole stays where it is.

    by : int64 (clips,), model frames; targets : float (strong clips, model frames, classes), of the clips from ``first``
    circular : what leaves a clip at one end comes in at the other; otherwise zeros come in
    """
    length = batch.model_frames(time_pool)
    places, whole = np.arange(length), whole_frames(batch, time_pool)[:, None]
    source = places - by[:, None]  # (clips, length)
    if circular:
        source %= np.maximum(whole, 1)
    moves = places < whole
    inside = (source >= 0) & (source < whole)
    index = upload(torch.from_numpy(np.where(moves & inside, source, places)), batch.device)
    kept = upload(torch.from_numpy(inside | ~moves), batch.device)

    def moved(x: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
        blocks = x.reshape(len(x), length, -1)  # (clips, model frames, all that is in one)
        found = blocks.take_along_dim(index[rows, :, None], dim=1)
        return (found if circular else found * kept[rows, :, None]).view_as(x)

    if targets is not None:
        targets = moved(targets, slice(first, first + len(targets)))
    spectra = None if batch.spectra is None else moved(batch.spectra)
    return batch._replace(spectra=spectra, embeddings={n: moved(x) for n, x in batch.embeddings.items()}), targets


def draw_mixes(
    random: np.random.Generator, parts: tuple[int, ...], config: MixupConfig
) -> tuple[np.ndarray, np.ndarray]:
    """With which clip of its part each clip is mixed, int64 (clips,), and its own share of the mix, float32 (clips,), 1 for no mix.

    parts : clips in each part of the batch
    """
    begins = np.cumsum((0, *parts[:-1]))
    partners = np.arange(sum(parts))
    for begin, count in zip(begins, parts, strict=True):
        order = begin + random.permutation(count)
        partners[order] = np.roll(order, -1)  # one after the other, so that none is its own
    shares = random.beta(config.alpha, config.alpha, len(partners))
    shares[random.random(len(partners)) >= config.probability] = 1.0
    return partners.astype(np.int64), shares.astype(np.float32)


def mix(
    batch: Batch,
    tags: torch.Tensor,
    targets: torch.Tensor | None,
    partners: np.ndarray,
    shares: np.ndarray,
    *,
    either: bool,
    time_pool: int,
) -> tuple[Batch, torch.Tensor, torch.Tensor | None]:
    """Mix each clip with its partner, and their labels. A mix is as long as the longer of the two.

    partners : int64 (clips,), in the clip's own part of the batch; shares : float32 (clips,), in [0, 1]
    either : labels are all that one of the two has; otherwise they are mixed as the clips are
    time_pool : spectral frames in a model frame

    A stream that only one of the two has is taken from that one as it is.
    """
    lengths = batch.lengths
    if lengths is not None:
        longer = torch.maximum(lengths, lengths[torch.from_numpy(partners)])
        lengths = torch.where(torch.from_numpy(shares < 1), longer, lengths)
    other, own = (upload(torch.from_numpy(values), batch.device) for values in (partners, shares))
    mixes = own < 1
    streams = (() if batch.spectra is None else ("",)) + tuple(batch.embeddings)
    here = torch.ones(batch.clips, len(streams), dtype=torch.bool, device=batch.device)
    here = here if batch.present is None else batch.present
    there = here[other] & mixes[:, None]
    weights = torch.where(here & there, own[:, None], here.float())  # (clips, streams), of the clip itself
    others = torch.where(here & there, 1 - own[:, None], there.float())

    def mixed(x: torch.Tensor, stream: int) -> torch.Tensor:
        return weights[:, stream, None, None] * x + others[:, stream, None, None] * x[other]

    def labelled(x: torch.Tensor, first: int) -> torch.Tensor:
        rows = slice(first, first + len(x))
        paired = x[other[rows] - first]
        share = own[rows].view(-1, *[1] * (x.ndim - 1))
        return torch.maximum(x, paired * (share < 1)) if either else share * x + (1 - share) * paired

    values = {name: mixed(x, streams.index(name)) for name, x in batch.embeddings.items()}
    spectra = None if batch.spectra is None else mixed(batch.spectra, 0)
    present = None if batch.present is None else here | there
    if targets is not None:
        targets = labelled(targets, len(tags) - len(targets))
    return Batch(spectra, values, lengths, present), labelled(tags, 0), targets


def draw_gains(random: np.random.Generator, clips: int, bands: int, config: FiltersConfig) -> np.ndarray:
    """float64 (clips, bands): the gain of each mel band, dB; stretches and gains are drawn anew for each clip."""
    gains = np.empty((clips, bands))
    for row in gains:
        count = min(int(random.integers(config.bands[0], config.bands[1] + 1)), max(1, bands // config.width))
        width = min(config.width, bands // count)
        inner = np.sort(random.integers(0, bands - count * width + 1, count - 1)) + width * np.arange(1, count)
        edges = np.array([0, *inner, bands])
        if config.kind == "step":
            row[:] = np.repeat(random.uniform(-config.gain, config.gain, count), np.diff(edges))
        else:
            row[:] = np.interp(np.arange(bands) + 0.5, edges, random.uniform(-config.gain, config.gain, count + 1))
    return gains


def add(batch: Batch, values: np.ndarray) -> Batch:
    """The batch with ``values``, float (clips, bands), added to the real frames of its spectra."""
    assert batch.spectra is not None, "the batch has spectra"
    added = upload(torch.from_numpy(values.astype(np.float32)), batch.device)[:, None]  # (clips, 1, bands)
    if batch.lengths is not None:
        real = upload(real_frames(batch.lengths, batch.spectra.shape[1]), batch.device)
        added = added * real[:, :, None]
    return batch._replace(spectra=batch.spectra + added)


def draw_masks(
    random: np.random.Generator, frames: np.ndarray, *, length: int, bands: int, config: MasksConfig
) -> tuple[np.ndarray, np.ndarray]:
    """What masks leave: bool (clips, length) of model frames, bool (clips, bands) of mel bands.

    frames : int64 (clips,), real model frames of each clip
    """
    times, kept = np.ones((len(frames), length), bool), np.ones((len(frames), bands), bool)
    for clip, count in enumerate(frames.tolist()):
        for row, size, most, number in (
            (times[clip], count, config.time, config.times),
            (kept[clip], bands, config.band, config.bands),
        ):
            for _ in range(number):
                width = int(random.integers(0, min(most, size // 2) + 1))
                begin = int(random.integers(0, size - width + 1))
                row[begin : begin + width] = False
    return times, kept


def mask(batch: Batch, times: np.ndarray, bands: np.ndarray) -> Batch:
    """The batch with its spectra zero where a mask covers them. times : bool (clips, model frames); bands : bool (clips, bands)."""
    assert batch.spectra is not None, "the batch has spectra"
    by_time, by_band = (upload(torch.from_numpy(kept), batch.device) for kept in (times, bands))
    clips, frames, count = batch.spectra.shape
    x = batch.spectra.reshape(clips, times.shape[1], -1, count)  # (clips, model frames, spectral frames in one, bands)
    x = x * by_time[:, :, None, None] * by_band[:, None, None]
    return batch._replace(spectra=x.reshape(clips, frames, count))
