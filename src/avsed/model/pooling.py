"""From frame to clip probabilities (paper, Section 2.1, Equation 1), and the mask of real frames."""

from __future__ import annotations

import torch


def real_frames(frames: torch.Tensor, length: int) -> torch.Tensor:
    """Which positions of a padded batch are real.

    frames : int64 (clips,), number of real frames of each clip
    length : length of the padded time axis
    Returns bool (clips, length) on the device of ``frames``.
    """
    return torch.arange(length, device=frames.device) < frames[:, None]


def linear_softmax(probabilities: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Linear softmax pooling, Equation 1: the mean of the frame probabilities, each weighted by itself, Σ p² / Σ p.

    probabilities : float (clips, frames, classes), in [0, 1]
    mask : bool (clips, frames), True for real frames; None if all are real
    Returns float (clips, classes), in [0, 1]; 0 where all probabilities are 0. Padded frames do not count.
    """
    if mask is not None:
        probabilities = probabilities * mask[:, :, None]  # (clips, frames, classes)
    total = probabilities.sum(dim=1)  # (clips, classes)
    squares = (probabilities * probabilities).sum(dim=1)  # (clips, classes)
    return squares / total.clamp_min(torch.finfo(total.dtype).tiny)
