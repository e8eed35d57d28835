"""Standardisation of features: mean 0 and deviation 1 over the training rows, band by band."""

from __future__ import annotations

import numpy as np
import pytest

from avsed.features.sequence import FeatureSequence
from avsed.features.standardise import CONSTANT, Standardiser


def sequences(*lengths: int, dims: int = 5, seed: int = 0) -> list[FeatureSequence]:
    generator = np.random.default_rng(seed)
    scale, offset = generator.uniform(0.1, 9, dims), generator.uniform(-900, 900, dims)
    return [
        FeatureSequence(
            (generator.normal(size=(n, dims)) * scale + offset).astype(np.float32), np.arange(n) * 0.1, 0, n
        )
        for n in lengths
    ]


def test_standardised_training_rows_have_mean_0_and_deviation_1() -> None:
    clips = sequences(1, 604, 30, 200)
    standardiser = Standardiser.fit(iter(clips))
    rows = np.concatenate([clip.values for clip in clips]).astype(np.float64)
    np.testing.assert_allclose(standardiser.mean, rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(standardiser.deviation, rows.std(0), rtol=1e-6)
    applied = np.concatenate([standardiser.apply(clip.values) for clip in clips])
    assert applied.dtype == np.float32 and standardiser.dims == 5
    np.testing.assert_allclose(applied.mean(0), 0, atol=2e-3)  # float32 values of several hundred
    np.testing.assert_allclose(applied.std(0), 1, atol=1e-3)


def test_large_means_do_not_cancel() -> None:
    values = (1e6 + np.tile([[0.0], [0.25]], (500, 1))).astype(np.float32)
    clips = [FeatureSequence(part, np.arange(len(part)) * 1.0, 0, 1) for part in np.split(values, 10)]
    assert Standardiser.fit(clips).deviation == pytest.approx(0.125, rel=1e-6)


def test_a_band_that_says_nothing_is_not_blown_up() -> None:
    clips = sequences(50, 60)
    clips = [FeatureSequence(c.values * np.float32([1, 1, 0, 1, 1]) + 7, c.times, c.begin, c.stop) for c in clips]
    standardiser = Standardiser.fit(clips)
    assert standardiser.deviation[2] == 1.0 and (standardiser.deviation >= CONSTANT).all()
    np.testing.assert_array_equal(standardiser.apply(clips[0].values)[:, 2], 0)


def test_half_precision_features_are_standardised_in_single_precision() -> None:
    standardiser = Standardiser(np.full(3, 0.1, np.float32), np.full(3, 3, np.float32))
    values = np.ones((2, 4, 3), np.float16)
    applied = standardiser.apply(values)
    assert applied.dtype == np.float32 and applied.shape == values.shape and (values == 1).all()
    np.testing.assert_allclose(applied, 0.3, rtol=1e-6)


def test_standardisers_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Standardiser.fit([])
    with pytest.raises(ValueError, match="sequence 1 has 4 dims, those before it have 5"):
        Standardiser.fit(sequences(3) + sequences(3, dims=4))
    broken = sequences(3)
    broken[0].values[1, 1] = np.nan
    with pytest.raises(ValueError, match="sequence 0 holds values that are not finite"):
        Standardiser.fit(broken)
    one = np.ones(2, np.float32)
    with pytest.raises(ValueError, match=r"not so in bands \[1\]"):
        Standardiser(one, np.float32([1, 0]))
    with pytest.raises(ValueError, match=r"\(2,\) and deviation \(3,\)"):
        Standardiser(one, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="float64"):
        Standardiser(one.astype(float), one)
    with pytest.raises(ValueError, match=r"2 dims, got shape \(4, 3\)"):
        Standardiser(one, one).apply(np.zeros((4, 3), np.float32))
