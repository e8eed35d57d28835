"""Metrics at all thresholds, and PSDS, against the numbers of sed_scores_eval and psds_eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avsed.annotations import Events
from avsed.metrics import (
    PsdsParameters,
    candidates_of_points,
    curves_of_scores,
    event_sweep,
    intersection_based,
    intersection_sweep,
    psds,
    segment_sweep,
)
from avsed.metrics.counts import fractions
from avsed.postprocessing import events_from_decisions
from avsed.scores import Scores
from avsed.tables import read_durations, read_events

GOLDEN = Path(__file__).parent / "golden"
FACTS = json.loads((GOLDEN / "sweeps.json").read_text())
HELD = [label for label in FACTS["labels"] if label != "Never_there"]


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
