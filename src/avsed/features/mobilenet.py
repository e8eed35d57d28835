"""MobileNetV3-Large for log-mel maps, at any width, with the tensors' names of EfficientAT's published state dicts.

Source: A. Howard et al., *Searching for MobileNetV3*, ICCV 2019, Table 1; one input channel; batch norm with eps 1e-3;
squeeze and excitation over channels with sigmoid gates; the mean over the map in front of the head (EfficientAT,
github.com/fschmid56/EfficientAT, MIT).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

CLASSES = 527
"""Classes of AudioSet."""

REDUCTION = 32
"""Frames, and bands, that one place of the last feature map stands for: five layers of stride 2."""


class Block(NamedTuple):
    """An inverted residual block: 1×1 expansion, depthwise convolution, squeeze and excitation, 1×1 projection."""

    kernel: int
    expanded: int
    out: int
    squeeze: bool
    activation: type[nn.Module]
    stride: int


FIRST, HEAD = 16, 1280  # channels of the first convolution and of the classifier's hidden layer
BLOCKS = (
    Block(3, 16, 16, False, nn.ReLU, 1),
    Block(3, 64, 24, False, nn.ReLU, 2),
    Block(3, 72, 24, False, nn.ReLU, 1),
    Block(5, 72, 40, True, nn.ReLU, 2),
    Block(5, 120, 40, True, nn.ReLU, 1),
    Block(5, 120, 40, True, nn.ReLU, 1),
    Block(3, 240, 80, False, nn.Hardswish, 2),
    Block(3, 200, 80, False, nn.Hardswish, 1),
    Block(3, 184, 80, False, nn.Hardswish, 1),
    Block(3, 184, 80, False, nn.Hardswish, 1),
    Block(3, 480, 112, True, nn.Hardswish, 1),
    Block(3, 672, 112, True, nn.Hardswish, 1),
    Block(5, 672, 160, True, nn.Hardswish, 2),
    Block(5, 960, 160, True, nn.Hardswish, 1),
    Block(5, 960, 160, True, nn.Hardswish, 1),
)


class MobileNet(nn.Module):
    """MobileNetV3-Large at any width, for log-mel maps; the names of its tensors are EfficientAT's.

    width : multiplies the channels, which are rounded to multiples of 8
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        inside = scaled(FIRST, width)
        layers: list[nn.Module] = [convolution(1, inside, 3, stride=2, activation=nn.Hardswish)]
        for block in BLOCKS:
            layers.append(InvertedResidual(inside, block, width))
            inside = scaled(block.out, width)
        layers.append(convolution(inside, last_channels(width), 1, activation=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        hidden = scaled(HEAD, width)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(last_channels(width), hidden),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(hidden, CLASSES),
        )

    def maps(self, spectra: Tensor) -> Tensor:
        """(items, frames, 128) to the last feature map (items, channels, 4, frames / 32, rounded up)."""
        return self.features(spectra.transpose(1, 2)[:, None])

    def forward(self, spectra: Tensor) -> Tensor:
        """(items, frames, 128) to logits of AudioSet's classes (items, 527)."""
        return self.classifier(self.maps(spectra))


class FrameEmbedding(nn.Module):
    """The last feature map, averaged over frequency: (items, frames, 128) to (items, frames / 32 rounded up, dims)."""

    def __init__(self, network: MobileNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, spectra: Tensor) -> Tensor:
        return self.network.maps(spectra).mean(2).transpose(1, 2)


class PooledEmbedding(nn.Module):
    """The last feature map, averaged over frequency and time: (items, frames, 128) to (items, dims)."""

    def __init__(self, network: MobileNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, spectra: Tensor) -> Tensor:
        return self.network.maps(spectra).mean((2, 3))


class InvertedResidual(nn.Module):
    """A `Block`: the input is added to the result where both have the same shape.

    inside : channels of the input
    """

    def __init__(self, inside: int, block: Block, width: float) -> None:
        super().__init__()
        expanded, out = scaled(block.expanded, width), scaled(block.out, width)
        layers: list[nn.Module] = []
        if expanded != inside:
            layers.append(convolution(inside, expanded, 1, activation=block.activation))
        layers.append(
            convolution(
                expanded, expanded, block.kernel, stride=block.stride, groups=expanded, activation=block.activation
            )
        )
        if block.squeeze:
            layers.append(SqueezeExcitation(expanded))
        layers.append(convolution(expanded, out, 1))
        self.block = nn.Sequential(*layers)
        self.adds = block.stride == 1 and inside == out

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.block(maps) if self.adds else self.block(maps)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that has seen the mean of all channels over the whole map.

    EfficientAT can keep several such gates side by side, hence the list of one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([Gate(channels)])

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.conc_se_layers[0](maps.mean((2, 3)))[:, :, None, None]


class Gate(nn.Module):
    """(items, channels) to gates in [0, 1] of the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = scaled(channels // 4, 1.0)
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, means: Tensor) -> Tensor:
        return self.fc2(self.fc1(means).relu()).sigmoid()


def convolution(
    inside: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, activation: type[nn.Module] | None = None
) -> nn.Sequential:
    """Convolution (padded so that stride 1 keeps the size), batch norm, and the activation if there is one."""
    layers: list[nn.Module] = [
        nn.Conv2d(inside, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps=1e-3, momentum=1e-2),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def scaled(channels: int, width: float) -> int:
    """Channels times width, rounded to a multiple of 8, at least 8, and never down by more than 10 %."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def last_channels(width: float) -> int:
    """Channels of the last feature map, the dims of both embeddings: 384 for mn04, 960 for mn10."""
    return 6 * scaled(BLOCKS[-1].out, width)
