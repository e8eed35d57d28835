"""Decisions and events from probabilities."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avsed.annotations import Event
from avsed.config import load_config
from avsed.errors import ConfigError
from avsed.postprocessing import detect_events, detect_tags, events_from_decisions, median_filter
from avsed.postprocessing.options import BoxesConfig, PostprocessingConfig
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


LABELS = ("Cat", "Dog", "Rain")
PERIOD = 4 * 366 / 22100


def scores_of(frames: np.ndarray, boundaries: np.ndarray | None = None) -> Scores:
    frames = np.asarray(frames, np.float32)
    if boundaries is None:  # cut at both edges, as the model's frames are
        boundaries = np.clip(PERIOD * (np.arange(len(frames) + 1) - 0.125), 0, PERIOD * (len(frames) - 0.4))
    return Scores("a.mp4", LABELS[: frames.shape[1]], frames, boundaries, frames.max(axis=0, initial=0))


curves = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 40), st.integers(1, 3)), elements=st.integers(0, 20).map(lambda n: n / 20)
).map(scores_of)
"""Scores on steps of 0.05, so that scores and thresholds often are the same."""


def as_before(scores: Scores, threshold: float, length: int) -> list[Event]:
    """Threshold, the majority of decisions, runs: the paper's chain in its own order, and in its plainest form."""
    decisions, half = scores.frames >= np.float32(threshold), length // 2
    if len(decisions):
        padded = np.pad(decisions, ((half, half), (0, 0)), mode="symmetric")
        decisions = np.array([padded[i : i + length].sum(axis=0) > half for i in range(len(decisions))])
    found = []
    for column, label in enumerate(scores.classes):
        edges = np.flatnonzero(np.diff(decisions[:, column].astype(int), prepend=0, append=0))
        for first, stop in edges.reshape(-1, 2):
            on, off = scores.boundaries[first], scores.boundaries[stop]
            if np.round(off, 3) > np.round(on, 3):
                found.append(Event(float(on), float(off), label))
    return sorted(found)


@given(curves, st.integers(0, 20).map(lambda n: n / 20), st.integers(0, 5).map(lambda n: 2 * n + 1))
def test_scores_filtered_before_the_threshold_give_the_paper_s_events(scores: Scores, at: float, length: int) -> None:
    assert detect_events(scores, PostprocessingConfig()) == as_before(scores, 0.5, 7)
    config = PostprocessingConfig(threshold=at, median_filter=length)
    assert detect_events(scores, config) == as_before(scores, at, length)


@given(curves, st.data())
def test_each_class_goes_its_own_way(scores: Scores, data: st.DataObject) -> None:
    def drawn() -> PostprocessingConfig:
        thresholds = data.draw(st.tuples(*3 * [st.integers(1, 20)]).map(sorted))
        frames = data.draw(st.booleans())
        boxes = {"step": data.draw(st.sampled_from([0.2, 0.5])), "absolute": data.draw(st.sampled_from([0.2, None]))}
        return PostprocessingConfig.model_validate(
            {
                "threshold": thresholds[1] / 20,
                "tag_threshold": data.draw(st.sampled_from([None, 0.3])),
                "median_filter": data.draw(st.sampled_from([1, 3, 7, "0.3 s"])),
                "hysteresis": thresholds[0] / 20 if frames and data.draw(st.booleans()) else None,
                "minimum_gap": data.draw(st.sampled_from([0.0, 0.1])),
                "minimum_duration": data.draw(st.sampled_from([0.0, 0.3])),
                "boxes": None if frames else boxes,
            }
        )

    own = [drawn() for _ in scores.classes]
    boxes = [config.boxes for config in own]
    if None in boxes and any(boxes):
        own = [config.model_copy(update={"boxes": None}) for config in own]
    told = [config.model_dump() for config in own]
    joint = {key: dict(zip(scores.classes, (one[key] for one in told), strict=True)) for key in told[0]}
    if own[0].boxes is not None:
        parts = ("step", "absolute", "relative")
        joint["boxes"] = {p: {label: told[n]["boxes"][p] for n, label in enumerate(scores.classes)} for p in parts}
        joint["hysteresis"] = None
    else:
        joint["boxes"] = None
    together = PostprocessingConfig.model_validate(joint)
    alone = [detect_events(scores, config) for config in own]
    for label, found in zip(scores.classes, alone, strict=True):
        assert [e for e in detect_events(scores, together) if e.label == label] == [
            e for e in found if e.label == label
        ]
    tags = [detect_tags(scores, config) for config in own]
    assert detect_tags(scores, together) == {t for t, own in zip(scores.classes, tags, strict=True) if t in own}


@given(curves, st.sampled_from([0.0, 0.07, 0.2, 1.0]), st.sampled_from([0.0, 0.07, 0.3, 1.0]))
def test_events_keep_their_distance_and_last_long_enough(scores: Scores, gap: float, duration: float) -> None:
    plain = detect_events(scores, PostprocessingConfig(median_filter=1))
    config = PostprocessingConfig(median_filter=1, minimum_gap=gap, minimum_duration=duration)
    found = detect_events(scores, config)
    for label in scores.classes:
        own = [e for e in found if e.label == label]
        before = [e for e in plain if e.label == label]
        assert all(e.offset - e.onset >= duration - 1e-6 for e in own)
        assert all(b.onset - a.offset >= gap - 1e-6 for a, b in pairwise(own))
        assert {e.onset for e in own} <= {e.onset for e in before}
        assert {e.offset for e in own} <= {e.offset for e in before}
        for e in before:  # gaps come first: what is gone was short even with what is near it
            kept = any(o.onset <= e.onset and e.offset <= o.offset for o in own)
            assert kept or e.offset - e.onset < duration


def test_gaps_are_filled_before_short_events_are_dropped() -> None:
    frames = np.array([1, 0, 1, 0, 0, 0, 1, 0, 0, 0], float)[:, None]
    scores = scores_of(frames, np.arange(11) * 0.1)
    config = PostprocessingConfig(median_filter=1, minimum_gap=0.2, minimum_duration=0.3)
    assert detect_events(scores, config) == [Event(0.0, pytest.approx(0.3), "Cat")]
    exact = PostprocessingConfig(median_filter=1, minimum_gap=0.1, minimum_duration=0.1)  # not shorter than itself
    assert len(detect_events(scores, exact)) == 3


@given(curves, st.sampled_from([1, 3, 7]), st.integers(1, 20), st.integers(0, 20))
def test_hysteresis_widens_events_and_adds_none(scores: Scores, length: int, high: int, low: int) -> None:
    low = min(low, high)
    plain = PostprocessingConfig(threshold=high / 20, median_filter=length)
    wide = PostprocessingConfig(threshold=high / 20, median_filter=length, hysteresis=low / 20)
    under = detect_events(scores, PostprocessingConfig(threshold=low / 20, median_filter=length))
    before, after = detect_events(scores, plain), detect_events(scores, wide)
    assert set(after) <= set(under)
    for e in before:
        assert any(w.label == e.label and w.onset <= e.onset and e.offset <= w.offset for w in after)
    for w in (
        after
    ):  # an event that reaches the upper threshold only where the clip's end cut the frame away is no plain event
        inside = (scores.boundaries[:-1] >= w.onset) & (scores.boundaries[1:] <= w.offset)
        assert (
            any(w.label == e.label and w.onset <= e.onset and e.offset <= w.offset for e in before) or not inside.all()
        )
    if low == high:
        assert before == after


@given(curves, st.integers(0, 12))
def test_a_filter_of_seconds_is_one_of_frames(scores: Scores, half: int) -> None:
    if len(scores.frames) < 4:  # no whole frame in it
        return
    frames = 2 * half + 1
    for seconds in (frames * PERIOD, (frames - 0.9) * PERIOD if half else 0.01, (frames + 0.9) * PERIOD):
        config = PostprocessingConfig(median_filter=f"{seconds:.9f} s")
        assert detect_events(scores, config) == detect_events(scores, PostprocessingConfig(median_filter=frames))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("threshold=1.5", "threshold: expected a number of at least 0 and at most 1, got 1.5"),
        (
            "threshold={default: 0.5, Dog: 2}",
            "threshold: for 'Dog': expected a number of at least 0 and at most 1, got 2",
        ),
        ("threshold=true", "threshold: expected a number"),
        ("threshold={}", "got an empty one"),
        ("threshold={1: 0.3}", "a label must be text, got 1"),
        ("median_filter=4", "must be odd, got 4"),
        ("median_filter=0.5", "seconds such as '0.5 s', got 0.5"),
        ("median_filter=half a second", "median_filter: expected an odd number of frames, or seconds"),
        ("median_filter={default: 7, Dog: -1 s}", "for 'Dog': expected an odd number"),
        ("hysteresis=0.6", "hysteresis is the lower threshold: 0.6 is above threshold 0.5"),
        ("hysteresis={default: null, Dog: 0.6}", "0.6 of Dog is above threshold 0.5"),
        ("minimum_gap=-1", "minimum_gap: expected a number of at least 0, got -1"),
        ("minimum_duration=.inf", "minimum_duration: expected a number"),
        ("boxes.step=0", "boxes.step: expected a number of more than 0, got 0"),
        ("boxes.relative=0.5", "boxes.relative: expected a number of at least 1"),
        ("boxes.stepp=0", r"unknown key 'postprocessing.boxes.stepp' \(did you mean 'step'\?\)"),
    ],
)
def test_values_out_of_range_name_the_key(values: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [f"postprocessing.{values}"])


def test_hysteresis_and_boxes_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="hysteresis belongs to runs of frames"):
        load_config(None, ["postprocessing.boxes={}", "postprocessing.hysteresis=0.2"])


def test_classes_are_checked_against_those_of_the_system() -> None:
    config = PostprocessingConfig(threshold={"default": 0.5, "Dgo": 0.3})
    with pytest.raises(
        ConfigError, match=r"postprocessing.threshold: no class is called 'Dgo' \(did you mean 'Dog'\?\)"
    ):
        config.check_labels(LABELS)
    with pytest.raises(ConfigError, match="'Dgo'"):
        detect_events(scores_of(np.zeros((3, 3))), config)
    partial = PostprocessingConfig(boxes=BoxesConfig(step={"Dog": 0.3, "Cat": 0.3}))
    with pytest.raises(ConfigError, match=r"postprocessing.boxes.step: no value for Rain; .* 'default'"):
        partial.check_labels(LABELS)
    PostprocessingConfig(median_filter={"Dog": 3, "default": "0.4 s"}).check_labels(LABELS)


def test_a_configuration_by_class_is_read_back_from_yaml(tmp_path: Path) -> None:
    given = ["postprocessing.threshold={default: 0.5, Dog: 0.25}", "postprocessing.boxes.step={default: 0.4, Dog: 0.6}"]
    config = load_config(None, [*given, "postprocessing.median_filter={default: 7, Dog: 0.3 s}"])
    config.save(tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert config.differences(load_config(None)) != []


def test_one_threshold_for_all_takes_the_place_of_tuned_ones() -> None:
    tuned = PostprocessingConfig(threshold={"default": 0.5, "Dog": 0.1}, tag_threshold=0.7, median_filter=3)
    assert tuned.at(0.2) == PostprocessingConfig(threshold=0.2, median_filter=3)
    with pytest.raises(ConfigError, match=r"threshold 0.1: .*hysteresis is the lower threshold"):
        PostprocessingConfig(hysteresis=0.2).at(0.1)


def test_what_depends_on_the_threshold_is_told() -> None:
    assert PostprocessingConfig().sweepable
    assert PostprocessingConfig(boxes=BoxesConfig(), minimum_gap={"default": 0.0}).sweepable
    for values in ({"hysteresis": 0.1}, {"minimum_gap": {"default": 0.0, "Dog": 0.1}}, {"minimum_duration": 0.1}):
        assert not PostprocessingConfig.model_validate(values).sweepable


def test_the_example_of_the_documentation_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs/postprocessing.md").read_text()
    (tmp_path / "example.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    assert load_config(tmp_path / "example.yaml").postprocessing != PostprocessingConfig()
    assert all(f"| `{name}` |" in page for name in PostprocessingConfig.model_fields)
