"""The state of a training after a whole step, in one safetensors file that is whole or absent.

Everything random in a step is derived from the seed and the step's number, so parameters, buffers and Adam's moments are all
that an interrupted training needs to end in the same weights as one never interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypedDict

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from avsed.errors import CheckpointError
from avsed.files import replacing

FORMAT = "avsed training 1"
MOMENTS = ("exp_avg", "exp_avg_sq")


class State(TypedDict):
    """What a training changes."""

    student: nn.Module
    teacher: nn.Module
    optimiser: torch.optim.Adam


class Progress(NamedTuple):
    """How far a training is: whole steps done, and seconds spent on them."""

    step: int
    seconds: float


def save_checkpoint(
    path: Path, progress: Progress, *, student: nn.Module, teacher: nn.Module, optimiser: torch.optim.Adam
) -> None:
    """Write the state after ``progress.step`` steps.

    Raises CheckpointError, naming the file, if it cannot be written.
    """
    tensors = {f"student.{name}": value for name, value in student.state_dict().items()}
    tensors |= {f"teacher.{name}": value for name, value in teacher.state_dict().items()}
    for name, parameter in student.named_parameters():
        state = optimiser.state.get(parameter, {})
        tensors |= {f"{moment}.{name}": state[moment] for moment in MOMENTS if state}
    about = {"format": FORMAT, "step": str(progress.step), "seconds": repr(progress.seconds)}
    try:
        with replacing(path) as temporary:
            save_file(
                {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary, metadata=about
            )
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be written: {error}; make room there and run the same again") from error


def load_checkpoint(path: Path, *, student: nn.Module, teacher: nn.Module, optimiser: torch.optim.Adam) -> Progress:
    """Put the networks and the optimiser into the state that `save_checkpoint` wrote.

    Raises CheckpointError, naming the file, if it is damaged, of another kind or of another network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint: {error}; delete it to start anew") from error
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of a training (found format {about.get('format')!r})")
    step = int(about["step"])
    try:
        for prefix, network in (("student.", student), ("teacher.", teacher)):
            network.load_state_dict({n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)})
        state = optimiser.state_dict()
        for index, (name, parameter) in enumerate(student.named_parameters()):
            if step:
                # In the parameter's own memory layout, channels last: a fused Adam goes through memory in its order.
                like = torch.empty_like(parameter, requires_grad=False)
                moments = {moment: like.clone().copy_(tensors[f"{moment}.{name}"]) for moment in MOMENTS}
                state["state"][index] = {"step": torch.tensor(float(step)), **moments}
        optimiser.load_state_dict(state)
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{path}: the checkpoint is of another network: {error}") from error
    return Progress(step, float(about["seconds"]))
