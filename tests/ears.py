"""The pretrained ears, and noise for them to hear, that several test files share."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from avsed.features.aisfx import Aisfx
from avsed.features.efficientat import EfficientAT
from avsed.features.vggish import Vggish
from avsed.media import Audio

CHUNK = 15_600  # samples at 16 kHz that one chunk of VGGish sees
EARS = (Vggish(), EfficientAT(), EfficientAT(embedding="pooled"), Aisfx())
NAMES = ("vggish", "efficientat frames", "efficientat pooled", "aisfx")


def noise(count: int, rate: int, start: float = 0.0) -> Audio:
    """Noise that swells and fades, with a hum beneath."""
    time = np.arange(count) / rate
    hiss = np.random.default_rng(count).standard_normal(count) * np.square(np.sin(2 * np.pi * 0.3 * time))
    return Audio((0.1 * hiss + 0.2 * np.sin(2 * np.pi * 210 * time)).astype(np.float32), rate, start)


@torch.inference_mode()
def applied(network: nn.Module, inputs: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(np.ascontiguousarray(inputs))).numpy()
