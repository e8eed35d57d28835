"""What can be chosen about a training; nothing here imports PyTorch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from avsed.sections import Section, Size

PAPER_STEPS = 50_000


class ShiftConfig(Section):
    """Each clip moved in time, all its streams and targets alike."""

    frames: int = Field(24, ge=1, description="by up to so many of the model's frames, either way")
    edges: Literal["circular", "zero"] = Field(
        "circular",
        description="what leaves the clip at one end comes in at the other, or zeros (each band's mean) come in",
    )


class MixupConfig(Section):
    """Each clip mixed with another of its part of the batch: weak, strong or unlabelled."""

    probability: float = Field(0.5, gt=0, le=1, description="share of the clips that are mixed")
    alpha: float = Field(0.2, gt=0, description="shares of the two are drawn from Beta(alpha, alpha)")
    tags: Literal["convex", "max"] = Field(
        "convex", description="labels of the mix: as the clips are mixed, or all that either clip has"
    )


class MasksConfig(Section):
    """Stretches of time and of frequency set to zero, each band's mean."""

    times: int = Field(1, ge=0, description="masks over time")
    time: int = Field(15, ge=1, description="of up to so many of the model's frames, at most half of the clip")
    bands: int = Field(1, ge=0, description="masks over mel bands")
    band: int = Field(16, ge=1, description="of up to so many bands, at most half of them")


class FiltersConfig(Section):
    """A random gain for each of some stretches of the mel bands."""

    kind: Literal["step", "linear"] = Field(
        "step", description="one gain a stretch, or gains at the stretches' edges with straight lines between them"
    )
    bands: tuple[Size, Size] = Field((2, 5), description="fewest and most stretches")
    width: int = Field(4, ge=1, description="fewest mel bands in a stretch")
    gain: float = Field(6.0, gt=0, le=60, description="gains lie between minus and plus so many dB")

    @model_validator(mode="after")
    def _fits(self) -> FiltersConfig:
        if self.bands[0] > self.bands[1]:
            raise ValueError(f"bands are the fewest and the most stretches, got {self.bands[0]} and {self.bands[1]}")
        return self


class AugmentationConfig(Section):
    """What is done to a batch before the networks see it; null for nothing; see `avsed.training.augmentation`."""

    shift: ShiftConfig | None = Field(None, description="frame shift, seen by both networks")
    mixup: MixupConfig | None = Field(None, description="mixup, seen by both networks")
    filters: FiltersConfig | None = Field(None, description="FilterAugment, of spectra alone")
    masks: MasksConfig | None = Field(None, description="SpecAugment, of spectra alone")
    teacher: Literal["same", "own", "plain"] = Field(
        "same", description="filters and masks of the teacher: the student's, others, or none"
    )


class TrainingConfig(Section):
    """Mean teacher training (paper, Sections 2.3 and 4.3).

    Where ``ramp``, ``decay`` or ``average`` are null, they keep the paper's proportions for other numbers of steps S:
    ramp S / 4, decay 0.99995^(50000 / S), average 0.999^(50000 / S).
    """

    steps: int = Field(PAPER_STEPS, ge=1, description="training steps")
    weak_batch: int = Field(24, ge=1, description="weakly labelled clips in a step")
    strong_batch: int = Field(0, ge=0, description="clips with events in a step, of the split data.strong")
    unlabelled_batch: int = Field(24, ge=0, description="unlabelled clips in a step")
    learning_rate: float = Field(0.001, gt=0, description="highest learning rate of Adam")
    ramp: int | None = Field(None, ge=0, description="steps of the learning rate's ramp")
    decay: float | None = Field(None, gt=0, le=1, description="factor on the learning rate at each step after the ramp")
    average: float | None = Field(None, ge=0, lt=1, description="decay of the teacher's moving average at each step")
    strong_weight: float = Field(1.0, ge=0, description="weight of the frames' cross-entropy in clips with events")
    clip_consistency: float = Field(2.0, ge=0, description="weight of the squared difference of clip probabilities")
    frame_consistency: float = Field(2.0, ge=0, description="weight of the squared difference of frame probabilities")
    augmentation: AugmentationConfig = AugmentationConfig()
    validations: int = Field(10, ge=0, description="how often the student is scored on validation clips on the way")
    checkpoint_minutes: float = Field(2.0, ge=0, description="minutes between two checkpoints")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32",
        description="arithmetic: single; on a GPU with 10-bit mantissas in products; mixed with bf16 (on a CPU in convolutions alone)",
    )
    fused: bool = Field(
        True,
        description="training on a CPU: compiled convolution blocks (of model.convolution paper) and GRU instead of PyTorch's own",
    )
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
