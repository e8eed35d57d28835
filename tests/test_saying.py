"""What is said at all thresholds, whole or block by block."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from avsed.annotations import Event
from avsed.config import MetricsConfig, PsdsConfig
from avsed.errors import AnnotationError, ConfigError, ScoresError
from avsed.evaluation import evaluate_scores
from avsed.metrics.candidates import Candidates, Curves
from avsed.postprocessing import candidates as module
from avsed.postprocessing import detect_events
from avsed.postprocessing.candidates import Saying
from avsed.postprocessing.options import PostprocessingConfig
from avsed.scores import Scores

LABELS = ("Cat", "Dog", "Owl")
CLIPS = ("a", "b", "silent", "c")


def scores(*clips: str) -> list[Scores]:
    random = np.random.default_rng(0)
    found = []
    for clip in clips:
        count = int(random.integers(5, 40))
        frames = random.random((count, 2)).astype(np.float32).round(1)
        found.append(Scores(clip, ("Owl", "Dog"), frames, 0.1 * np.arange(count + 1), frames.max(axis=0)))
    return found


def all_of(said: Any) -> Candidates:
    return said.candidates() if isinstance(said, Curves) else said


@pytest.mark.parametrize(
    "config",
    [
        PostprocessingConfig(),
        PostprocessingConfig(median_filter={"default": 3, "Dog": "0.5 s"}),
        PostprocessingConfig(boxes={"step": {"default": 0.3, "Owl": 0.2}}),
    ],
    ids=["paper", "by class", "boxes"],
)
def test_what_is_said_is_what_events_are_detected_at_any_threshold(
    config: PostprocessingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = scores("c", "a", "b")
    whole = list(Saying(own, config, labels=LABELS, clips=CLIPS))
    monkeypatch.setattr(module, "KEPT", 0)
    monkeypatch.setattr(module, "HELD", 1)  # one class at a time
    pieces = Saying(own, config, labels=LABELS, clips=CLIPS)
    for _ in range(2):  # as often as asked for
        for label, said, piece in zip(LABELS, whole, pieces, strict=True):
            said, piece = all_of(said), all_of(piece)
            for name, values in vars(said).items():
                assert np.array_equal(values, vars(piece)[name]), name
            for threshold in (0.25, 0.5, 0.75):
                at = said.at(threshold)
                found = [(CLIPS[c], on, off) for c, on, off in zip(at.clip, at.onset, at.offset, strict=True)]
                expected = [
                    (one.clip, event.onset, event.offset)
                    for one in own
                    for event in detect_events(one, config.at(threshold))
                    if event.label == label
                ]
                assert sorted(found) == sorted(expected)
    assert not len(all_of(whole[0]).clip)  # Cat has no scores


def test_what_does_not_fit_is_named() -> None:
    paper = PostprocessingConfig()
    with pytest.raises(AnnotationError, match="'b'"):
        list(Saying(scores("a", "b"), paper, labels=LABELS, clips=("a",)))
    with pytest.raises(ScoresError, match="a: scores are given twice"):
        list(Saying(scores("a", "a"), paper, labels=LABELS, clips=CLIPS))
    with pytest.raises(ConfigError, match="Dgo"):
        Saying(scores("a"), PostprocessingConfig(median_filter={"default": 3, "Dgo": 5}), labels=LABELS, clips=CLIPS)
    assert not len(all_of(next(iter(Saying([], paper, labels=LABELS, clips=CLIPS)))).clip)


FRAMES_ALONE = (
    "best_segment",
    "best_event",
    "best_intersection",
    "psds",
)  # numbers that follow from frames at all thresholds


def test_numbers_of_many_classes_are_the_same_but_for_their_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    own = scores("c", "a", "b")
    events = {clip: [Event(0.0, 0.6, LABELS[i % 2 + 1]), Event(0.8, 4.0, "Owl")] for i, clip in enumerate("abc")}
    metrics = MetricsConfig(resamples=20, psds=PsdsConfig(dtc=0.1, gtc=0.1, e_max=10000))
    options = {"labels": LABELS, "durations": dict.fromkeys("abc", 4.0), "metrics": metrics}
    whole, _ = evaluate_scores(own, events, postprocessing=PostprocessingConfig(), **options)
    monkeypatch.setattr(module, "KEPT", 0)
    monkeypatch.setattr(module, "HELD", 1)
    large, _ = evaluate_scores(own, events, postprocessing=PostprocessingConfig(), **options)
    assert whole.values.keys() == large.values.keys()
    for key, value in whole.values.items():
        assert large.values[key] == pytest.approx(value, abs=1e-12, nan_ok=True), key
    assert whole.values["psds"] > 0 and whole.values["best_segment_macro_f1"] > 0
    intervals, classes = large.intervals
    for key, interval in intervals.items():  # a resample of three clips may hold each once: then it is known
        before, lost = whole.intervals[0][key].resamples, key.startswith(FRAMES_ALONE)
        assert interval.resamples < before / 2 if lost and before else interval.resamples == before, key
    assert classes.keys() == whole.intervals[1].keys()
    assert "null" in json.dumps(large.to_dict(), allow_nan=False)
