"""Sound event bounding boxes: the authors' own, and what follows from their definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avsed.annotations import Event
from avsed.postprocessing import detect_events
from avsed.postprocessing.boxes import find_boxes
from avsed.postprocessing.options import BoxesConfig, PostprocessingConfig
from avsed.scores import Scores

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden/boxes.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["grid"])
def test_boxes_are_those_of_the_authors_package(case: dict[str, Any]) -> None:
    boundaries, curve = np.array(GOLDEN["boundaries"][case["grid"]]), np.array(case["curve"], np.float32)
    for told in case["found"]:
        ours = find_boxes(curve, boundaries, step=told["step"], absolute=told["absolute"], relative=told["relative"])
        onset, offset, confidence = np.array(told["boxes"]).T
        np.testing.assert_allclose(ours.onset, onset, atol=2e-6)
        np.testing.assert_allclose(ours.offset, offset, atol=2e-6)
        # They divide by a microsecond more than the box's length, and six places are kept.
        length = offset - onset
        np.testing.assert_allclose(ours.confidence * length / (length + 1e-6), confidence, atol=2e-5)
        np.testing.assert_allclose(ours.confidence * length, confidence * length, atol=3e-6)


def output(curve: np.ndarray, boundaries: np.ndarray, step: float, times: np.ndarray) -> np.ndarray:
    """The step filter's output, from the integral of the curve."""
    area = np.append(0, np.cumsum(curve.astype(float) * np.diff(boundaries)))
    begin, middle, end = (np.interp(times + shift, boundaries, area) for shift in (-step / 2, 0, step / 2))
    return (end - 2 * middle + begin) * 2 / step


curves = hnp.arrays(np.float32, st.integers(1, 30), elements=st.integers(0, 10).map(lambda n: n / 10))


@given(curves, st.lists(st.integers(1, 40), min_size=30, max_size=30), st.integers(1, 150))
def test_the_filter_s_output_falls_inside_boxes_and_rises_between_them(
    curve: np.ndarray, lengths: list[int], step: int
) -> None:
    boundaries = np.append(0, np.cumsum(lengths[: len(curve)])) / 100
    boxes = find_boxes(curve, boundaries, step=step / 100, absolute=0.0, relative=None)
    times = np.linspace(0, boundaries[-1], 2000)
    change = np.diff(output(curve, boundaries, step / 100, times))
    inside = np.zeros(len(times), bool)
    for onset, offset in zip(boxes.onset, boxes.offset, strict=True):
        inside |= (times >= onset - 1e-9) & (times <= offset + 1e-9)
    assert np.all(change[inside[:-1] & inside[1:]] <= 1e-9)
    assert np.all(change[~inside[:-1] & ~inside[1:]] >= -1e-9)
    assert np.all(boxes.onset < boxes.offset) and np.all(boxes.onset[1:] >= boxes.offset[:-1])


@given(curves, st.sampled_from([0.2, 0.5]), st.sampled_from([0.0, 0.2, None]), st.sampled_from([1.0, 2.0, None]))
def test_confidence_is_the_mean_score_inside(
    curve: np.ndarray, step: float, absolute: float | None, relative: float | None
) -> None:
    boundaries = np.arange(len(curve) + 1) * 0.1
    area = np.append(0, np.cumsum(curve.astype(float) * np.diff(boundaries)))
    onset, offset, confidence = find_boxes(curve, boundaries, step=step, absolute=absolute, relative=relative)
    inside = np.interp(offset, boundaries, area) - np.interp(onset, boundaries, area)
    np.testing.assert_allclose(confidence, inside / (offset - onset), atol=1e-9)
    if absolute is None and relative is None:
        assert len(onset) <= 1  # everything is joined


def test_boxes_of_a_plain_event_end_where_it_ends() -> None:
    curve = np.array([0, 0, 0, 0, 0.8, 0.9, 0.9, 0.8, 0, 0, 0, 0], np.float32)
    boxes = find_boxes(curve, np.arange(13) * 0.25, step=0.5, absolute=0.2, relative=None)
    best = boxes.confidence.argmax()
    assert (boxes.onset[best], boxes.offset[best]) == (1.0, 2.0)
    assert boxes.confidence[best] == pytest.approx(0.85)


def test_events_are_the_boxes_that_reach_the_threshold() -> None:
    frames = np.array([0, 0, 0, 0, 0.8, 0.9, 0.9, 0.8, 0, 0, 0, 0], np.float32)[:, None]
    scores = Scores("a", ("Dog",), frames, np.arange(13) * 0.25, np.array([0.9], np.float32))
    boxes = BoxesConfig(absolute=0.2, relative=None)
    assert detect_events(scores, PostprocessingConfig(boxes=boxes)) == [Event(1.0, 2.0, "Dog")]
    assert detect_events(scores, PostprocessingConfig(boxes=boxes, threshold=0.86)) == []
    assert detect_events(scores, PostprocessingConfig(boxes=boxes, minimum_duration=1.1)) == []


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_short_clips_and_frames_cut_away(frames: int) -> None:
    curve = np.full(frames, 0.7, np.float32)
    boundaries = np.minimum(np.arange(frames + 1) * 0.1, 0.1)
    boxes = find_boxes(curve, boundaries, step=0.5, absolute=0.2, relative=None)
    found = [tuple(box) for box in np.stack(boxes, 1).round(6)]
    assert found == ([(0.0, 0.1, 0.7)] if frames else [])


def test_a_clip_may_begin_late() -> None:
    curve = np.array([0, 0, 0.8, 0.8, 0, 0], np.float32)
    early = find_boxes(curve, np.arange(7) * 0.25, step=0.5, absolute=0.2, relative=None)
    late = find_boxes(curve, 3 + np.arange(7) * 0.25, step=0.5, absolute=0.2, relative=None)
    np.testing.assert_allclose(late.onset, early.onset + 3)
    np.testing.assert_allclose(late.confidence, early.confidence)
