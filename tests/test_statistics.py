"""Ranking scores against scikit-learn, and what resampling must give: the numbers themselves, and intervals that hold."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score

from avsed.annotations import Event, Events
from avsed.metrics import clip_based, event_based, segment_based
from avsed.metrics.ranking import Ranking, d_prime, rank_tags
from avsed.metrics.resampling import difference, draws, interval, mean_of_trainings, measured, resample

CLASSES = ("a", "b", "c")


def ranking(tags: np.ndarray, probabilities: np.ndarray) -> Ranking:
    clips = [f"{number}.wav" for number in range(len(tags))]
    reference = {clip: {CLASSES[c] for c in np.flatnonzero(own)} for clip, own in zip(clips, tags, strict=True)}
    return rank_tags(reference, dict(zip(clips, probabilities, strict=True)), labels=CLASSES[: tags.shape[1]])


@given(
    hnp.arrays(bool, (9, 2)),
    hnp.arrays(np.int64, (9, 2), elements=st.integers(0, 4)),
    hnp.arrays(np.int64, 9, elements=st.integers(0, 3)),
)
def test_ranking_scores_are_scikit_learns_for_any_weights(
    tags: np.ndarray, levels: np.ndarray, weights: np.ndarray
) -> None:
    found = ranking(tags, levels / 4).resampled(weights[None])
    for column in range(2):
        held, said = np.repeat(tags[:, column], weights), np.repeat(levels[:, column], weights)
        if held.any():
            assert found["class_ap"][0, column] == pytest.approx(average_precision_score(held, said), abs=1e-12)
        else:
            assert np.isnan(found["class_ap"][0, column])
        if held.any() and not held.all():
            assert found["class_auroc"][0, column] == pytest.approx(roc_auc_score(held, said), abs=1e-12)
        else:
            assert np.isnan(found["class_auroc"][0, column])
    held, said = np.repeat(tags, weights, axis=0).ravel(), np.repeat(levels, weights, axis=0).ravel()
    if held.any():
        assert found["micro_ap"][0] == pytest.approx(average_precision_score(held, said), abs=1e-12)
    with np.errstate(invalid="ignore"):
        known = found["class_ap"][0][~np.isnan(found["class_ap"][0])]
    assert found["map"][0] == pytest.approx(known.mean() if len(known) else np.nan, nan_ok=True)


def test_d_prime() -> None:
    assert d_prime(np.array([0.5, 0.0, 1.0])).tolist() == [0.0, -np.inf, np.inf]
    assert d_prime(np.array(0.9)) == pytest.approx(np.sqrt(2) * NormalDist().inv_cdf(0.9))
    assert np.isnan(d_prime(np.array(np.nan)))


def systems() -> tuple[Events, Events, Events]:
    """A reference, a good system and a bad one, on 60 clips."""
    random = np.random.default_rng(0)
    reference: Events = {}
    good: Events = {}
    bad: Events = {}
    for number in range(60):
        clip = f"{number:02d}.wav"
        own = [Event(float(on), float(on) + 1.5, CLASSES[random.integers(3)]) for on in random.uniform(0, 8, 2)]
        reference[clip] = own
        good[clip] = [event for event in own if random.random() < 0.8]
        bad[clip] = [event._replace(onset=event.onset + random.choice([0.0, 0.5])) for event in good[clip]]
    return reference, good, bad


def compare(reference: Events, estimated: Events) -> list:
    options = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_rate": 0.2}
    tags = [{clip: {event.label for event in own} for clip, own in events.items()} for events in (reference, estimated)]
    return [
        event_based(reference, estimated, labels=CLASSES, **options),
        segment_based(reference, estimated, labels=CLASSES, resolution=1.0),
        clip_based(*tags, labels=CLASSES),
    ]


def test_each_clip_once_gives_the_result_itself() -> None:
    reference, good, _ = systems()
    for result in compare(reference, good):
        found = measured(result)
        for name in ("f1", "precision", "recall", "error_rate", "deletion_rate", "insertion_rate"):
            assert found[f"micro_{name}"] == getattr(result.micro, name)
            assert found[f"macro_{name}"] == getattr(result.macro, name)
            assert found[f"class_{name}"].tolist() == [getattr(result.classes[label], name) for label in CLASSES]
        assert found["micro_substitution_rate"] == result.micro.substitution_rate


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_clip_that_counts_twice_is_a_clip_that_stands_twice(which: int) -> None:
    reference, good, _ = systems()
    weights = np.array([[number % 3 for number in range(len(reference))]])
    repeated = [
        {
            f"{clip}-{copy}": own
            for (clip, own), many in zip(events.items(), weights[0], strict=True)
            for copy in range(many)
        }
        for events in (reference, {clip: good[clip] for clip in reference})
    ]
    found = compare(reference, good)[which].resampled(weights)
    expected = measured(compare(*repeated)[which])
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values[0], expected[name], rtol=1e-12)


def test_draws_are_of_as_many_clips_as_there_are_and_the_same_again() -> None:
    one, other = (np.concatenate(list(draws(7, 250, seed=3))) for _ in range(2))
    assert one.shape == (250, 7)
    assert (one.sum(axis=1) == 7).all()
    assert one.mean() == pytest.approx(1.0)
    assert (one == other).all()
    assert (one != np.concatenate(list(draws(7, 250, seed=4)))).any()


def test_nine_of_ten_intervals_hold_the_true_share() -> None:
    """The share of correct clips of many small samples from a known share."""
    random = np.random.default_rng(1)
    inside = 0
    for sample in range(200):
        right = random.random(60) < 0.7
        held = {str(number): {"a"} for number in range(60)}
        said = {clip: {"a"} if hit else set() for clip, hit in zip(held, right, strict=True)}
        result = clip_based(held, said, labels=["a"])
        (found,) = resample([result], resamples=300, seed=sample)
        own = interval(result.micro.recall, found["micro_recall"], confidence=0.9)
        assert own.low <= own.value <= own.high
        inside += own.low <= 0.7 <= own.high
    assert 165 <= inside <= 195


def test_systems_that_differ_are_told_apart_and_equal_ones_are_not() -> None:
    reference, good, bad = systems()
    metrics = [compare(reference, good)[0], compare(reference, bad)[0], compare(reference, good)[0]]
    a, b, same = resample(metrics, resamples=500, seed=0)
    values = [measured(metric)["micro_f1"] for metric in metrics]
    worse = difference(values[0], values[1], a["micro_f1"], b["micro_f1"])
    assert worse.value < worse.high < 0
    assert worse.p == pytest.approx(2 / 501)
    equal = difference(values[0], values[2], a["micro_f1"], same["micro_f1"])
    assert (equal.value, equal.low, equal.high, equal.p) == (0.0, 0.0, 0.0, 1.0)


def test_numbers_that_are_not_defined_have_no_interval() -> None:
    nothing = interval(np.nan, np.full(5, np.nan))
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()
    assert nothing.resamples == 0
    some = interval(0.5, np.array([0.4, np.nan, 0.6]))
    assert (some.low, some.high, some.resamples) == (0.4, 0.6, 2)


def test_the_mean_of_trainings_spreads_over_trainings_too() -> None:
    alike = mean_of_trainings([np.full(400, 0.5), np.full(400, 0.5)], seed=0)
    apart = mean_of_trainings([np.full(400, 0.4), np.full(400, 0.6)], seed=0)
    assert set(alike.tolist()) == {0.5}
    assert set(np.round(apart, 6).tolist()) == {0.4, 0.5, 0.6}


def test_only_metrics_of_the_same_clips_are_resampled_together() -> None:
    reference, good, _ = systems()
    fewer = dict(list(reference.items())[:50])
    with pytest.raises(ValueError, match="same clips"):
        resample([compare(reference, good)[0], compare(fewer, fewer)[0]], resamples=10, seed=0)
