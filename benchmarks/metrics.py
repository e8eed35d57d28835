"""Event-based and segment-based scores against sed_eval's, in turn, in one run, on the same events already parsed.

    python benchmarks/metrics.py --data DCASE2018_TASK4_FOLDER [--peer-python sedeval/bin/python] [--runs 15]
    python benchmarks/metrics.py --reference REFERENCE.tsv --estimate ESTIMATE.tsv [...]

sed_eval needs old packages (pkg_resources among them), so it runs in an interpreter of its own, which lacks avsed:

    python3 -m venv sedeval && sedeval/bin/pip install sed_eval==0.2.1 dcase_util==0.2.20 'setuptools<82'

Without ``--peer-python`` it is looked for in this interpreter. Both sides first read the two tables by themselves and
compute once, and every number that both give must agree to 1e-9. Then each computes in turn: a whole evaluation, from
lists of events to all overall and class-wise numbers. Shown: medians, the quickest of each, and the median of the ratios.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from peers import Compute, Numbers, in_turn, peer, serve

SEGMENT = 1.0  # seconds, as the paper and DCASE 2018
COLLAR, SHARE = 0.2, 0.2  # seconds; share of the event's length
WAYS = ("event-based", "segment-based")
RATES = ("f1", "precision", "recall", "error_rate", "deletion_rate", "insertion_rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of DCASE 2018 task 4: its eval set and its baseline's output")
    parser.add_argument("--reference", type=Path, help="table of reference events, instead of --data")
    parser.add_argument("--estimate", type=Path, help="table of estimated events, instead of --data")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter that has sed_eval; default: this one"
    )
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)  # sed_eval's side of the comparison
    options = parser.parse_args()
    if options.data is not None:
        options.reference = options.data / "metadata" / "eval" / "eval.csv"
        options.estimate = options.data / "baseline_system_on_eval.csv"
    if options.reference is None or options.estimate is None:
        parser.error("give --data, or --reference and --estimate")
    if options.peer:
        answer(options.reference, options.estimate)
        return
    compare(options.reference, options.estimate, runs=options.runs, peer_python=options.peer_python)


def compare(reference: Path, estimate: Path, *, runs: int, peer_python: str) -> None:
    ours = avsed_ways(reference, estimate)
    command = [peer_python, __file__, "--peer", "--reference", str(reference), "--estimate", str(estimate)]
    with peer(command, "sed_eval") as (about, ask):
        print(f"{about['clips']} clips, {about['reference']} reference and {about['estimated']} estimated events")
        print(f"sed_eval {about['sed_eval']} on Python {about['python']}; median of {runs} runs in turn (quickest)")
        in_turn(ours, ask, name="sed_eval", runs=runs)


def avsed_ways(reference: Path, estimate: Path) -> dict[str, Compute]:
    from avsed.metrics import Result, event_based, segment_based
    from avsed.tables import read_events

    held, said = read_events(reference), read_events(estimate)
    labels = sorted({event.label for own in held.values() for event in own})

    def numbers(result: Result) -> Numbers:
        found = {f"micro {rate}": getattr(result.micro, rate) for rate in (*RATES, "substitution_rate")}
        found |= {f"macro {rate}": getattr(result.macro, rate) for rate in RATES}
        for label, rates in result.classes.items():
            found |= {f"{label} {rate}": getattr(rates, rate) for rate in (*RATES, "reference", "estimated")}
        return found

    def events() -> Numbers:
        return numbers(
            event_based(
                held, said, labels=labels, onset_collar=COLLAR, offset_collar=COLLAR, offset_rate=SHARE
            )
        )  # fmt: skip

    def segments() -> Numbers:
        return numbers(segment_based(held, said, labels=labels, resolution=SEGMENT, empty_output="skip"))

    return dict(zip(WAYS, (events, segments), strict=True))


def answer(reference: Path, estimate: Path) -> None:
    """sed_eval's side: after a line about itself, one line of JSON for each name of a way on standard input."""
    import dcase_util
    import sed_eval

    held, said = dcase_events(reference), dcase_events(estimate)
    labels = sorted({event["event_label"] for own in held.values() for event in own})
    container = dcase_util.containers.MetaDataContainer
    pairs = [(container(own), container(said.get(clip, []))) for clip, own in held.items()]

    def evaluate(metric: Any) -> Numbers:
        for one, other in pairs:
            metric.evaluate(reference_event_list=one, estimated_event_list=other)
        return sed_eval_numbers(metric.results())

    def events() -> Numbers:
        return evaluate(
            sed_eval.sound_event.EventBasedMetrics(
                labels,
                t_collar=COLLAR,
                percentage_of_length=SHARE,
                event_matching_type="optimal",
                empty_system_output_handling="zero_score",
            )
        )

    def segments() -> Numbers:
        return evaluate(sed_eval.sound_event.SegmentBasedMetrics(labels, time_resolution=SEGMENT))

    ways = dict(zip(WAYS, (events, segments), strict=True))
    about = {
        "sed_eval": sed_eval.__version__,
        "python": sys.version.split()[0],
        "clips": len(held),
        "reference": sum(map(len, held.values())),
        "estimated": sum(map(len, said.values())),
    }
    serve(about, ways)


def dcase_events(path: Path) -> dict[str, list[dict[str, Any]]]:
    """A strong table as dcase_util takes it, without avsed."""
    found: dict[str, list[dict[str, Any]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            own = found.setdefault(row["filename"], [])
            if row["event_label"]:
                times = {"event_onset": float(row["onset"]), "event_offset": float(row["offset"])}
                own.append({"filename": row["filename"], "event_label": row["event_label"], **times})
    return found


def sed_eval_numbers(results: Any) -> Numbers:
    """sed_eval's results under our names."""

    def rates(own: Any, more: tuple[str, ...] = ()) -> Numbers:
        found = {rate: own["f_measure"]["f_measure" if rate == "f1" else rate] for rate in RATES[:3]}
        return found | {rate: own["error_rate"][rate] for rate in (*RATES[3:], *more)}

    found = {f"micro {name}": value for name, value in rates(results["overall"], ("substitution_rate",)).items()}
    found |= {f"macro {name}": value for name, value in rates(results["class_wise_average"]).items()}
    for label, own in results["class_wise"].items():
        counts = {"reference": own["count"]["Nref"], "estimated": own["count"]["Nsys"]}
        found |= {f"{label} {name}": value for name, value in (rates(own) | counts).items()}
    return {name: float(value) for name, value in found.items()}


if __name__ == "__main__":
    main()
