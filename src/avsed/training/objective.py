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
    tagging = functional.binary_cross_entropy(student.clips[: len(tags)].float(), tags)
    clip = functional.mse_loss(student.clips, teacher.clips)
    squares = (student.frames - teacher.frames).square()  # (clips, frames, classes), zero on padding
    elements = squares.numel() if student.mask is None else student.mask.sum() * squares.shape[2]
    frame = squares.sum() / elements
    total = tagging + config.clip_consistency * clip + config.frame_consistency * frame
    return Losses(total, tagging, clip, frame)
