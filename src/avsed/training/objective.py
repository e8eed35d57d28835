"""What mean teacher training minimises (paper, Section 2.3).

loss = BCE(clip probabilities, tags) on labelled clips + w · MSE(clip) + w · MSE(frame) between student and teacher on all clips

and, with strongly labelled clips among them, which the paper has not, + w · BCE(frame probabilities, targets) on these.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional

from avsed.config import TrainingConfig
from avsed.model.crnn import Output


class Losses(NamedTuple):
    """Scalars: the sum that is minimised, and its parts before weighting; ``strong`` is None without strongly labelled clips."""

    total: torch.Tensor
    tagging: torch.Tensor
    clip_consistency: torch.Tensor
    frame_consistency: torch.Tensor
    strong: torch.Tensor | None = None


def objective(
    student: Output, teacher: Output, tags: torch.Tensor, config: TrainingConfig, *, targets: torch.Tensor | None = None
) -> Losses:
    """The loss of one batch, whose first clips are the labelled ones.

    student, teacher : outputs for the same clips; no gradient flows into the teacher
    tags : float (labelled clips, classes), in [0, 1]
    targets : float (strong clips, frames, classes), in [0, 1], zero on padding, of the last clips that have tags

    Each part is a mean over its elements: labelled clips × classes, clips × classes, real frames × classes, and real frames of
    strong clips × classes.
    """
    tagging = cross_entropy(student.clips[: len(tags)].float(), tags)
    clip = functional.mse_loss(student.clips, teacher.clips)
    squares = (student.frames - teacher.frames).square()  # (clips, frames, classes), zero on padding
    elements = squares.numel() if student.mask is None else student.mask.sum() * squares.shape[2]
    frame = squares.sum() / elements
    total = tagging + config.clip_consistency * clip + config.frame_consistency * frame
    if targets is None:
        return Losses(total, tagging, clip, frame)
    chosen = slice(len(tags) - len(targets), len(tags))
    mask = None if student.mask is None else student.mask[chosen]
    strong = frame_cross_entropy(student.frames[chosen].float(), targets, mask)
    return Losses(total + config.strong_weight * strong, tagging, clip, frame, strong)


def frame_cross_entropy(probabilities: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean binary cross-entropy over real frames and classes.

    probabilities, targets : float32 (clips, frames, classes), in [0, 1]; mask : bool (clips, frames), None if all are real
    """
    if mask is None:
        return cross_entropy(probabilities, targets)
    real = mask[:, :, None]
    # Of padding, where both are 0, the sum gets nothing.
    mean = cross_entropy(probabilities * real, targets * real)
    return mean * (mask.numel() / mask.sum())


def cross_entropy(probabilities: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy, logarithms at least −100, as in PyTorch's own function, which ends the program on NaN instead.

    probabilities : float32, in [0, 1]; tags : float32 of the same shape, in [0, 1]
    """
    limits = torch.finfo(probabilities.dtype)
    hit = torch.where(probabilities <= 0, -100.0, probabilities.clamp_min(limits.tiny).log())
    miss = torch.where(probabilities >= 1, -100.0, torch.log1p(-probabilities.clamp_max(1 - limits.eps / 2)))
    return -(tags * hit + (1 - tags) * miss).mean()
