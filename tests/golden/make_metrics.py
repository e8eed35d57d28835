"""Make the golden values of the event-list metrics with sed_eval 0.2.1, in an environment of its own:

    python3 -m venv golden && golden/bin/pip install sed_eval==0.2.1 dcase_util 'setuptools<82' 'pandas<3' 'numpy<2'
    golden/bin/python tests/golden/make_metrics.py [DCASE2018_TASK4_FOLDER]

It writes reference.tsv, estimated.tsv, durations.tsv (random events: classes that one side or both lack, empty clips, overlaps, touching
events, very short ones, ones on segment borders and past the end) and metrics.json; with the folder also the real DCASE 2018 numbers.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from pathlib import Path

import dcase_util
import sed_eval

HERE = Path(__file__).parent
LABELS = ["Alarm", "Both_absent", "Cat", "Dog", "Never_estimated", "Never_there", "Speech"]


def events(rng: random.Random, labels: list[str], duration: float) -> list[tuple[float, float, str]]:
    found = []
    for _ in range(rng.choice([0, 1, 1, 2, 3, 5, 8])):
        onset = rng.choice([rng.uniform(0, duration), float(int(rng.uniform(0, duration)))])
        length = rng.choice([rng.uniform(0.02, 0.3), rng.uniform(0.3, 3), 1.0, duration])
        offset = onset + length if rng.random() < 0.05 else min(onset + length, duration)
        found.append((round(onset, 3), round(offset, 3), rng.choice(labels)))
    return found


def near(rng: random.Random, reference: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    found = []
    for onset, offset, label in reference:
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            shifted = max(0.0, onset + rng.choice([0.0, rng.gauss(0, 0.15)]))
            ended = max(shifted + 0.01, offset + rng.choice([0.0, rng.gauss(0, 0.25)]))
            said = rng.choice([label] * 6 + ["Alarm", "Cat", "Dog"])
            if said != "Never_estimated":
                found.append((round(shifted, 3), round(ended, 3), said))
    rng.shuffle(found)
    return found


def generate() -> None:
    rng = random.Random(2021)
    rows: dict[str, list[list[str]]] = {"reference": [], "estimated": [], "durations": []}
    for number in range(80):
        clip = f"clip_{number:03d}.wav"
        duration = rng.choice([10.0, 10.0, 7.3, 4.999])
        held = events(rng, ["Alarm", "Cat", "Dog", "Speech", "Never_estimated"], duration)
        said = near(rng, held) + events(rng, ["Cat", "Never_there", "Speech"], duration)[:2]
        rows["durations"].append([clip, f"{duration:.3f}"])
        for name, own in (("reference", held), ("estimated", said)):
            unique = list(dict.fromkeys(own))
            rows[name] += [[clip, f"{a:.3f}", f"{b:.3f}", c] for a, b, c in unique] or [[clip, "", "", ""]]
    for name, header in (
        ("reference", ["filename", "onset", "offset", "event_label"]),
        ("estimated", ["filename", "onset", "offset", "event_label"]),
        ("durations", ["filename", "duration"]),
    ):
        with (HERE / f"{name}.tsv").open("w", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *rows[name]])


def read(path: Path) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            own = found.setdefault(row["filename"], [])
            if row["event_label"]:
                own.append(
                    {
                        "filename": row["filename"],
                        "event_onset": float(row["onset"]),
                        "event_offset": float(row["offset"]),
                        "event_label": row["event_label"],
                    }
                )
    return found


def compare(metric, reference: dict, estimated: dict, durations: dict | None = None) -> dict:
    for clip, held in reference.items():
        more = {} if durations is None else {"evaluated_length_seconds": durations[clip]}
        metric.evaluate(
            reference_event_list=dcase_util.containers.MetaDataContainer(held),
            estimated_event_list=dcase_util.containers.MetaDataContainer(estimated.get(clip, [])),
            **more,
        )
    results = metric.results()
    for label, own in results["class_wise"].items():
        own["count"]["Ntp"] = metric.class_wise[label]["Ntp"]
    results["counts"] = {key: metric.overall[key] for key in ("Nref", "Nsys", "Ntp")}
    return results


def all_metrics(reference: dict, estimated: dict, labels: list[str], durations: dict | None) -> list[dict]:
    found = []
    for resolution in (1.0, 0.1):
        for lengths in (None, durations) if durations else (None,):
            metric = sed_eval.sound_event.SegmentBasedMetrics(labels, time_resolution=resolution)
            settings = {
                "kind": "segment",
                "resolution": resolution,
                "durations": lengths is not None,
                "empty_output": "skip",
            }
            found.append({"settings": settings, "results": compare(metric, reference, estimated, lengths)})
    for collar, share, offsets, matching, empty in (
        (0.2, 0.2, True, "optimal", "zero"),
        (0.2, 0.2, True, "optimal", "skip"),
        (0.2, 0.2, True, "greedy", "zero"),
        (0.25, 0.5, True, "optimal", "zero"),
        (0.5, 0.0, True, "optimal", "zero"),
        (0.2, 0.2, False, "optimal", "zero"),
        (0.2, 0.2, False, "greedy", "skip"),
    ):
        metric = sed_eval.sound_event.EventBasedMetrics(
            labels,
            t_collar=collar,
            percentage_of_length=share,
            evaluate_offset=offsets,
            event_matching_type=matching,
            empty_system_output_handling="zero_score" if empty == "zero" else None,
        )
        settings = {
            "kind": "event",
            "onset_collar": collar,
            "offset_collar": collar if offsets else None,
            "offset_rate": share,
            "matching": matching,
            "empty_output": empty,
        }
        found.append({"settings": settings, "results": compare(metric, reference, estimated)})
    return found


def plain(value):
    """NaN as null, numpy numbers as Python's."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, (str, bool)) or value is None:
        return value
    return None if value != value else float(value)


def main() -> None:
    generate()
    durations = {}
    with (HERE / "durations.tsv").open(newline="") as file:
        durations = {row["filename"]: float(row["duration"]) for row in csv.DictReader(file, delimiter="\t")}
    reference, estimated = read(HERE / "reference.tsv"), read(HERE / "estimated.tsv")
    golden = {"labels": LABELS, "generated": all_metrics(reference, estimated, LABELS, durations)}
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
        reference = read(folder / "metadata/eval/eval.csv")
        estimated = read(folder / "baseline_system_on_eval.csv")
        labels = sorted({event["event_label"] for own in reference.values() for event in own})
        golden["dcase2018"] = {"labels": labels, "metrics": all_metrics(reference, estimated, labels, None)}
    (HERE / "metrics.json").write_text(json.dumps(plain(golden), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
