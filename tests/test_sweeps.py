"""Metrics at all thresholds at once: at each threshold what the metrics of event lists say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn import LABELS, LEVELS, boxes, references
from hypothesis import given, settings
from hypothesis import strategies as st

from avsed.annotations import Event, Events
from avsed.errors import AnnotationError, ScoresError
from avsed.metrics import (
    Candidates,
    Sweeps,
    candidates_of_boxes,
    candidates_of_events,
    candidates_of_points,
    candidates_of_scores,
    clip_based,
    clip_sweep,
    curves_of_scores,
    event_based,
    event_sweep,
    intersection_based,
    intersection_sweep,
    segment_based,
    segment_sweep,
)
from avsed.postprocessing import events_from_decisions
from avsed.scores import Scores

COLLARS = [
    {"onset_collar": 0.25, "offset_collar": 0.25, "offset_rate": 0.25},
    {"onset_collar": 0.5, "offset_collar": 0.25, "offset_rate": 0.5, "offset_tolerance": "min"},
    {"onset_collar": 0.5, "offset_collar": None, "offset_rate": 0.0},
    {"onset_collar": None, "offset_collar": 1.0, "offset_rate": 0.0},
]
THRESHOLDS = [2.0, *LEVELS.tolist(), 0.3, 0.6, -1.0]


@st.composite
def some_scores(draw: st.DrawFn) -> list[Scores]:
    found = []
    for clip in draw(st.sampled_from([["a"], ["a", "b"], ["c", "a", "b"]])):
        count = draw(st.integers(0, 12))
        values = draw(st.lists(st.sampled_from(LEVELS), min_size=3 * count, max_size=3 * count))
        widths = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=count, max_size=count))
        boundaries = np.concatenate([[0.0], np.cumsum(widths)])
        tags = np.array(draw(st.lists(st.sampled_from(LEVELS), min_size=3, max_size=3)), np.float32)
        found.append(Scores(clip, LABELS, np.array(values, np.float32).reshape(count, 3), boundaries, tags))
    return found


def assert_same_counts(sweeps: Sweeps, threshold: float, result: Any) -> None:
    found = sweeps.at(threshold)
    for name in ("reference", "estimated", "correct"):
        assert getattr(found, name).tolist() == getattr(result.counts, name).tolist(), (name, threshold)


def all_sweeps(said: Any, reference: Events, durations: dict[str, float] | None) -> list[tuple[Sweeps, Any]]:
    """Each sweep with the metric of event lists whose counts it must give."""
    pairs: list[tuple[Sweeps, Any]] = []
    for collars in COLLARS:
        pairs.append(
            (
                event_sweep(said, reference, labels=LABELS, **collars),
                lambda estimated, collars=collars: event_based(reference, estimated, labels=LABELS, **collars),
            )
        )
    for resolution in (1.0, 0.3):
        own = {"labels": LABELS, "resolution": resolution, "durations": durations}
        pairs.append(
            (
                segment_sweep(said, reference, **own),
                lambda estimated, own=own: segment_based(reference, estimated, **own),
            )
        )
    for dtc, gtc in ((0.5, 0.5), (0.7, 0.3), (1.0, 1.0)):
        shares = {"labels": LABELS, "dtc": dtc, "gtc": gtc}
        pairs.append(
            (
                intersection_sweep(said, reference, **shares),
                lambda estimated, shares=shares: intersection_based(reference, estimated, **shares),
            )
        )
    return pairs


@settings(deadline=None, max_examples=30)
@given(some_scores(), references, st.sampled_from([None, {"a": 2.0, "b": 3.1, "c": 0.0}]))
def test_a_sweep_of_scores_counts_at_every_threshold_what_the_events_there_give(
    scores: list[Scores], reference: Events, durations: dict[str, float] | None
) -> None:
    said = candidates_of_scores(scores, clips=tuple(reference), labels=LABELS)
    pairs = all_sweeps(said, reference, durations)
    for threshold in THRESHOLDS:
        estimated = {s.clip: events_from_decisions(s.frames >= threshold, s.boundaries, s.classes) for s in scores}
        for sweeps, metric in pairs:
            assert_same_counts(sweeps, threshold, metric(estimated))


@settings(deadline=None, max_examples=30)
@given(boxes, references)
def test_a_sweep_of_boxes_counts_at_every_threshold_what_the_boxes_there_give(
    said: dict[str, list[tuple[Event, float]]], reference: Events
) -> None:
    candidates = candidates_of_boxes(said, clips=tuple(reference), labels=LABELS)
    pairs = all_sweeps(candidates, reference, None)
    for threshold in THRESHOLDS:
        estimated = {clip: [event for event, own in rows if own >= threshold] for clip, rows in said.items()}
        for sweeps, metric in pairs:
            assert_same_counts(sweeps, threshold, metric(estimated))


@settings(deadline=None, max_examples=30)
@given(boxes, boxes, references)
def test_operating_points_count_what_each_list_gives(first: Any, second: Any, reference: Events) -> None:
    lists = [{clip: [event for event, _ in rows] for clip, rows in own.items()} for own in (first, second)]
    points = list(zip((0.25, 0.75), lists, strict=True))
    candidates = candidates_of_points(points, clips=tuple(reference), labels=LABELS)
    for sweeps, metric in all_sweeps(candidates, reference, None):
        for threshold, estimated in ((0.8, {}), (0.75, lists[1]), (0.5, lists[1]), (0.25, lists[0]), (0.0, lists[0])):
            assert_same_counts(sweeps, threshold, metric(estimated))


@settings(deadline=None, max_examples=30)
@given(some_scores(), references)
def test_a_sweep_of_clip_scores_counts_what_the_tags_there_give(scores: list[Scores], reference: Events) -> None:
    tags = {clip: frozenset(event.label for event in own) for clip, own in reference.items()}
    sweeps = clip_sweep(scores, tags, labels=LABELS)
    for threshold in THRESHOLDS:
        said = {s.clip: frozenset(np.array(LABELS)[s.tags >= threshold].tolist()) for s in scores}
        assert_same_counts(sweeps, threshold, clip_based(tags, said, labels=LABELS))


@settings(deadline=None, max_examples=40)
@given(some_scores(), references, st.integers(0, 2**32 - 1))
def test_a_resample_scores_as_clips_that_are_written_down_as_often(
    scores: list[Scores], reference: Events, seed: int
) -> None:
    clips = tuple(reference)
    weights = np.random.default_rng(seed).multinomial(3, [1 / 3] * 3, 4)
    weights = np.concatenate([np.ones((1, 3), np.int64), weights])
    said = candidates_of_scores(scores, clips=clips, labels=LABELS)
    sweeps = intersection_sweep(said, reference, labels=LABELS, dtc=0.5, gtc=0.5)
    found = sweeps.resampled(weights)
    best = sweeps.best()
    for name in ("f1", "precision", "recall"):
        assert np.array_equal(
            found[f"class_{name}"][0], [getattr(best[label], name) for label in LABELS], equal_nan=True
        )
    by_clip = {s.clip: s for s in scores}
    for row, weight in enumerate(weights):
        drawn = [(clip, f"{clip}{n}") for clip, times in zip(clips, weight, strict=True) for n in range(times)]
        again = [
            Scores(new, LABELS, own.frames, own.boundaries, own.tags)
            for clip, new in drawn
            if (own := by_clip.get(clip)) is not None
        ]
        held = {new: reference[clip] for clip, new in drawn}
        other = intersection_sweep(
            candidates_of_scores(again, clips=tuple(held), labels=LABELS), held, labels=LABELS, dtc=0.5, gtc=0.5
        ).resampled(np.ones((1, 3), np.int64))
        for name, values in other.items():
            assert np.array_equal(values[0], found[name][row], equal_nan=True), name


@settings(deadline=None, max_examples=40)
@given(some_scores(), references)
def test_the_best_f1_is_the_greatest_and_its_threshold_reaches_it(scores: list[Scores], reference: Events) -> None:
    said = candidates_of_scores(scores, clips=tuple(reference), labels=LABELS)
    sweeps = event_sweep(said, reference, labels=LABELS, **COLLARS[0])
    for label, best in sweeps.best().items():
        if best.reference == 0:
            assert np.isnan(best.f1) and np.isnan(best.threshold)
            continue
        correct, estimated = (counts.sum() for counts in sweeps[label].at(best.threshold))
        assert (correct, estimated) == (best.correct, best.estimated)
        each = {}
        for threshold in THRESHOLDS:
            estimate = {s.clip: events_from_decisions(s.frames >= threshold, s.boundaries, s.classes) for s in scores}
            each[threshold] = event_based(reference, estimate, labels=LABELS, **COLLARS[0]).classes[label].f1
        assert best.f1 == pytest.approx(max(each.values()), abs=1e-12)
        curve = sweeps[label].curve()
        assert max(curve.f1, default=0.0) == pytest.approx(best.f1, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(some_scores())
def test_curves_in_blocks_of_classes_and_pieces_of_clips_say_the_same(scores: list[Scores]) -> None:
    whole = candidates_of_scores(scores, clips=("a", "b", "c"), labels=LABELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avsed.metrics.candidates.PIECE", 5)
        for block in (1, 2):
            curves = curves_of_scores(scores, clips=("a", "b", "c"), labels=LABELS, block=block)
            for one, other in zip(whole, curves, strict=True):
                again = other.candidates()
                assert all(np.array_equal(x, y) for x, y in zip(vars(one).values(), vars(again).values(), strict=True))


def test_a_whole_result_can_be_resampled() -> None:
    reference = {"a": [Event(0, 1, "Cat")], "b": [Event(0, 1, "Dog")], "c": []}
    estimated = {"a": [Event(0, 1, "Cat")], "b": [Event(0, 1, "Cat")]}
    result = event_based(reference, estimated, labels=LABELS, **COLLARS[0])
    found = result.resampled(np.array([[1, 1, 1], [2, 0, 1], [0, 2, 1]]))
    assert found["micro_f1"].tolist() == [result.micro.f1, 1.0, 0.0]
    assert found["macro_f1"].tolist() == [result.macro.f1, 1.0, 0.0]
    assert found["micro_error_rate"].tolist() == [0.5, 0.0, 1.0]  # Cat for Dog is one substitution
    assert np.isnan(found["class_f1"]).tolist() == [[False, False, True], [False, True, True], [True, False, True]]


def test_a_long_recording_takes_no_longer_than_its_frames() -> None:
    frames = np.linspace(0, 1, 200_000, dtype=np.float32)[:, None]  # every frame a longer event than the one before
    scores = [Scores("a", ("Dog",), frames, np.arange(200_001) / 50, frames[0])]
    said = candidates_of_scores(scores, clips=("a",), labels=("Dog",))
    reference = {"a": [Event(float(k), k + 0.9, "Dog") for k in range(4000)]}
    assert len(said[0].clip) == 200_000
    sweeps = event_sweep(said, reference, labels=("Dog",), **COLLARS[0])
    assert sweeps.at(0.0).estimated.tolist() == [[1]]


def test_what_is_wrong_is_named() -> None:
    frames = np.zeros((1, 1), np.float32)
    one = Scores("a", ("Dog",), frames, np.array([0.0, 1.0]), frames[0])
    with pytest.raises(AnnotationError, match="1 of 1 clips of the estimate are not in the reference, such as 'a'"):
        candidates_of_scores([one], clips=("b",), labels=("Dog",))
    with pytest.raises(ScoresError, match="a: scores are given twice"):
        candidates_of_scores([one, one], clips=("a",), labels=("Dog",))
    with pytest.raises(ScoresError, match=r"a: no scores of class 'Dogs' .did you mean 'Dog'"):
        candidates_of_scores([one], clips=("a",), labels=("Dogs",))
    with pytest.raises(ScoresError, match="iterable more than once"):
        list(curves_of_scores(iter([one]), clips=("a",), labels=("Dog", "Cat"), block=1))
    said = candidates_of_events({"a": []}, clips=("a",), labels=("Dog",))
    with pytest.raises(ValueError, match="once for each of the 2 labels"):
        event_sweep(said, {"a": []}, labels=("Dog", "Cat"), **COLLARS[0])
    with pytest.raises(ValueError, match="dtc is a share"):
        intersection_sweep(said, {"a": []}, labels=("Dog",), dtc=70, gtc=0.5)
    with pytest.raises(ValueError, match="low must be below its high"):
        Candidates(np.zeros(1, np.int64), np.zeros(1), np.ones(1), np.ones(1), np.ones(1))
    sweeps = intersection_sweep(said, {"a": []}, labels=("Dog",), dtc=0.5, gtc=0.5)
    with pytest.raises(ValueError, match=r"weights must be integers \(resamples, 1 clips\)"):
        sweeps.resampled(np.ones((2, 3), np.int64))
