"""Metrics at all thresholds at once: at each threshold what the metrics of event lists say, and what must hold of any sweep."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsed.annotations import Event, Events
from avsed.errors import AnnotationError, ScoresError
from avsed.metrics import (
    SCENARIOS,
    Candidates,
    Psds,
    PsdsParameters,
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
    psds,
    segment_based,
    segment_sweep,
)
from avsed.metrics.counts import fractions
from avsed.postprocessing import events_from_decisions
from avsed.scores import Scores
from avsed.tables import read_durations, read_events

GOLDEN = Path(__file__).parent / "golden"
FACTS = json.loads((GOLDEN / "sweeps.json").read_text())
HELD = [label for label in FACTS["labels"] if label != "Never_there"]
LABELS = ("Cat", "Dog", "Cow")
LEVELS = np.float32([0, 0.125, 0.25, 0.5, 0.75, 1])  # few, so that there are ties and plateaus
COLLARS = [
    {"onset_collar": 0.25, "offset_collar": 0.25, "offset_rate": 0.25},
    {"onset_collar": 0.5, "offset_collar": 0.25, "offset_rate": 0.5, "offset_tolerance": "min"},
    {"onset_collar": 0.5, "offset_collar": None, "offset_rate": 0.0},
    {"onset_collar": None, "offset_collar": 1.0, "offset_rate": 0.0},
]


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


quarters = st.integers(0, 14).map(lambda n: n / 4)
events = st.builds(
    lambda onset, length, label: Event(onset, onset + length, label),
    quarters,
    st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    st.sampled_from(LABELS[:2]),  # the reference lacks a class
)
references = st.fixed_dictionaries({clip: st.lists(events, max_size=5) for clip in "abc"})
boxes = st.dictionaries(
    st.sampled_from("abc"), st.lists(st.tuples(events, st.sampled_from(LEVELS.tolist())), max_size=8)
)
THRESHOLDS = [2.0, *LEVELS.tolist(), 0.3, 0.6, -1.0]


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


def test_overlapping_events_of_one_class_cover_a_stretch_of_time_once() -> None:
    reference = {"a": [Event(0.0, 4.0, "Dog")]}
    twice = {"a": [Event(0.0, 1.5, "Dog"), Event(0.0, 1.5, "Dog")]}  # 3 s together, but 1.5 s of the event
    result = intersection_based(reference, twice, labels=["Dog"], dtc=0.5, gtc=0.5)
    assert (result.micro.correct, result.micro.estimated) == (0, 0)
    overlapping = {"a": [Event(0.0, 1.0, "Dog"), Event(0.0, 1.0, "Dog")]}
    result = intersection_based(overlapping, {"a": [Event(0.0, 2.0, "Dog")]}, labels=["Dog"], dtc=0.6, gtc=0.5)
    assert (result.micro.correct, result.micro.estimated) == (0, 1)  # half of it is covered, not all
    result = intersection_based(overlapping, {"a": [Event(0.0, 2.0, "Dog")]}, labels=["Dog"], dtc=0.5, gtc=0.5)
    assert (result.micro.correct, result.micro.estimated) == (2, 2)  # each event counts by itself


def test_short_events_inside_a_long_one_do_not_hide_it() -> None:
    reference = {"a": [Event(0.0, 10.0, "Dog"), *(Event(k, k + 0.25, "Dog") for k in range(1, 4))]}
    result = intersection_based(reference, {"a": [Event(4.0, 9.5, "Dog")]}, labels=["Dog"], dtc=0.5, gtc=0.5)
    assert (result.micro.correct, result.micro.estimated, result.micro.reference) == (1, 1, 4)


def test_seven_tenths_of_an_event_are_seven_tenths_of_it() -> None:
    for begin in np.arange(0, 9, 0.1).tolist():
        reference = {"a": [Event(begin, begin + 0.7, "Dog")]}
        result = intersection_based(
            reference, {"a": [Event(begin, begin + 1, "Dog")]}, labels=["Dog"], dtc=0.7, gtc=1.0
        )
        assert result.micro.f1 == 1.0


@pytest.fixture(scope="module")
def golden() -> tuple[list[Scores], Events, dict[str, float]]:
    """Scores, reference and durations for which sed_scores_eval and psds_eval have given their numbers."""
    rows: dict[str, list[list[float]]] = {}
    with (GOLDEN / "sweeps_scores.tsv").open() as file:
        labels = tuple(next(file).rstrip("\n").split("\t")[3:])
        for line in file:
            clip, *values = line.split("\t")
            rows.setdefault(clip, []).append([float(value) for value in values])
    scores = []
    for clip, own in rows.items():
        table = np.array(own)  # (frames, 2 + classes)
        frames = (table[:, 2:] / FACTS["levels"]).astype(np.float32)
        scores.append(Scores(clip, labels, frames, np.append(table[:, 0], table[-1, 1]), frames.max(axis=0)))
    reference = read_events(GOLDEN / "sweeps_reference.tsv")
    return scores, reference, read_durations(GOLDEN / "sweeps_durations.tsv")


def close(found: float, expected: float | None) -> bool:
    return found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("case", FACTS["f1"], ids=lambda case: " ".join(map(str, case["settings"].values())))
def test_f1_at_all_thresholds_is_as_sed_scores_eval_says(golden: Any, case: dict[str, Any]) -> None:
    scores, reference, durations = golden
    own = dict(case["settings"])
    kind = own.pop("kind")
    said = list(curves_of_scores(scores, clips=tuple(reference), labels=HELD))
    if kind == "segment":
        sweeps = segment_sweep(said, reference, labels=HELD, durations=durations, **own)
    else:
        sweeps = {"event": event_sweep, "intersection": intersection_sweep}[kind](said, reference, labels=HELD, **own)
    for threshold, expected in case["thresholds"].items():
        found = sweeps.at(float(threshold))
        correct, estimated, held = (
            x.sum(axis=0) for x in (found.correct, found.estimated, found.reference)
        )  # (classes,)
        assert dict(zip(HELD, correct.tolist(), strict=True)) == expected["correct"]
        assert dict(zip(HELD, (estimated - correct).tolist(), strict=True)) == expected["false"]
        f1, _, _ = fractions(correct, estimated, held)
        assert all(close(one, expected["f1"][label]) for label, one in zip(HELD, f1, strict=True))
        assert close(f1.mean(), expected["f1"]["macro_average"])
    overall = sweeps.resampled(np.ones((1, len(reference)), np.int64))
    best = sweeps.best()
    for name in ("f1", "precision", "recall"):
        expected = case["best"][name]
        silent = [label for label in HELD if best[label].estimated == 0 and name == "precision"]  # 1 there, 0 here
        assert close(overall[f"macro_{name}"][0] + len(silent) / len(HELD), expected["macro_average"])
        assert close(overall[f"micro_{name}"][0], expected["micro_average"])
        for label, one in best.items():
            assert close(getattr(one, name) + (label in silent), expected[label])
    for label, one in sweeps.best().items():
        if (threshold := case["best"]["threshold"][label]) is not None:  # null: all is said
            assert one.threshold == pytest.approx(threshold, abs=1e-6)  # ours is rounded to single precision


@pytest.mark.parametrize("case", FACTS["psds_of_scores"], ids=lambda case: case["name"])
def test_psds_over_all_thresholds_is_as_sed_scores_eval_says(golden: Any, case: dict[str, Any]) -> None:
    scores, reference, durations = golden
    parameters = PsdsParameters(**case["settings"])
    for labels in (HELD, FACTS["labels"]):  # a class that the reference lacks changes nothing
        said = curves_of_scores(scores, clips=tuple(reference), labels=labels, block=2)
        result = psds(said, reference, labels=labels, durations=durations, parameters=parameters)
        assert close(result.value, case["psds"])
        for label in HELD:
            assert close(result.classes[label], case["classes"][label])
            curve = result.curves[label]
            for rate, ratio in zip(*(case["curves"][label][x] for x in ("rate", "ratio")), strict=True):
                assert close(np.append(0.0, curve.ratio)[np.searchsorted(curve.rate, rate + 1e-9)], ratio)
        for rate, ratio in zip(*(case["roc"][x] for x in ("rate", "ratio")), strict=True):
            assert close(np.append(0.0, result.roc.ratio)[np.searchsorted(result.roc.rate, rate + 1e-9)], ratio)
    assert np.isnan(result.classes["Never_there"])


@pytest.mark.parametrize("case", FACTS["psds_of_points"], ids=lambda case: case["name"])
def test_psds_of_operating_points_is_as_psds_eval_says(golden: Any, case: dict[str, Any]) -> None:
    scores, reference, durations = golden
    points = []
    for threshold in FACTS["points"]:
        found = {s.clip: events_from_decisions(s.frames >= threshold, s.boundaries, s.classes) for s in scores}
        points.append((threshold, {clip: [e for e in own if e.label in HELD] for clip, own in found.items()}))
    said = candidates_of_points(points, clips=tuple(reference), labels=HELD)
    parameters = PsdsParameters(**case["settings"])
    result = psds(said, reference, labels=HELD, durations=durations, parameters=parameters)
    assert close(result.value, case["psds"])
    for label in HELD:
        assert close(result.classes[label], case["classes"][label])
    for threshold, expected in case["f1"].items():
        estimated = dict(points)[float(threshold)]
        f1 = intersection_based(reference, estimated, labels=HELD, dtc=parameters.dtc, gtc=parameters.gtc)
        for label in HELD:  # psds_eval has no F1 of a class of which nothing is found
            assert close(f1.classes[label].f1, expected[label] or 0.0)
        assert close(np.mean([own.f1 for own in f1.classes.values() if own.correct]), expected["macro"])


@settings(deadline=None, max_examples=40)
@given(boxes, references, st.sampled_from([SCENARIOS[1], SCENARIOS[2]]), st.integers(0, 2**32 - 1))
def test_a_resampled_psds_is_that_of_clips_written_down_as_often(
    said: Any, reference: Events, scenario: PsdsParameters, seed: int
) -> None:
    parameters = replace(scenario, e_max=3000.0)
    durations = {"a": 4.0, "b": 6.5, "c": 12.0}
    clips = tuple(reference)
    weights = np.random.default_rng(seed).multinomial(3, [1 / 3] * 3, 4)
    weights = np.concatenate([np.ones((1, 3), np.int64), weights])

    def compute(boxes: Any, reference: Events, durations: dict[str, float]) -> Psds:
        candidates = candidates_of_boxes(boxes, clips=tuple(reference), labels=LABELS)
        return psds(candidates, reference, labels=LABELS, durations=durations, parameters=parameters)

    result = compute(said, reference, durations)
    found = result.resampled(weights)
    assert np.array_equal(found["psds"][0], result.value, equal_nan=True)
    assert np.array_equal(found["class_psds"][0], list(result.classes.values()), equal_nan=True)
    for row, weight in enumerate(weights):
        drawn = [(clip, f"{clip}{n}") for clip, times in zip(clips, weight, strict=True) for n in range(times)]
        again = compute(
            {new: said[clip] for clip, new in drawn if clip in said},
            {new: reference[clip] for clip, new in drawn},
            {new: durations[clip] for clip, new in drawn},
        )
        assert again.value == pytest.approx(found["psds"][row], abs=1e-12, nan_ok=True)
        assert list(again.classes.values()) == pytest.approx(found["class_psds"][row], abs=1e-12, nan_ok=True)


@settings(deadline=None, max_examples=40)
@given(boxes, references)
def test_the_area_under_the_roc_is_the_psds(said: Any, reference: Events) -> None:
    candidates = candidates_of_boxes(said, clips=tuple(reference), labels=LABELS)
    durations = dict.fromkeys(reference, 10.0)
    parameters = replace(SCENARIOS[2], e_max=500.0)
    result = psds(candidates, reference, labels=LABELS, durations=durations, parameters=parameters, keep_steps=False)
    if not any(reference.values()):
        assert np.isnan(result.value)
        return
    rate, ratio = result.roc
    assert np.all(np.diff(rate) > 0) and np.all((ratio >= 0) & (ratio <= 1))
    widths = np.diff(np.append(np.minimum(rate, 500.0), 500.0))
    assert result.value == pytest.approx(np.sum(widths * ratio) / 500.0, abs=1e-12)
    with pytest.raises(ValueError, match="keep_steps=True"):
        result.resampled(np.ones((1, 3), np.int64))


def test_psds_names_clips_without_a_duration_and_parameters_that_do_not_fit() -> None:
    reference: Events = {"a": [], "b": [], "c": [], "d": [], "e": []}
    said = candidates_of_events({}, clips=tuple(reference), labels=LABELS)
    with pytest.raises(AnnotationError, match="there is none of b, c, d and 1 more"):
        psds(said, reference, labels=LABELS, durations={"a": 1.0}, parameters=SCENARIOS[1])
    with pytest.raises(ValueError, match="cttc and alpha_ct go together"):
        PsdsParameters(dtc=0.7, gtc=0.7, cttc=0.3, alpha_ct=0.0, alpha_st=1.0, e_max=100.0)
    with pytest.raises(ValueError, match="gtc is a share"):
        PsdsParameters(dtc=0.7, gtc=70, cttc=None, alpha_ct=0.0, alpha_st=1.0, e_max=100.0)


def quarters_of(rows: list[Event]) -> set[int]:
    return {q for event in rows for q in range(round(event.onset * 4), round(event.offset * 4))}


def by_the_words(reference: Events, estimated: Events, own: PsdsParameters) -> dict[str, Any]:
    """Found, false and triggered by other classes for each class, counted in quarters of seconds straight from the definitions."""
    result: dict[str, Any] = {}
    for label in LABELS:
        found, false, triggers = 0, 0, dict.fromkeys(LABELS, 0)
        for clip, rows in reference.items():
            held = {other: quarters_of([e for e in rows if e.label == other]) for other in LABELS}
            said = [event for event in estimated.get(clip, []) if event.label == label]
            share = {id(e): len(quarters_of([e]) & held[label]) / len(quarters_of([e])) for e in said}
            relevant = quarters_of([e for e in said if share[id(e)] >= own.dtc])
            wrong = [e for e in said if share[id(e)] < own.dtc]
            mine = [quarters_of([e]) for e in rows if e.label == label]
            found += sum(len(event & relevant) >= own.gtc * len(event) for event in mine)
            false += len(wrong)
            for other in LABELS:
                if other != label and held[other] and own.cttc is not None:
                    triggers[other] += sum(
                        len(quarters_of([e]) & held[other]) >= own.cttc * len(quarters_of([e])) for e in wrong
                    )
        result[label] = found, false, triggers
    return result


@settings(deadline=None, max_examples=60)
@given(boxes, references, st.booleans())
def test_counts_and_psds_follow_from_the_definitions(said: Any, reference: Events, cross: bool) -> None:
    own = PsdsParameters(
        dtc=0.5, gtc=0.5, cttc=0.25 if cross else None, alpha_ct=0.5 if cross else 0.0, alpha_st=0.75, e_max=2000.0
    )
    seconds = dict.fromkeys(LABELS, 0.0)
    for rows in reference.values():
        for label in LABELS:
            seconds[label] += len(quarters_of([event for event in rows if event.label == label])) / 4
    number = {label: sum(e.label == label for rows in reference.values() for e in rows) for label in LABELS}
    present = [label for label in LABELS if number[label]]
    durations = {"a": 10.0, "b": 5.0, "c": 7.5}
    points: dict[str, list[tuple[float, float]]] = {label: [(0.0, 0.0)] for label in LABELS}
    for threshold in LEVELS.tolist():
        estimated = {clip: [event for event, score in rows if score >= threshold] for clip, rows in said.items()}
        counts = by_the_words(reference, estimated, own)
        result = intersection_based(reference, estimated, labels=LABELS, dtc=0.5, gtc=0.5)
        for label in LABELS:
            found, false, triggers = counts[label]
            rates = result.classes[label]
            assert (rates.correct, rates.estimated, rates.reference) == (found, found + false, number[label])
            others = [triggers[other] / seconds[other] for other in present if other != label]
            mean = sum(others) / max(1, len(others))
            rate = 3600 * (false / sum(durations.values()) + own.alpha_ct * mean)
            points[label].append((rate, found / max(1, number[label])))
    candidates = candidates_of_boxes(said, clips=tuple(reference), labels=LABELS)
    found_psds = psds(candidates, reference, labels=LABELS, durations=durations, parameters=own)
    rates = sorted({0.0, own.e_max, *(rate for label in present for rate, _ in points[label] if rate < own.e_max)})
    area = 0.0
    for rate, following in pairwise(rates):
        best = [max(y for x, y in points[label] if x <= rate + 1e-9) for label in present] or [0.0]
        area += (following - rate) * max(0.0, float(np.mean(best) - own.alpha_st * np.std(best))) / own.e_max
    assert found_psds.value == pytest.approx(area if present else np.nan, abs=1e-9, nan_ok=True)
