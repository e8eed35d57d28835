"""What can be chosen about a training; nothing here imports PyTorch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from avsed.sections import Section

PAPER_STEPS = 50_000


class TrainingConfig(Section):
    """Mean teacher training (paper, Sections 2.3 and 4.3).

    Where ``ramp``, ``decay`` or ``average`` are null, they keep the paper's proportions for other numbers of steps S:
    ramp S / 4, decay 0.99995^(50000 / S), average 0.999^(50000 / S).
    """

    steps: int = Field(PAPER_STEPS, ge=1, description="training steps")
    weak_batch: int = Field(24, ge=1, description="weakly labelled clips in a step")
    unlabelled_batch: int = Field(24, ge=0, description="unlabelled clips in a step")
    learning_rate: float = Field(0.001, gt=0, description="highest learning rate of Adam")
    ramp: int | None = Field(None, ge=0, description="steps of the learning rate's ramp")
    decay: float | None = Field(None, gt=0, le=1, description="factor on the learning rate at each step after the ramp")
    average: float | None = Field(None, ge=0, lt=1, description="decay of the teacher's moving average at each step")
    clip_consistency: float = Field(2.0, ge=0, description="weight of the squared difference of clip probabilities")
    frame_consistency: float = Field(2.0, ge=0, description="weight of the squared difference of frame probabilities")
    validations: int = Field(10, ge=0, description="how often the student is scored on validation clips on the way")
    checkpoint_minutes: float = Field(2.0, ge=0, description="minutes between two checkpoints")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32", description="arithmetic on a GPU: single, single with 10-bit mantissas in products, or mixed with bf16"
    )
    fused: bool = Field(True, description="on a CPU: compiled convolution blocks instead of PyTorch's own layers")
    memory: Literal["auto", "resident", "stream"] = Field(
        "auto", description="keep features on the device, or read each batch from the store; auto: keep what fits"
    )

    @property
    def ramp_steps(self) -> int:
        return self.ramp if self.ramp is not None else self.steps // 4

    @property
    def step_decay(self) -> float:
        return self.decay if self.decay is not None else 0.99995 ** (PAPER_STEPS / self.steps)

    @property
    def step_average(self) -> float:
        return self.average if self.average is not None else 0.999 ** (PAPER_STEPS / self.steps)
