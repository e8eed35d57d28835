"""What every extractor with a pretrained network is: a front end, a network, and the weights it takes (Section 4.2).

::

    decoded sound or pictures ──front──▶ Prepared ──network──▶ rows ──▶ FeatureSequence
                                (numpy, one recording)  (torch, many recordings in a batch)

The two halves are apart so that decoding can run ahead in other processes, batches can mix recordings, and the network
can also be used inside a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from avsed.features.sequence import Described, FeatureSequence
from avsed.features.weights import Weights

if TYPE_CHECKING:
    from avsed.media import Audio, Images
    from avsed.media.images import Fit


class Prepared(NamedTuple):
    """What a front end makes of one recording.

    inputs : (items, ...); what the network takes, item by item: pictures, chunks of sound, or one whole clip
    times : float64 (rows,), centre of each row in seconds, strictly increasing; items = rows, or 1 for a whole clip
    begin, stop : seconds at which the stream begins and ends
    """

    inputs: np.ndarray
    times: np.ndarray
    begin: float
    stop: float


class PretrainedExtractor(Described, Protocol):
    """What the ears and the eyes share.

    weights : the file its network is filled with; its SHA-256 is among the parameters
    whole : one item is a whole clip, and gives all its rows in one pass
    """

    @property
    def weights(self) -> Weights: ...

    @property
    def whole(self) -> bool: ...

    def network(self, path: str | Path) -> nn.Module:
        """The network in evaluation mode, filled with the weights in a file.

        It maps inputs (items, ...) to float (items, dims), or for whole clips to (items, rows, dims).

        Raises WeightsError if the file cannot be read or does not fit.
        """
        ...


class AuditoryExtractor(PretrainedExtractor, Protocol):
    """An ear: rate, the samples per second of the sound it wants."""

    @property
    def rate(self) -> int: ...

    def front(self, audio: Audio) -> Prepared:
        """Network inputs for the sound of a recording; ValueError says why there are none."""
        ...


class VisualExtractor(PretrainedExtractor, Protocol):
    """An eye: size and fit of the pictures it wants, as `avsed.media.stream_images` takes them; side : pixels it sees of them."""

    @property
    def side(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def fit(self) -> Fit: ...

    def wanted(self, begin: float, stop: float) -> np.ndarray:
        """float64 (rows,): the seconds at which pictures are wanted, for what lasts from begin to stop; at least one."""
        ...

    def front(self, images: Images, *, begin: float, stop: float) -> Prepared:
        """Network inputs for the pictures on screen at ``wanted(begin, stop)``; rows stand at the wanted times."""
        ...


def regular_times(period: float, begin: float, stop: float) -> np.ndarray:
    """Centres of the whole periods that fit into [begin, stop) by more than half, at least one; float64 (rows,)."""
    count = max(1, math.ceil((stop - begin) / period - 0.5))
    return begin + period * (np.arange(count) + 0.5)


def of_pictures(images: Images, times: np.ndarray, *, side: int, begin: float, stop: float) -> Prepared:
    """Network inputs: the central ``side`` × ``side`` pixels of pictures that are on screen at ``times``.

    The times are those asked for, not those at which the pictures appeared: a picture that stays gives several rows.
    Scaling a picture until its shorter side is S and cutting the central side × side out of it is the same as cutting
    them out of its central S × S, which is what ``fit="crop"`` and ``size=S`` read.

    Raises ValueError if there are not as many pictures as times, or they are too small.
    """
    count, height, width, _ = images.pixels.shape
    if count != len(times) or min(height, width) < side:
        raise ValueError(
            f"{len(times)} pictures of at least {side} x {side} pixels are wanted, got {count} of {height} x {width}"
        )
    top, left = (height - side) // 2, (width - side) // 2
    pixels = images.pixels[:, top : top + side, left : left + side]
    return Prepared(np.ascontiguousarray(pixels), times, begin, stop)


def normalised(images: Tensor, mean: Sequence[float], deviation: Sequence[float], *, like: Tensor) -> Tensor:
    """Pictures as a network takes them: less the mean and over the deviation of each colour, where white is 1.

    images : uint8 (images, height, width, 3)
    like : whose type and device the result has, such as the weight of the first layer
    Returns float (images, 3, height, width); its memory stays in the order of the pictures (channels last).
    """
    x = images.permute(0, 3, 1, 2).to(like.dtype)  # (images, 3, height, width)
    scale, shift = ([1 / (255 * d) for d in deviation], [-m / d for m, d in zip(mean, deviation, strict=True)])
    return x * x.new_tensor(scale).view(3, 1, 1) + x.new_tensor(shift).view(3, 1, 1)


@torch.inference_mode()
def embed(network: nn.Module, prepared: Prepared, *, batch: int) -> FeatureSequence:
    """The features of one recording, ``batch`` items at a time, on the device where the network is; float32."""
    device = next(network.parameters()).device
    rows = [
        network(torch.from_numpy(prepared.inputs[first : first + batch]).to(device)).float().cpu().numpy()
        for first in range(0, len(prepared.inputs), batch)
    ]
    values = np.concatenate(rows)
    values = values.reshape(-1, values.shape[-1])  # (rows, dims), from (items, dims) or (1, rows, dims)
    return FeatureSequence(values, prepared.times, prepared.begin, prepared.stop)
