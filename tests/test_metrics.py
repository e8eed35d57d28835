"""Event-list metrics: against sed_eval's numbers, and against what must hold of any metric."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsed.annotations import Event, Events
from avsed.errors import AnnotationError
from avsed.metrics import Result, clip_based, event_based, segment_based
from avsed.metrics.matching import match_greedy, match_optimal
from avsed.tables import labels_of, read_durations, read_events

GOLDEN = Path(__file__).parent / "golden"
FACTS = json.loads((GOLDEN / "metrics.json").read_text())
DCASE = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_rate": 0.2}


def compute(setting: dict[str, Any], reference: Events, estimated: Events, labels: list[str]) -> Result:
    own = dict(setting)
    if own.pop("kind") == "segment":
        durations = read_durations(GOLDEN / "durations.tsv") if own.pop("durations") else None
        return segment_based(reference, estimated, labels=labels, durations=durations, **own)
    return event_based(reference, estimated, labels=labels, **own)


def assert_equal(result: Result, golden: dict[str, Any]) -> None:
    def same(found: float | None, expected: float | None, what: str) -> None:
        assert (math.nan if expected is None else expected) == pytest.approx(found, abs=1e-9, nan_ok=True), what

    overall = golden["overall"]
    for ours, theirs in (("f1", "f_measure"), ("precision", "precision"), ("recall", "recall")):
        same(getattr(result.micro, ours), overall["f_measure"][theirs], f"micro {ours}")
        same(getattr(result.macro, ours), golden["class_wise_average"]["f_measure"][theirs], f"macro {ours}")
    for name in ("error_rate", "substitution_rate", "deletion_rate", "insertion_rate"):
        same(getattr(result.micro, name), overall["error_rate"][name], f"micro {name}")
    for ours, theirs in (("reference", "Nref"), ("estimated", "Nsys"), ("correct", "Ntp")):
        assert getattr(result.micro, ours) == golden["counts"][theirs]
    for label, expected in golden["class_wise"].items():
        found = result.classes[label]
        for ours, theirs in (("reference", "Nref"), ("estimated", "Nsys"), ("correct", "Ntp")):
            assert getattr(found, ours) == expected["count"][theirs], label
        for ours, theirs in (("f1", "f_measure"), ("precision", "precision"), ("recall", "recall")):
            same(getattr(found, ours), expected["f_measure"][theirs], f"{label} {ours}")
        if found.reference:  # sed_eval divides by a tiny number where we say that there is no error rate
            for name in ("error_rate", "deletion_rate", "insertion_rate"):
                same(getattr(found, name), expected["error_rate"][name], f"{label} {name}")


@pytest.mark.parametrize("case", FACTS["generated"], ids=lambda case: " ".join(map(str, case["settings"].values())))
def test_generated_events_score_as_sed_eval_says(case: dict[str, Any]) -> None:
    reference, estimated = read_events(GOLDEN / "reference.tsv"), read_events(GOLDEN / "estimated.tsv")
    assert_equal(compute(case["settings"], reference, estimated, FACTS["labels"]), case["results"])


@pytest.mark.parametrize(
    "case", FACTS["dcase2018"]["metrics"], ids=lambda case: " ".join(map(str, case["settings"].values()))
)
def test_the_dcase_2018_baseline_scores_as_sed_eval_says(shared: Path, case: dict[str, Any]) -> None:
    folder = shared / "dcase2018_task4"
    reference = read_events(folder / "metadata/eval/eval.csv")
    estimated = read_events(folder / "baseline_system_on_eval.csv")
    assert len(reference) == 880
    assert_equal(compute(case["settings"], reference, estimated, FACTS["dcase2018"]["labels"]), case["results"])


def test_the_published_figures_of_the_dcase_2018_baseline(shared: Path) -> None:
    folder = shared / "dcase2018_task4"
    reference = read_events(folder / "metadata/eval/eval.csv")
    estimated = read_events(folder / "baseline_system_on_eval.csv")
    labels = FACTS["dcase2018"]["labels"]
    assert f"{100 * event_based(reference, estimated, labels=labels, **DCASE).macro.f1:.2f}" == "10.95"
    assert f"{100 * segment_based(reference, estimated, labels=labels, resolution=1.0).macro.f1:.2f}" == "52.39"


EVENTS = st.lists(
    st.tuples(st.integers(0, 80), st.integers(1, 30), st.sampled_from("ab")).map(
        lambda x: Event(x[0] / 8, (x[0] + x[1]) / 8, x[2])
    ),
    max_size=6,
)
LISTS = st.lists(st.tuples(EVENTS, EVENTS), min_size=1, max_size=4)


def split(pairs: list[tuple[list[Event], list[Event]]]) -> tuple[Events, Events]:
    return {str(i): pair[0] for i, pair in enumerate(pairs)}, {str(i): pair[1] for i, pair in enumerate(pairs)}


@given(LISTS)
def test_a_list_against_itself_is_right(pairs: list[tuple[list[Event], list[Event]]]) -> None:
    reference, _ = split(pairs)
    if any(reference.values()):
        for result in (
            event_based(reference, reference, labels="ab", **DCASE),
            segment_based(reference, reference, labels="ab", resolution=1.0),
            clip_based(labels_of(reference), labels_of(reference), labels="ab"),
        ):
            assert result.micro.f1 == 1.0
            assert result.macro.f1 == 1.0
            assert result.micro.error_rate == 0.0


@given(LISTS, st.randoms(use_true_random=False))
def test_the_order_of_clips_does_not_matter(pairs: list[tuple[list[Event], list[Event]]], random: Any) -> None:
    reference, estimated = split(pairs)
    clips = list(reference)
    random.shuffle(clips)
    for function, options in ((event_based, DCASE), (segment_based, {"resolution": 0.5})):
        one = function(reference, estimated, labels="ab", **options)
        other = function({c: reference[c] for c in clips}, estimated, labels="ab", **options)
        assert one.micro.to_dict() == other.micro.to_dict()


@given(LISTS)
def test_counts_are_within_their_bounds_and_add_up(pairs: list[tuple[list[Event], list[Event]]]) -> None:
    reference, estimated = split(pairs)
    optimal = event_based(reference, estimated, labels="ab", **DCASE)
    greedy = event_based(reference, estimated, labels="ab", matching="greedy", **DCASE)
    wide = event_based(reference, estimated, labels="ab", onset_collar=1.0, offset_collar=1.0, offset_rate=0.5)
    narrow = event_based(reference, estimated, labels="ab", offset_tolerance="min", **DCASE)
    assert greedy.micro.correct <= optimal.micro.correct <= wide.micro.correct
    assert narrow.micro.correct <= optimal.micro.correct
    for result in (optimal, greedy, wide, segment_based(reference, estimated, labels="ab", resolution=1.0)):
        counts = result.counts
        assert np.all(counts.correct <= np.minimum(counts.reference, counts.estimated))
        missed = (counts.reference - counts.correct).sum(1)
        false = (counts.estimated - counts.correct).sum(1)
        assert np.array_equal(counts.substitutions + counts.deletions, missed)
        assert np.array_equal(counts.substitutions + counts.insertions, false)
        assert np.all(counts.substitutions >= 0)


@given(LISTS)
def test_a_false_event_never_raises_precision(pairs: list[tuple[list[Event], list[Event]]]) -> None:
    reference, estimated = split(pairs)
    before = event_based(reference, estimated, labels="abc", **DCASE).micro
    more = estimated | {"0": [*estimated["0"], Event(0.0, 1.0, "c")]}
    after = event_based(reference, more, labels="abc", **DCASE).micro
    assert after.correct == before.correct
    assert not after.precision > before.precision


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20, unique=True))
def test_matching_is_the_largest_there_is(pairs: list[tuple[int, int]]) -> None:
    from scipy.optimize import linear_sum_assignment

    pairs.sort()
    table = np.zeros((7, 7))
    for reference, estimated in pairs:
        table[reference, estimated] = 1
    matched = match_optimal(pairs)
    assert len(matched) == table[linear_sum_assignment(table, maximize=True)].sum()
    assert len(set(matched.values())) == len(matched)
    assert set(matched.items()) <= set(pairs)
    assert len(match_greedy(pairs)) <= len(matched)


def test_a_worked_example() -> None:
    reference = {"a": [Event(0, 2, "Dog"), Event(4, 5, "Cat")], "b": [], "c": [Event(1, 2, "Cat")]}
    estimated = {"a": [Event(0.1, 2.3, "Dog"), Event(4.1, 5.1, "Dog")], "b": [Event(0, 1, "Cat")]}
    result = event_based(reference, estimated, labels=["Cat", "Cow", "Dog"], **DCASE)
    assert (result.micro.reference, result.micro.estimated, result.micro.correct) == (3, 3, 1)
    assert result.counts.substitutions.tolist() == [1, 0, 0]  # a cat was called a dog
    assert result.counts.deletions.tolist() == [0, 0, 1]
    assert result.counts.insertions.tolist() == [0, 1, 0]
    assert result.classes["Dog"].f1 == pytest.approx(2 / 3)
    assert math.isnan(result.classes["Cow"].f1)
    assert result.macro.f1 == pytest.approx((0 + 2 / 3) / 2)
    assert result.to_dict()["classes"]["Cow"]["f1"] is None
    json.dumps(result.to_dict(), allow_nan=False)


def test_each_clip_keeps_its_own_segments_whatever_lies_beside_it() -> None:
    reference = {"none": [], "a": [Event(0, 1.5, "x"), Event(1, 2, "y")], "empty": [], "b": [Event(0.5, 3, "x")]}
    estimated = {"a": [Event(1, 3, "x")], "b": [Event(0, 1, "y"), Event(2, 2.5, "x")]}
    counts = segment_based(reference, estimated, labels="xy", resolution=1.0).counts
    assert counts.reference.tolist() == [[0, 0], [2, 1], [0, 0], [3, 0]]
    assert counts.estimated.tolist() == [[0, 0], [2, 0], [0, 0], [1, 1]]
    assert counts.correct.tolist() == [[0, 0], [1, 0], [0, 0], [1, 0]]
    assert counts.substitutions.tolist() == [0, 0, 0, 1]
    assert counts.deletions.tolist() == [0, 2, 0, 1]
    assert counts.insertions.tolist() == [0, 1, 0, 0]
    assert segment_based({"none": []}, {}, labels="xy", resolution=1.0).counts.reference.tolist() == [[0, 0]]


@given(LISTS)
def test_segments_are_counted_as_one_by_one(pairs: list[tuple[list[Event], list[Event]]]) -> None:
    def sounding(events: list[Event], segment: int) -> set[str]:
        return {e.label for e in events if math.floor(e.onset) <= segment < math.ceil(e.offset)}

    reference, estimated = split(pairs)
    counts = segment_based(reference, estimated, labels="ab", resolution=1.0).counts
    for row, (own, other) in enumerate(pairs):
        length = math.ceil(max((event.offset for event in own + other), default=0.0))
        held = [(sounding(own, segment), sounding(other, segment)) for segment in range(length)]
        assert counts.reference[row].sum() == sum(len(a) for a, _ in held)
        assert counts.estimated[row].sum() == sum(len(b) for _, b in held)
        assert counts.correct[row].sum() == sum(len(a & b) for a, b in held)
        assert counts.substitutions[row] == sum(min(len(a), len(b)) - len(a & b) for a, b in held)
        assert counts.deletions[row] == sum(max(len(a) - len(b), 0) for a, b in held)
        assert counts.insertions[row] == sum(max(len(b) - len(a), 0) for a, b in held)


def test_long_clips_take_no_more_memory_than_their_events() -> None:
    reference, estimated = {"a": [Event(0, 1e12, "x")]}, {"a": [Event(5e11, 1e12, "x"), Event(0, 2.5, "y")]}
    tracemalloc.start()
    counts = segment_based(reference, estimated, labels="xy", resolution=1.0).counts
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert counts.correct.tolist() == [[5 * 10**11, 0]]
    assert (counts.substitutions, counts.deletions) == (3, 5 * 10**11 - 3)
    for length in (1e300, math.inf, math.nan):
        with pytest.raises(AnnotationError, match=r"a: its length of .* milliseconds or samples\?"):
            segment_based({"a": [Event(0, 1, "x")]}, {}, labels="xy", resolution=1.0, durations={"a": length})


def test_a_class_never_estimated_counts_as_zero_unless_told_otherwise() -> None:
    reference, estimated = {"a": [Event(0, 1, "x"), Event(2, 3, "y")]}, {"a": [Event(0, 1, "x")]}
    assert event_based(reference, estimated, labels="xy", **DCASE).macro.f1 == 0.5
    assert event_based(reference, estimated, labels="xy", empty_output="skip", **DCASE).macro.f1 == 1.0


def test_foreign_clips_and_labels_are_named() -> None:
    reference = {"dog_1.wav": [Event(0, 1, "Dog")]}
    with pytest.raises(AnnotationError, match=r"1 of 1 clips .* 'dog_2.wav' \(did you mean 'dog_1.wav'\?\)"):
        event_based(reference, {"dog_2.wav": []}, labels=["Dog"], **DCASE)
    with pytest.raises(AnnotationError, match=r"dog_1.wav: unknown label 'dog' \(did you mean 'Dog'\?\)"):
        segment_based(reference, {"dog_1.wav": [Event(0, 1, "dog")]}, labels=["Dog"], resolution=1.0)
    with pytest.raises(AnnotationError, match="no clips"):
        clip_based({}, {}, labels=["Dog"])


def test_examples_in_docstrings_are_true() -> None:
    import doctest
    from importlib import import_module

    for name in ("candidates", "clip", "event", "intersection", "psds", "segment"):
        module = import_module(f"avsed.metrics.{name}")
        failed, tried = doctest.testmod(module)
        assert tried > 0
        assert failed == 0
