"""Decisions and events from probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avsed.annotations import Event
from avsed.config import PostprocessingConfig
from avsed.postprocessing import detect_events, detect_tags, events_from_decisions, median_filter
from avsed.scores import Scores


def column(*values: int) -> np.ndarray:
    return np.array(values, bool)[:, None]


def test_the_median_filter_drops_short_runs_and_fills_short_gaps() -> None:
    assert median_filter(column(0, 0, 1, 0, 0, 0), 3).tolist() == column(0, 0, 0, 0, 0, 0).tolist()
    assert median_filter(column(1, 1, 0, 1, 1, 1), 3).tolist() == column(1, 1, 1, 1, 1, 1).tolist()


def test_the_median_filter_reflects_at_the_edges() -> None:
    # c b a | a b c: the two positive frames are seen mirrored, four of seven; with zeros or without a mirror they would vanish
    assert median_filter(column(1, 1, 0, 0, 0, 0, 0, 0), 7)[:, 0].tolist() == [True, True] + [False] * 6


@given(
    hnp.arrays(bool, st.tuples(st.integers(0, 30), st.integers(1, 3))),
    st.integers(0, 6).map(lambda half: 2 * half + 1),
)
def test_the_median_filter_equals_its_definition(decisions: np.ndarray, length: int) -> None:
    filtered = median_filter(decisions, length)
    assert filtered.shape == decisions.shape
    if len(decisions):
        padded = np.pad(decisions, ((length // 2, length // 2), (0, 0)), mode="symmetric")
        plain = [np.median(padded[i : i + length], axis=0) > 0.5 for i in range(len(decisions))]
        assert np.array_equal(filtered, np.array(plain))
    assert np.array_equal(median_filter(~decisions, length), ~filtered)


@pytest.mark.parametrize("length", [0, 2, -1])
def test_a_median_filter_of_even_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        median_filter(column(1, 0), length)


def test_runs_of_frames_become_events_in_seconds() -> None:
    decisions = np.array([[1, 0], [1, 0], [0, 1], [1, 1]], bool)
    events = events_from_decisions(decisions, np.array([0.0, 0.5, 1.0, 1.5, 1.8]), ["Dog", "Cat"])
    assert events == [Event(0.0, 1.0, "Dog"), Event(1.0, 1.8, "Cat"), Event(1.5, 1.8, "Dog")]


@given(hnp.arrays(bool, st.tuples(st.integers(0, 40), st.integers(1, 3))))
def test_events_and_decisions_say_the_same(decisions: np.ndarray) -> None:
    boundaries = np.arange(len(decisions) + 1) * 0.25
    classes = ["a", "b", "c"][: decisions.shape[1]]
    back = np.zeros_like(decisions)
    for event in events_from_decisions(decisions, boundaries, classes):
        back[round(event.onset * 4) : round(event.offset * 4), classes.index(event.label)] = True
    assert np.array_equal(back, decisions)


def test_tags_come_from_clip_probabilities_and_do_not_gate_events() -> None:
    frames = np.array([[0.9, 0.1]] * 9, np.float32)
    scores = Scores("a.mp4", ("Dog", "Cat"), frames, np.linspace(0, 1, 10), np.array([0.4, 0.5], np.float32))
    config = PostprocessingConfig()
    assert detect_tags(scores, config) == {"Cat"}
    assert detect_events(scores, config) == [Event(0.0, 1.0, "Dog")]
