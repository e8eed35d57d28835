"""The learning rate at each step (paper, Section 4.3): an exponential ramp up, then an exponential decay."""

from __future__ import annotations

import math

from avsed.config import TrainingConfig


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Learning rate of step ``step`` (0, 1, …, steps − 1).

    ``peak · exp(−5 (1 − step / ramp)²)`` during the ramp, then ``peak · decay^(step − ramp)``.
    """
    ramp = config.ramp_steps
    if step < ramp:
        return config.learning_rate * math.exp(-5.0 * (1.0 - step / ramp) ** 2)
    return config.learning_rate * config.step_decay ** (step - ramp)
