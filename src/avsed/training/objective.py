"""What mean teacher training minimises (paper, Section 2.3).

loss = BCE(clip probabilities, tags) on weak clips + w · MSE(clip) + w · MSE(frame) between student and teacher on all clips
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional

from avsed.config import TrainingConfig
from avsed.model.crnn import Output


class Losses(NamedTuple):
    """Scalars: the sum that is minimised, and its three parts before weighting."""

    total: torch.Tensor
    tagging: torch.Tensor
    clip_consistency: torch.Tensor
    frame_consistency: torch.Tensor


def objective(student: Output, teacher: Output, tags: torch.Tensor, config: TrainingConfig) -> Losses:
    """The loss of one batch, whose first clips are the weakly labelled ones.

    student, teacher : outputs for the same clips; no gradient flows into the teacher
    tags : float (weak clips, classes), 0 or 1

    Each part is a mean over its elements: weak clips × classes, clips × classes, real frames × classes.
    """
    tagging = cross_entropy(student.clips[: len(tags)].float(), tags)
    clip = functional.mse_loss(student.clips, teacher.clips)
    squares = (student.frames - teacher.frames).square()  # (clips, frames, classes), zero on padding
    elements = squares.numel() if student.mask is None else student.mask.sum() * squares.shape[2]
    frame = squares.sum() / elements
    total = tagging + config.clip_consistency * clip + config.frame_consistency * frame
    return Losses(total, tagging, clip, frame)


def cross_entropy(probabilities: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy, logarithms at least −100, as in PyTorch's own function, which ends the program on NaN instead.

    probabilities : float32, in [0, 1]; tags : float32 of the same shape, 0 or 1
    """
    limits = torch.finfo(probabilities.dtype)
    hit = torch.where(probabilities <= 0, -100.0, probabilities.clamp_min(limits.tiny).log())
    miss = torch.where(probabilities >= 1, -100.0, torch.log1p(-probabilities.clamp_max(1 - limits.eps / 2)))
    return -(tags * hit + (1 - tags) * miss).mean()
