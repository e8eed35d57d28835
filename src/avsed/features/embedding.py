"""The networks' side of an extraction: what front ends prepared waits here until a batch of it is worth a run.

::

    clip 7   ▉▉▉▉▉▉▉▉▉▉▉▉▉▉▉▉▉▉   items of its own, such as pictures
    clip 8   ▉▉▉▉▉▉▉▉
    clip 9   ▉▉▉▉▉▉▉▉▉▉▉▉▉▉▉▉
             └──┴──┴──┴──┴──┴──   pieces: a fixed number of items, whichever clips they are from; a thread each on a CPU
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from avsed.device import each, upload
from avsed.features.sequence import FeatureSequence
from avsed.features.weights import find

if TYPE_CHECKING:
    from avsed.features.pretrained import AuditoryExtractor, Prepared, VisualExtractor

    Pretrained = AuditoryExtractor | VisualExtractor

PIECE_VALUES = 460_000
"""Input values in a piece on a CPU: 3 pictures of 224 × 224. What a network computes of more of them leaves the cache:
with pieces of 16 pictures, EfficientNet-Lite0 takes 1.3 times as long for each."""

MOST_ITEMS, WHOLE_CLIPS = 32, 2
"""Items in a piece on a CPU at most, and clips where one item is a whole clip."""

GPU_PIECE, GPU_WHOLE_CLIPS = 64, 32
"""The same on a GPU, not measured: the two largest maps that VGG16 makes of 64 pictures take 0.8 GB each."""

PIECES = 4
"""Pieces for each thread (on a GPU: in all) that start a run: few enough that little waits, and enough that threads, whose
pieces never take quite the same time, end together."""


class Embedder:
    """A network, and the clips that wait for it.

    extractor, network : the network is on ``device``, in evaluation mode
    """

    def __init__(self, extractor: Pretrained, network: nn.Module, device: torch.device) -> None:
        self.extractor, self.network, self.device = extractor, network, device
        self._waiting: list[tuple[int, Prepared]] = []
        self._pieces = 0.0

    def add(self, clip: int, prepared: Prepared) -> list[tuple[int, FeatureSequence]]:
        """Take what was prepared of a clip; returns the clips that are done, this one and others, or none.

        clip : its number, to know it by
        Returns (clip, features) with features as `in_half` keeps them.
        """
        self._waiting.append((clip, prepared))
        self._pieces += len(prepared.inputs) / self._piece(prepared.inputs)
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        return self.finish() if self._pieces >= PIECES * threads else []

    def finish(self) -> list[tuple[int, FeatureSequence]]:
        """Run the network on all that waits."""
        alike: dict[tuple[int, ...], list[int]] = {}  # clips whose items have equal shapes, by their places
        for place, (_, prepared) in enumerate(self._waiting):
            alike.setdefault(prepared.inputs.shape[1:], []).append(place)
        pieces = [piece for places in alike.values() for piece in self._pieces_of(places)]

        @torch.inference_mode()
        def run(number: int) -> torch.Tensor:
            items = torch.from_numpy(pieces[number].joined(self._waiting))
            return self.network(upload(items, self.device)).float()

        outputs = each(len(pieces), run, device=self.device)
        rows: list[list[np.ndarray]] = [[] for _ in self._waiting]
        for piece, output in zip(pieces, outputs, strict=True):
            values, taken = output.cpu().numpy(), 0
            for place, first, stop in piece.slices:
                rows[place].append(values[taken : taken + stop - first])
                taken += stop - first
        done = [(clip, _sequence(own, prepared)) for own, (clip, prepared) in zip(rows, self._waiting, strict=True)]
        self._waiting, self._pieces = [], 0.0
        return done

    def _piece(self, inputs: np.ndarray) -> int:
        """Items in a piece; inputs : (items, ...)"""
        whole = self.extractor.whole
        if self.device.type != "cpu":
            return GPU_WHOLE_CLIPS if whole else GPU_PIECE
        return WHOLE_CLIPS if whole else max(1, min(MOST_ITEMS, PIECE_VALUES // math.prod(inputs.shape[1:])))

    def _pieces_of(self, places: list[int]) -> Iterator[_Piece]:
        """The items of clips, whose shapes are equal, in pieces."""
        size = self._piece(self._waiting[places[0]][1].inputs)
        slices: list[tuple[int, int, int]] = []
        room = size
        for place in places:
            first, count = 0, len(self._waiting[place][1].inputs)
            while first < count:
                stop = min(count, first + room)
                slices.append((place, first, stop))
                first, room = stop, room - (stop - first)
                if not room:
                    yield _Piece(slices)
                    slices, room = [], size
        if slices:
            yield _Piece(slices)


class _Piece(NamedTuple):
    """What the network takes at a time. slices : (place of a clip among those waiting, first item, behind the last)"""

    slices: list[tuple[int, int, int]]

    def joined(self, waiting: list[tuple[int, Prepared]]) -> np.ndarray:
        """The items, (items, ...)."""
        parts = [waiting[place][1].inputs[first:stop] for place, first, stop in self.slices]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


def make_embedders(extractors: Mapping[str, Pretrained], device: torch.device) -> dict[str, Embedder]:
    """A network for each extractor, filled with its weights, on a device.

    Raises WeightsError, naming the weights, if they are missing, damaged or do not fit.
    """
    files = {name: find(extractor.weights) for name, extractor in extractors.items()}  # all, before any is read
    return {
        name: Embedder(extractor, extractor.network(files[name]).to(device), device)
        for name, extractor in extractors.items()
    }


def _sequence(rows: list[np.ndarray], prepared: Prepared) -> FeatureSequence:
    values = np.concatenate(rows)  # (items, dims), or (1, rows, dims) of a whole clip
    values = values.reshape(-1, values.shape[-1])  # (rows, dims)
    return FeatureSequence(in_half(values), prepared.times, prepared.begin, prepared.stop)


def in_half(values: np.ndarray) -> np.ndarray:
    """Features of networks as float16, in half the space; float32 where one would be infinite in float16 (above 65,504).

    What rounding does to forty real clips of ten seconds, 0.5 to 2.4 million values each:

    ======================  ================  ==============  ===========================
    extractor               values            largest error   largest relative error of
                                                              values beyond ±0.01
    ======================  ================  ==============  ===========================
    EfficientAT mn04        −0.37 to 15.5     0.0037          0.00049
    the same, pooled        −0.37 to 2.4      0.0010          0.00049
    aisfx                   0 to 6.0          0.0019          0.00049
    EfficientNet-Lite0      0 to 5.6          0.0020          0.00049
    ======================  ================  ==============  ===========================

    The root mean square of the errors is 0.0002 of that of the values, everywhere, and the cosine between a row and what
    is kept of it is at least 1 − 4e-8. Log-mel maps stay float32: a system standardises them and was trained on them so.
    """
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return values if np.isinf(half).any() else half
