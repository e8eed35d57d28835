"""Feature rows and their times, and what an extractor must offer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from avsed.features.options import Modality
    from avsed.media import Audio


@dataclass(frozen=True, eq=False)
class FeatureSequence:
    """Rows of features together with the times at which they stand.

    ::

        seconds   begin                                   stop
                    |---------------------------------------|
        rows        0         1         2         3         4      times[i] is the centre of row i

    values : float32 or float16 (rows, dims), rows >= 1
    times : float64 (rows,), centre of each row in seconds from the beginning of the recording, strictly increasing
    begin, stop : seconds at which the stream it was taken from begins and ends, [begin, stop)

    Raises ValueError, naming the offending shape, type or value.
    """

    values: np.ndarray
    times: np.ndarray
    begin: float
    stop: float

    def __post_init__(self) -> None:
        values, times = self.values, self.times
        if values.ndim != 2 or values.shape[0] < 1 or values.dtype not in (np.float32, np.float16):
            raise ValueError(
                "feature values must be float32 or float16 (rows, dims) with at least one row, "
                f"got {values.dtype} {values.shape}"
            )
        if times.shape != values.shape[:1] or times.dtype != np.float64:
            raise ValueError(
                f"{values.shape[0]} feature rows need float64 times of shape {values.shape[:1]}, "
                f"got {times.dtype} {times.shape}"
            )
        if not np.isfinite(times).all():
            raise ValueError(f"feature times must be finite, but row {int(np.argmin(np.isfinite(times)))} has none")
        if not (steps := np.diff(times) > 0).all():
            row = int(np.argmin(steps))
            raise ValueError(
                f"feature times must increase, but rows {row} and {row + 1} are at {times[row]} and {times[row + 1]} s"
            )
        if not self.stop >= self.begin:
            raise ValueError(f"features need stop >= begin, got begin {self.begin} s and stop {self.stop} s")

    @classmethod
    def regular(cls, values: np.ndarray, spacing: Spacing, *, begin: float, duration: float) -> FeatureSequence:
        """Rows of a centred transform: row i is centred on sample ``i * hop`` of a stream that starts at ``begin``.

        values : float32 or float16 (rows, dims)
        spacing : whatever has the ``rate`` and the ``hop`` of the transform, such as `LogMelParameters`
        begin, duration : seconds; where the stream begins and how long it is
        """
        return cls(values, row_times(len(values), spacing, begin), begin, begin + duration)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.values)

    def load(self) -> FeatureSequence:
        """Itself, so that it can stand where a stored one can."""
        return self

    @property
    def duration(self) -> float:
        """Seconds from the beginning to the end of the stream that the features were taken from."""
        return self.stop - self.begin


def row_times(rows: int, spacing: Spacing, begin: float) -> np.ndarray:
    """float64 (rows,), seconds: centres of the rows of a centred transform of a stream that starts at ``begin``."""
    return begin + np.arange(rows) * (spacing.hop / spacing.rate)


class Spacing(Protocol):
    """The time step of a centred transform: ``hop`` samples at ``rate`` samples per second."""

    @property
    def rate(self) -> int: ...

    @property
    def hop(self) -> int: ...


class Described(Protocol):
    """What every extractor says of itself; a small frozen object that worker processes can be handed.

    name, version : which extractor, and a number that rises whenever its results change
    modality : the stream of a recording that it takes
    parameters : everything else that shapes the results, as JSON values
    key : name, version and a hash of the parameters (`extractor_key`); the store's folder
    dims : features in a row
    period : seconds from one row to the next
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def modality(self) -> Modality: ...

    @property
    def parameters(self) -> dict[str, Any]: ...

    @property
    def key(self) -> str: ...

    @property
    def dims(self) -> int: ...

    @property
    def period(self) -> float: ...


class Extractor(Described, Protocol):
    """Turns the sound of a recording into features without a network (one with a network: `avsed.features.pretrained`).

    rate : samples per second of the sound it wants
    """

    @property
    def rate(self) -> int: ...

    def extract(self, audio: Audio) -> FeatureSequence:
        """Features of a whole recording; ValueError says why there are none."""
        ...


def extractor_key(name: str, version: int, parameters: dict[str, Any]) -> str:
    """A folder name that differs as soon as anything that shapes the features does: ``logmel-1-0f3a5b7c9d1e2f40``."""
    described = json.dumps(parameters, sort_keys=True, allow_nan=False)
    return f"{name}-{version}-{hashlib.sha256(described.encode()).hexdigest()[:16]}"
