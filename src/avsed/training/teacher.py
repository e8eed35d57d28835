"""The teacher: a copy of the student whose parameters are a moving average of the student's (paper, Section 2.3)."""

from __future__ import annotations

import copy

import torch
from torch import nn


def make_teacher(student: nn.Module) -> nn.Module:
    """A copy of the student that needs no gradients. It keeps its own batch statistics and running buffers."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, *, decay: float) -> None:
    """teacher ← decay · teacher + (1 − decay) · student, for parameters only (not for batch norm's running buffers)."""
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1.0 - decay)
