"""PSDS and the intersections that it counts: straight from the definitions, and what must hold of any."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from drawn import LABELS, LEVELS, boxes, references
from hypothesis import given, settings
from hypothesis import strategies as st

from avsed.annotations import Event, Events
from avsed.errors import AnnotationError
from avsed.metrics import (
    SCENARIOS,
    Psds,
    PsdsParameters,
    candidates_of_boxes,
    candidates_of_events,
    intersection_based,
    psds,
)

# --- intersections ---


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


# --- PSDS ---


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
