"""Tuned post-processing: the best there is on the clips it was tuned on, and never on others' behalf."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsed.annotations import Event, Events
from avsed.config import MetricsConfig
from avsed.errors import ConfigError
from avsed.evaluation import Evaluation, evaluate_scores
from avsed.metrics import Result, intersection_based
from avsed.postprocessing import detect_events
from avsed.postprocessing.candidates import Saying
from avsed.postprocessing.choice import Choice, Steps, best_alone, best_together, between
from avsed.postprocessing.files import Preset, describe, find_preset, read_preset
from avsed.postprocessing.objectives import OBJECTIVES, Labelled, find_objective
from avsed.postprocessing.options import BoxesConfig, PostprocessingConfig, by_class
from avsed.postprocessing.tuning import Grid, What, tune
from avsed.scores import Scores

LABELS = ("Cat", "Dog", "Rain", "Siren")
SMALL = Grid(medians=(1, 5, "0.3 s"), steps=(0.3, 0.6), merges=((0.2, None), (None, 2.0)))


@st.composite
def steps(draw: st.DrawFn) -> Steps:
    """Counts that change at a few thresholds, as a system's would: correct events are among the estimated ones."""
    levels = sorted(draw(st.sets(st.integers(0, 20), max_size=5)), reverse=True)
    estimated = [draw(st.integers(0, 5)) for _ in levels]
    correct = [draw(st.integers(0, number)) for number in estimated]
    changes = [np.array(x, np.int64) for x in (correct, estimated)]
    return Steps.of_changes(np.array(levels) / 20, *changes, sum(correct) + draw(st.integers(1, 4)))


def all_choices(options: list[Steps]) -> list[tuple[int, int]]:
    """2 C and E + R of every option and step whose thresholds are in [0, 1]."""
    found = []
    for own in options:
        for step, (correct, estimated) in enumerate(zip(own.correct.tolist(), own.estimated.tolist(), strict=True)):
            below, up_to = own.bounds
            if below[step] < up_to[step]:
                found.append((2 * correct, estimated + own.reference))
    return found


def check_counts(options: list[Steps], choice: Choice) -> None:
    own = options[choice.option]
    step = own.at(choice.threshold)
    assert 0 <= choice.threshold <= 1
    assert (choice.correct, choice.estimated) == (own.correct[step], own.estimated[step])


@given(st.lists(steps(), min_size=1, max_size=3), st.integers(0, 20))
def test_a_class_alone_takes_its_best(options: list[Steps], default: int) -> None:
    choice = best_alone(options, default / 20, tune_threshold=True)
    check_counts(options, choice)
    best = max(Fraction(twice, total) for twice, total in all_choices(options))
    assert Fraction(2 * choice.correct, choice.estimated + choice.reference) == best
    first = options[0].at(default / 20)
    if Fraction(2 * int(options[0].correct[first]), int(options[0].estimated[first]) + options[0].reference) == best:
        assert (choice.option, choice.threshold) == (0, default / 20)
    fixed = best_alone(options, default / 20, tune_threshold=False)
    assert fixed.threshold == default / 20


@settings(max_examples=60)
@given(st.lists(st.lists(steps(), min_size=1, max_size=2), min_size=1, max_size=3), st.integers(0, 3))
def test_classes_together_reach_the_best_of_all_combinations(classes: list[list[Steps]], more: int) -> None:
    choices = best_together(classes, [0.5] * len(classes), tune_threshold=True, others=(more, 1))
    for options, choice in zip(classes, choices, strict=True):
        check_counts(options, choice)
    found = Fraction(
        2 * sum(own.correct for own in choices), more + 1 + sum(own.estimated + own.reference for own in choices)
    )
    combined = itertools.product(*map(all_choices, classes))
    assert found == max(Fraction(sum(a for a, _ in own), more + 1 + sum(b for _, b in own)) for own in combined)


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_a_threshold_between_two_scores_parts_them(first: float, second: float) -> None:
    below, up_to = sorted((first, second))
    if below < up_to:
        found = between(below, up_to)
        assert below < found <= up_to
        assert np.float32(below) < np.float32(found) <= np.float32(up_to)
        if up_to - below > 0.01:
            assert abs(found - (below + up_to) / 2) <= (up_to - below) / 4


@st.composite
def labelled(draw: st.DrawFn) -> Labelled:
    """A few clips with events, and scores that have something to do with them; nothing of the last class in the reference."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores, reference = [], Events()
    for number in range(draw(st.integers(1, 4))):
        frames = int(random.integers(8, 40))
        boundaries = np.append(0.0, np.arange(1, frames + 1) * 0.1 - 0.03)
        curves = random.uniform(0, 0.5, (frames, len(LABELS)))
        events = []
        for _ in range(int(random.integers(1, 4))):
            column, first = int(random.integers(0, 3)), int(random.integers(0, frames - 3))
            stop = int(random.integers(first + 1, frames))
            events.append(Event(round(first * 0.1, 3), round(stop * 0.1, 3), LABELS[column]))
            curves[first:stop, column] += random.uniform(0, 0.5)
        curves = np.minimum(curves, 1)
        rounded = np.round(curves, 1).astype(np.float32) if draw(st.booleans()) else curves.astype(np.float32)
        scores.append(Scores(f"{number}.wav", LABELS, rounded, boundaries, rounded.max(axis=0)))
        reference[f"{number}.wav"] = sorted(set(events))
    durations = {one.clip: one.duration for one in scores}
    return Labelled(scores, reference, durations, LABELS, MetricsConfig())


def evaluated(clips: Labelled, config: PostprocessingConfig) -> Evaluation:
    return evaluate_scores(
        clips.scores,
        clips.reference,
        labels=clips.labels,
        durations=clips.durations,
        postprocessing=config,
        metrics=clips.metrics,
    )[0]


@settings(max_examples=20)
@given(
    labelled(),
    st.sampled_from(["event", "segment", "clip", "intersection"]),
    st.sampled_from(["macro", "micro"]),
    st.data(),
)
def test_tuned_is_never_worse_and_its_value_is_that_of_an_evaluation(
    clips: Labelled, kind: str, average: str, data: st.DataObject
) -> None:
    objective = find_objective(f"{kind}_{average}_f1")
    ways = [["thresholds"]] if kind == "clip" else [["thresholds"], ["thresholds", "median"], ["median"]]
    what = data.draw(st.sampled_from(ways))
    base = PostprocessingConfig(threshold={"default": 0.5, "Dog": 0.3}, median_filter=3)
    found = tune(clips, base, objective=objective, what=what, grid=SMALL)

    def value(config: PostprocessingConfig) -> Result:
        if kind == "intersection":
            found = {one.clip: detect_events(one, config) for one in clips.scores}
            return intersection_based(clips.reference, found, labels=LABELS, dtc=0.5, gtc=0.5)
        own: Result = getattr(evaluated(clips, config), kind)
        return own

    before, after = value(base), value(found.config)
    assert found.before == pytest.approx(getattr(before, average).f1, abs=1e-12)
    assert found.after == pytest.approx(getattr(after, average).f1, abs=1e-12)
    assert found.after >= found.before
    for own in found.classes:
        assert own.events == sum(e.label == own.label for events in clips.reference.values() for e in events)
        assert own.kept == (own.events == 0)
        if not own.kept:
            assert own.after == pytest.approx(after.classes[own.label].f1, abs=1e-12)
        else:
            for key in ("threshold", "median_filter"):
                column = LABELS.index(own.label)
                kept = by_class(getattr(found.config, key), LABELS, key=key)[column]
                assert kept == by_class(getattr(base, key), LABELS, key=key)[column]
    if what == ["thresholds"]:
        for common in (0.1, 0.3, 0.45, 0.6, 0.8):
            there = {own.label: common for own in found.classes if not own.kept}
            one = PostprocessingConfig(threshold={"default": 0.5, "Dog": 0.3} | there, median_filter=3)
            assert getattr(value(one), average).f1 <= found.after + 1e-12
    if kind == "clip":
        assert found.config.threshold == base.threshold
    else:  # tags stay as they were
        assert evaluated(clips, found.config).clip.micro == evaluated(clips, base).clip.micro


@settings(max_examples=10)
@given(labelled(), st.sampled_from([1, 2]), st.sampled_from(["median", "boxes"]))
def test_for_psds_each_class_takes_its_greatest_area(clips: Labelled, scenario: int, what: What) -> None:
    objective = find_objective(f"psds{scenario}")
    base = PostprocessingConfig(threshold=0.4)
    found = tune(clips, base, objective=objective, what=[what], grid=SMALL)
    if what == "median":
        options = [base, *(PostprocessingConfig(median_filter=length) for length in SMALL.medians)]
    else:
        pairs = itertools.product(SMALL.steps, SMALL.merges)
        boxes = [BoxesConfig(step=step, absolute=absolute, relative=relative) for step, (absolute, relative) in pairs]
        options = [PostprocessingConfig(boxes=own) for own in boxes]
    areas = [objective.measure(clips, option).classes for option in options]
    for own in found.classes:
        if not own.kept:
            assert own.after == pytest.approx(max(area[own.label] for area in areas), abs=1e-12)
    assert found.config.threshold == 0.4 and found.config.tag_threshold is None
    assert found.after == pytest.approx(objective.measure(clips, found.config).overall)


@settings(max_examples=6)
@given(labelled())
def test_boxes_are_tuned_class_by_class(clips: Labelled) -> None:
    objective = find_objective("event_macro_f1")
    found = tune(clips, PostprocessingConfig(), objective=objective, what=["thresholds", "boxes"], grid=SMALL)
    assert found.config.boxes is not None
    assert found.after == pytest.approx(evaluated(clips, found.config).event.macro.f1, abs=1e-12)
    for step, (absolute, relative) in itertools.product(SMALL.steps, SMALL.merges):
        boxes = BoxesConfig(step=step, absolute=absolute, relative=relative)
        one = tune(clips, PostprocessingConfig(boxes=boxes), objective=objective, what=["thresholds"], grid=SMALL)
        assert one.after <= found.after + 1e-12
    again = tune(clips, found.config, objective=objective, what=["thresholds", "boxes"], grid=SMALL)
    assert again.config == found.config  # nothing is gained any more


@settings(max_examples=25)
@given(
    labelled(), st.sampled_from([{}, {"median_filter": "0.3 s"}, {"boxes": BoxesConfig(step=0.4)}]), st.integers(0, 10)
)
def test_candidates_are_what_is_detected_at_each_threshold(
    clips: Labelled, values: dict[str, object], threshold: int
) -> None:
    config = PostprocessingConfig.model_validate(values | {"threshold": np.float32(threshold / 10).item()})
    names = list(reversed(clips.reference))
    for label in LABELS:
        (every,) = Saying(clips.scores, config, labels=[label], clips=names)
        said = every.at(np.float32(threshold / 10).item())
        found = {
            Event(onset, offset, names[clip])
            for clip, onset, offset in zip(said.clip.tolist(), said.onset.tolist(), said.offset.tolist(), strict=True)
        }
        expected = {
            e._replace(label=one.clip) for one in clips.scores for e in detect_events(one, config) if e.label == label
        }
        assert found == expected


@pytest.mark.parametrize(
    ("objective", "what", "values", "message"),
    [
        (
            "event_macro_f1",
            ["threshold"],
            {},
            "what to tune is one or more of thresholds, median, boxes; got threshold",
        ),
        ("event_macro_f1", [], {}, "got none"),
        ("event_macro_f1", ["median", "boxes"], {}, "tune one of the two"),
        ("psds1", ["thresholds"], {}, "psds1 is of all thresholds"),
        ("clip_micro_f1", ["thresholds", "median"], {}, "tune thresholds alone"),
        ("event_macro_f1", ["median"], {"boxes": {}}, "pass no median filter"),
        ("event_macro_f1", ["thresholds"], {"minimum_gap": 0.2}, "tune without them"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    objective: str, what: list[str], values: dict[str, object], message: str
) -> None:
    frames = np.zeros((4, 4), np.float32)
    scores = [Scores("a", LABELS, frames, np.arange(5) * 0.1, frames[0])]
    clips = Labelled(scores, {"a": [Event(0, 0.2, "Cat")]}, {}, LABELS, MetricsConfig())
    with pytest.raises(ConfigError, match=message):
        tune(clips, PostprocessingConfig.model_validate(values), objective=find_objective(objective), what=what)  # type: ignore[arg-type]


def test_objectives_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'event_marco_f1' \(did you mean 'event_macro_f1'\?\)"):
        find_objective("event_marco_f1")
    assert {"event_macro_f1", "segment_micro_f1", "clip_micro_f1", "intersection_macro_f1", "psds1", "psds2"} <= set(
        OBJECTIVES
    )


def test_nothing_can_be_tuned_on_clips_without_events() -> None:
    frames = np.zeros((4, 4), np.float32)
    clips = Labelled(
        [Scores("a", LABELS, frames, np.arange(5) * 0.1, frames[0])], {"a": []}, {}, LABELS, MetricsConfig()
    )
    with pytest.raises(ConfigError, match="no clip has an event"):
        tune(clips, PostprocessingConfig(), objective=find_objective("event_macro_f1"), what=["thresholds"])


def test_a_preset_is_read_back_and_may_be_written_by_hand(tmp_path: Path) -> None:
    config = PostprocessingConfig(threshold={"default": 0.5, "Dog": 0.25}, boxes=BoxesConfig(step=0.4))
    record = {"split": "validation", "fingerprint": {"clips": 3, "sha256": "abc"}, "clips": "aa bb cc"}
    preset = Preset("best", config, record)
    preset.write(tmp_path / "best.yaml")
    assert find_preset("best", tmp_path) == preset == read_preset(tmp_path / "best.yaml")
    assert preset.about(["aa", "cc", "dd"])["tuned_on_these_clips"] == 2
    assert "NOT A TEST, it was tuned on 2 of these very clips" in describe(preset.about(["aa", "cc", "dd"]), 3)
    assert "NOT A TEST" not in describe(preset.about(["dd"]), 1)
    assert "clips" not in preset.about([])["tuned"]
    (tmp_path / "own.yml").write_text("postprocessing: {hysteresis: 0.2}\n")
    own = find_preset(str(tmp_path / "own.yml"), tmp_path / "elsewhere")
    assert own == Preset("own", PostprocessingConfig(hysteresis=0.2))
    assert own.about(["aa"]) == {"name": "own", "tuned": None, "tuned_on_these_clips": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("postprocessing: [", "not valid YAML"),
        ("threshold: 0.5", "expected the sections 'postprocessing' and 'tuned'"),
        (
            "postprocessing: {treshold: 0.5}",
            r"bad.yaml: postprocessing: unknown key 'treshold' \(did you mean 'threshold'",
        ),
        ("- 1", "expected the sections"),
        ("tuned: 3", "expected the sections"),
    ],
)
def test_a_bad_preset_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_preset("bad", tmp_path)


def test_an_absent_preset_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is none yet: 'avsed tune' makes one"):
        find_preset("tuned", tmp_path)
    Preset("tuned", PostprocessingConfig()).write(tmp_path / "tuned.yaml")
    with pytest.raises(ConfigError, match=r"no post-processing 'tund' \(did you mean 'tuned'\?\); there are tuned"):
        find_preset("tund", tmp_path)
    with pytest.raises(ConfigError, match="a name of letters, digits"):
        find_preset("../tuned", tmp_path)
    with pytest.raises(ConfigError, match=r"absent.yaml: cannot read it"):
        find_preset("absent.yaml", tmp_path)
