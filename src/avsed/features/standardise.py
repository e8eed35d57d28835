"""Zero mean and unit deviation of each feature band, with numbers taken once from the training clips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from avsed.features.sequence import FeatureSequence

CONSTANT = 1e-3
"""Bands that deviate less than this over all clips say nothing; they are centred but not blown up to unit deviation."""


@dataclass(frozen=True, eq=False)
class Standardiser:
    """Subtracts each band's mean and divides by its deviation.

    mean, deviation : float32 (dims,), finite, deviation > 0

    Raises ValueError, naming shapes or bands, if they are otherwise.
    """

    mean: np.ndarray
    deviation: np.ndarray

    def __post_init__(self) -> None:
        for name, value in (("mean", self.mean), ("deviation", self.deviation)):
            if value.ndim != 1 or value.dtype != np.float32:
                raise ValueError(f"a standardiser's {name} must be float32 (dims,), got {value.dtype} {value.shape}")
        if self.mean.shape != self.deviation.shape:
            raise ValueError(f"mean {self.mean.shape} and deviation {self.deviation.shape} must have the same shape")
        usable = np.isfinite(self.mean) & np.isfinite(self.deviation) & (self.deviation > 0)
        if not usable.all():
            raise ValueError(
                f"mean and deviation must be finite and deviation > 0, not so in bands {np.flatnonzero(~usable)}"
            )

    @classmethod
    def fit(cls, sequences: Iterable[FeatureSequence]) -> Standardiser:
        """Mean and deviation of each band over all rows of all sequences, which are read one at a time.

        Every row counts once (a longer clip weighs more); rows are real frames only. Sums are kept in float64 and
        merged by the update of Chan, Golub and LeVeque (1979), which does not cancel where the mean is large. A band
        whose deviation is below `CONSTANT` gets deviation 1.

        Raises ValueError if there is no sequence, if their dims differ, or if one holds a value that is not finite.
        """
        count, mean, squares = 0, np.zeros(0), np.zeros(0)
        for number, sequence in enumerate(sequences):
            values = sequence.values.astype(np.float64)
            if count and values.shape[1:] != mean.shape:
                raise ValueError(f"sequence {number} has {values.shape[1]} dims, those before it have {len(mean)}")
            if not np.isfinite(values).all():
                raise ValueError(f"sequence {number} holds values that are not finite")
            rows, centre = len(values), values.mean(0)
            if not count:
                mean, squares = np.zeros_like(centre), np.zeros_like(centre)
            shift = centre - mean
            squares += np.square(values - centre).sum(0) + np.square(shift) * (count * rows / (count + rows))
            mean += shift * (rows / (count + rows))
            count += rows
        if not count:
            raise ValueError("a standardiser needs at least one feature sequence")
        deviation = np.sqrt(squares / count)
        deviation[deviation < CONSTANT] = 1.0
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    @property
    def dims(self) -> int:
        """Number of bands."""
        return len(self.mean)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Standardised features.

        values : float (..., dims)
        Returns a new float32 array of the same shape.
        """
        if values.shape[-1:] != self.mean.shape:
            raise ValueError(f"expected features of {self.dims} dims, got shape {values.shape}")
        standardised = np.subtract(values, self.mean, dtype=np.float32)
        standardised /= self.deviation
        return standardised
