"""Make the golden values of the metrics over all thresholds with sed_scores_eval 0.0.4 and psds_eval 0.5.3, in an environment of their own:

    python3 -m venv golden && golden/bin/pip install 'numpy<2' 'pandas<3' 'setuptools<82' cython wheel
    golden/bin/pip install --no-build-isolation sed_scores_eval==0.0.4 psds_eval==0.5.3
    golden/bin/python tests/golden/make_sweeps.py

It writes sweeps_scores.tsv (smooth random scores with ties and plateaus, in 256ths; a class that is never said and one that the
reference lacks; short clips and clips without events), sweeps_reference.tsv, sweeps_durations.tsv and sweeps.json. Times are multiples
of 1/64 s: differences of such times are exact, so that no package's rounding plays a part. Thresholds lie between the scores, so that it
does not matter whether a score at the threshold counts.
"""

from __future__ import annotations

import csv
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from psds_eval import PSDSEval
from sed_scores_eval import collar_based, intersection_based, segment_based
from sed_scores_eval.base_modules.detection import scores_to_event_list
from sed_scores_eval.base_modules.scores import create_score_dataframe

HERE = Path(__file__).parent
LABELS = ["Alarm", "Cat", "Dog", "Never_said", "Never_there", "Speech"]
HELD = [label for label in LABELS if label != "Never_there"]
LEVELS = 256
THRESHOLDS = [(k + 0.5) / LEVELS for k in (10, 40, 80, 120, 160, 200, 240)]
POINTS = [(k + 0.5) / LEVELS for k in range(5, 256, 12)]
PSDS = {
    "scenario 1": {"dtc": 0.7, "gtc": 0.7, "cttc": None, "alpha_ct": 0.0, "alpha_st": 1.0, "e_max": 100.0},
    "scenario 2": {"dtc": 0.1, "gtc": 0.1, "cttc": 0.3, "alpha_ct": 0.5, "alpha_st": 1.0, "e_max": 100.0},
    "far right": {"dtc": 0.7, "gtc": 0.7, "cttc": None, "alpha_ct": 0.0, "alpha_st": 0.5, "e_max": 3000.0},
    "mean of classes": {"dtc": 0.5, "gtc": 0.5, "cttc": None, "alpha_ct": 0.0, "alpha_st": 0.0, "e_max": 700.0},
    "many cross-triggers": {"dtc": 0.4, "gtc": 0.3, "cttc": 0.1, "alpha_ct": 1.0, "alpha_st": 0.3, "e_max": 2000.0},
}


def generate(rng: np.random.Generator) -> tuple[dict, dict, dict]:
    scores, reference, durations = {}, {}, {}
    for number in range(40):
        clip = f"clip_{number:02d}"
        duration = float(rng.choice([10.0, 10.0, 7.25, 3.53125, 0.5]))
        count = math.ceil(duration / 0.25)
        boundaries = np.minimum(np.arange(count + 1) * 0.25, duration)
        held = []
        for label in HELD:
            end = 0.0
            for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
                onset = end + round(float(rng.uniform(0.1, 3)) * 64) / 64
                end = onset + round(float(rng.choice([rng.uniform(0.05, 0.5), rng.uniform(0.5, 4)])) * 64) / 64
                if end > duration or end <= onset:
                    break
                held.append((onset, end, label))
                end += 1 / 64  # sed_scores_eval refuses events of one class that touch
        columns = []
        for label in LABELS:
            middle = (boundaries[1:] + boundaries[:-1]) / 2
            sounds = np.zeros(count)
            for onset, offset, own in held:
                if own == label:
                    sounds[(middle > onset - 0.1) & (middle < offset + 0.2)] = 1
            noise = np.convolve(rng.normal(size=count + 8), np.hanning(9), "valid")[:count]
            curve = 1 / (1 + np.exp(3 - 6 * sounds - noise))
            curve = np.floor(curve * (LEVELS if label != "Cat" else 8)) * (1 if label != "Cat" else 32)  # Cat: coarse
            columns.append(np.zeros(count) if label == "Never_said" else np.minimum(curve, LEVELS))
        scores[clip] = create_score_dataframe(np.stack(columns, 1) / LEVELS, boundaries, event_classes=LABELS)
        reference[clip], durations[clip] = sorted(held), duration
    return scores, reference, durations


def write(scores: dict, reference: dict, durations: dict) -> None:
    def table(name: str, rows: list) -> None:
        with (HERE / name).open("w", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)

    rows = [["filename", "onset", "offset", *LABELS]]
    for clip, frame in scores.items():
        rows += [
            [clip, f"{on:g}", f"{off:g}", *(round(value * LEVELS) for value in values)]
            for on, off, *values in frame.itertuples(index=False)
        ]
    table("sweeps_scores.tsv", rows)
    rows = [["filename", "onset", "offset", "event_label"]]
    for clip, held in reference.items():
        rows += [[clip, repr(on), repr(off), label] for on, off, label in held] or [[clip, "", "", ""]]
    table("sweeps_reference.tsv", rows)
    table("sweeps_durations.tsv", [["filename", "duration"], *([clip, repr(own)] for clip, own in durations.items())])


def f1_scores(scores: dict, reference: dict, durations: dict) -> list[dict]:
    """sed_scores_eval at given thresholds and the best; it has no F1 of classes without reference."""
    scores = {clip: frame[["onset", "offset", *HELD]] for clip, frame in scores.items()}
    collars = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_rate": 0.2}
    wide = {"onset_collar": 0.5, "offset_collar": 0.25, "offset_rate": 0.5}
    onsets = {"onset_collar": 0.25, "offset_collar": None, "offset_rate": 0.0}
    found = []
    for settings in (
        *({"kind": "event", **own} for own in (collars, wide, onsets)),
        *({"kind": "intersection", "dtc": own, "gtc": own} for own in (0.5, 0.7, 0.1)),
        *({"kind": "segment", "resolution": own} for own in (1.0, 0.1875)),
    ):
        if settings["kind"] == "event":
            module, more = collar_based, ()
            own = {
                "onset_collar": settings["onset_collar"],
                "offset_collar": 1000.0 if settings["offset_collar"] is None else settings["offset_collar"],
                "offset_collar_rate": settings["offset_rate"],
            }
        elif settings["kind"] == "intersection":
            module, more = intersection_based, ()
            own = {"dtc_threshold": settings["dtc"], "gtc_threshold": settings["gtc"]}
        else:
            module, more, own = segment_based, (durations,), {"segment_length": settings["resolution"]}
        numbers = {}
        for threshold in THRESHOLDS:
            f1, precision, recall, counts = module.fscore(scores, reference, *more, threshold=threshold, **own)
            numbers[str(threshold)] = {
                "f1": f1,
                "correct": {label: counts[label]["tps"] for label in HELD},
                "false": {label: counts[label]["fps"] for label in HELD},
            }
        f1, precision, recall, at, counts = module.best_fscore(scores, reference, *more, **own)
        best = {"f1": f1, "precision": precision, "recall": recall, "threshold": {x: at[x] for x in HELD}}
        found.append({"settings": settings, "thresholds": numbers, "best": best})
    return found


def psds_of_scores(scores: dict, reference: dict, durations: dict) -> list[dict]:
    """sed_scores_eval over all thresholds; it refuses classes without reference."""
    scores = {clip: frame[["onset", "offset", *HELD]] for clip, frame in scores.items()}
    found = []
    for name, own in PSDS.items():
        value, classes, roc, curves = intersection_based.psds(
            scores,
            reference,
            durations,
            dtc_threshold=own["dtc"],
            gtc_threshold=own["gtc"],
            cttc_threshold=own["cttc"],
            alpha_ct=own["alpha_ct"],
            alpha_st=own["alpha_st"],
            max_efpr=own["e_max"],
        )
        found.append({"name": name, "settings": own, "psds": value, "classes": classes})
        found[-1]["roc"] = {"ratio": roc[0][:-1], "rate": roc[1][:-1]}  # without the added point at e_max
        found[-1]["curves"] = {label: {"ratio": curves[label][0], "rate": curves[label][1]} for label in HELD}
    return found


def psds_of_points(scores: dict, reference: dict, durations: dict) -> list[dict]:
    """psds_eval from operating points, and its F1 of each of them."""
    truth = pd.DataFrame(
        [(clip, *event) for clip, own in reference.items() for event in own],
        columns=["filename", "onset", "offset", "event_label"],
    )
    lengths = pd.DataFrame(list(durations.items()), columns=["filename", "duration"])
    found = []
    for name, own in PSDS.items():
        cttc = 1.0 if own["cttc"] is None else own["cttc"]
        system = PSDSEval(own["dtc"], own["gtc"], cttc, ground_truth=truth, metadata=lengths)
        f1 = {}
        for threshold in POINTS:
            said = scores_to_event_list(scores, np.full(len(LABELS), threshold))
            rows = [(clip, *event) for clip, events in said.items() for event in events]
            table = pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label"])
            system.add_operating_point(table)
            if threshold in POINTS[::5]:
                macro, classes = system.compute_macro_f_score(table)
                f1[str(threshold)] = {"macro": macro, **classes}
        value = system.psds(own["alpha_ct"], own["alpha_st"], own["e_max"])
        curves = system.psd_roc_curves(own["alpha_ct"])[2]
        areas = [PSDSEval._auc(curves.xp, row, own["e_max"]) / own["e_max"] for row in curves.yp]
        names = [label for label in system.class_names if label in HELD]
        classes = dict(zip(names, areas, strict=True))
        found.append({"name": name, "settings": own, "psds": value.value, "classes": classes, "f1": f1})
    return found


def plain(value):
    """Numbers of Python's, null for NaN and infinity, tuples and arrays as lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    return float(value) if math.isfinite(value) else None


def main() -> None:
    warnings.simplefilter("ignore")
    data = generate(np.random.default_rng(2024))
    write(*data)
    golden = {
        "labels": LABELS,
        "levels": LEVELS,
        "points": POINTS,
        "f1": f1_scores(*data),
        "psds_of_scores": psds_of_scores(*data),
        "psds_of_points": psds_of_points(*data),
    }
    (HERE / "sweeps.json").write_text(json.dumps(plain(golden), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
