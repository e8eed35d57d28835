"""Feature sequences: rows and their times, and what does not fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from avsed.features.sequence import FeatureSequence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((3, 2))}, "got float64 (3, 2)"),
        ({"values": np.zeros(3, np.float32)}, "got float32 (3,)"),
        ({"values": np.zeros((0, 2), np.float32), "times": np.zeros(0)}, "at least one row"),
        ({"times": np.arange(4.0)}, "need float64 times of shape (3,), got float64 (4,)"),
        ({"times": np.arange(3)}, "got int64 (3,)"),
        ({"times": np.array([0.0, 2.0, 2.0])}, "rows 1 and 2 are at 2.0 and 2.0 s"),
        ({"times": np.array([0.0, np.nan, 2.0])}, "row 1 has none"),
        ({"stop": -1.0}, "begin 0.0 s and stop -1.0 s"),
        ({"stop": float("nan")}, "stop nan s"),
    ],
)
def test_sequences_refuse_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    import re

    good: dict[str, Any] = {"values": np.zeros((3, 2), np.float32), "times": np.arange(3.0), "begin": 0.0, "stop": 3.0}
    FeatureSequence(**good)
    with pytest.raises(ValueError, match=re.escape(message)):
        FeatureSequence(**(good | change))


def test_regular_sequences_have_exact_times() -> None:
    spacing = SimpleNamespace(rate=10, hop=2)
    sequence = FeatureSequence.regular(np.zeros((4, 1), np.float16), spacing, begin=0.5, duration=0.7)
    np.testing.assert_allclose(sequence.times, [0.5, 0.7, 0.9, 1.1])
    assert (sequence.begin, sequence.stop) == (0.5, 1.2)
