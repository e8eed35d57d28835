"""The paper's visual embedding: VGG16, trained to name what is in photographs (Section 4.2).

One picture for each frame of the model, the one on screen at the frame's centre: 151 for 10 s. Its shorter side becomes
256 pixels, of which the central 224 × 224 are seen; 4096 values come out of the ReLU of the last 4096-wide layer.

Source: K. Simonyan and A. Zisserman, *Very deep convolutional networks for large-scale image recognition* (ICLR 2015),
configuration D. Names and shapes of the tensors are those of torchvision's state dict, which loads unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from avsed.features.pretrained import Prepared, normalised, of_pictures
from avsed.features.sequence import extractor_key
from avsed.features.weights import Weights, fill, state
from avsed.timeline import pooled_grid, spectral_frames

if TYPE_CHECKING:
    from avsed.media import Images

VERSION = 1
"""Rises whenever the numbers change, so that stored features of an older version are not taken for new ones."""

CONVOLUTIONS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3 × 3 convolutions, each with a ReLU; after each group the map is halved (maximum of 2 × 2)."""

SIZE = 224
"""Pixels on a side of what the network sees: 7 × 7 after the last group."""

HIDDEN = 4096
CLASSES = 1000

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, where white is 1."""

IMAGENET = Weights(
    name="vgg16-imagenet",
    file="vgg16-397923af.pth",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    size=553_433_881,
    licence="BSD 3-Clause (torchvision); ImageNet is for research",
    source="Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR 2015; "
    "trained by torchvision",
    pretrained_on=("ImageNet-1k",),
)

WEIGHTS = (IMAGENET,)


@dataclass(frozen=True)
class Vgg16:
    """VGG16 as an extractor (`avsed.features.pretrained.VisualExtractor`).

    weights : what the network is filled with
    rate, hop, pool : the model's frames, ``pool * hop`` samples at ``rate`` apart, see `avsed.timeline.pooled_grid`
    """

    weights: Weights = IMAGENET
    rate: int = 22_100
    hop: int = 366
    pool: int = 4
    name: str = field(default="vgg16", init=False)
    version: int = field(default=VERSION, init=False)
    modality: Literal["video"] = field(default="video", init=False)
    whole: bool = field(default=False, init=False)
    dims: int = field(default=HIDDEN, init=False)
    size: int = field(default=256, init=False)
    fit: Literal["crop"] = field(default="crop", init=False)
    side: int = field(default=SIZE, init=False)

    @property
    def parameters(self) -> dict[str, Any]:
        return {"weights": self.weights.sha256, "rate": self.rate, "hop": self.hop, "pool": self.pool}

    @property
    def key(self) -> str:
        return extractor_key(self.name, self.version, self.parameters)

    @property
    def period(self) -> float:
        return self.pool * self.hop / self.rate

    def wanted(self, begin: float, stop: float) -> np.ndarray:
        """Centres of the model's frames over [begin, stop), seconds; float64 (rows,). The last may lie just behind stop."""
        frames = spectral_frames(round((stop - begin) * self.rate), self.hop)
        grid = pooled_grid(
            frames=frames, pool=self.pool, hop=self.hop, rate=self.rate, duration=stop - begin, begin=begin
        )
        return grid.centres

    def front(self, images: Images, *, begin: float, stop: float) -> Prepared:
        """The central 224 × 224 pixels of the pictures on screen at ``wanted(begin, stop)``, read with size and fit.

        Raises ValueError if there are not as many pictures as wanted times.
        """
        return of_pictures(images, self.wanted(begin, stop), side=self.side, begin=begin, stop=stop)

    def network(self, path: str | Path) -> nn.Module:
        """The network with the weights in a file. Raises WeightsError if it cannot be read or does not fit."""
        with torch.device("meta"):
            network = Vgg16Network()
        return fill(network, state(path), path, channels_last=True)


class Vgg16Network(nn.Module):
    """Pictures, uint8 (images, 224, 224, 3), to float (images, 4096), all >= 0.

    The last layer (``classifier.6``, the 1000 classes) is there for the state dict only and never runs. Dropout, of which
    nothing is left in evaluation, keeps its place so that the layers keep their numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*_convolutions())
        self.classifier = nn.Sequential(
            nn.Linear(CONVOLUTIONS[-1][-1] * 7 * 7, HIDDEN),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(HIDDEN, CLASSES),
        )

    def forward(self, images: Tensor) -> Tensor:
        x = normalised(images, MEAN, DEVIATION, like=next(self.parameters()))  # (images, 3, 224, 224)
        x = self.features(x)  # (images, 512, 7, 7)
        return self.classifier[:-1](x.flatten(1))  # (images, 4096)


def _convolutions() -> list[nn.Module]:
    layers: list[nn.Module] = []
    entering = 3
    for group in CONVOLUTIONS:
        for channels in group:
            layers += [nn.Conv2d(entering, channels, 3, padding=1), nn.ReLU(inplace=True)]
            entering = channels
        layers.append(nn.MaxPool2d(2))
    return layers
