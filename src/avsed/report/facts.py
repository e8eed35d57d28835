"""What was trained and how it was scored, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avsed.features.provenance import MARK
from avsed.postprocessing.files import describe
from avsed.report.loading import Evaluated
from avsed.timeline import format_seconds

UNITS = {
    "segment": " s",
    "onset_collar": " s",
    "offset_collar": " s",
    "median_filter": " frames",
    "minimum_gap": " s",
    "minimum_duration": " s",
}
LEFT_OUT = ("resamples", "confidence")  # the foot of the page tells of them
HASH = 12  # characters of a hash that are shown


def facts_of(run: Evaluated) -> dict[str, str]:
    """The facts of a run by name, in the order in which they are read."""
    about, results = run.about, run.results
    facts = {
        "inputs": " + ".join(results.get("inputs", run.config.inputs)),
        "seed": str(run.config.seed),
        "training steps": _number(about.get("steps")),
        "training time": format_seconds(about["seconds"]) if about.get("seconds") is not None else "–",
        "trained on": _splits(about.get("splits", {})),
        "parameters of the network": _number(about.get("parameters")),
        "device of the training": str(about.get("device", "–")),
        "finished": str(about.get("finished", "–")),
        "pretrained networks": _networks(results.get("extractors", about.get("extractors", {}))),
        "they learned from": _provenance(results.get("provenance", {})),
        "scored on": _split(run.split, run.fingerprint),
        "decisions": _values(results.get("postprocessing", {})),
        "tuned on": _tuned(results),
        "comparison": _values(results.get("metrics", {})),
        "versions": ", ".join(f"{name} {value}" for name, value in results.get("versions", {}).items()),
    }
    return {name: value for name, value in facts.items() if value}


def shared_and_own(runs: Sequence[Evaluated]) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Facts that hold of all runs, and rows of those that differ, a cell a run behind the fact's name."""
    told = [facts_of(run) for run in runs]
    names = list(dict.fromkeys(name for facts in told for name in facts))
    cells = {name: [facts.get(name, "–") for facts in told] for name in names}
    shared = [(name, own[0]) for name, own in cells.items() if len(set(own)) == 1]
    return shared, [[name, *own] for name, own in cells.items() if len(set(own)) > 1]


def _splits(splits: Mapping[str, Any]) -> str:
    return "; ".join(_split(name, mark) for name, mark in splits.items())


def _split(name: str, mark: Mapping[str, Any]) -> str:
    gone = f", {len(mark['left_out'])} left out" if mark.get("left_out") else ""
    return f"{name}: {mark['clips']} clips{gone}, labels {mark['sha256'][:HASH]}"


def _networks(extractors: Mapping[str, Any]) -> str:
    told = []
    for name, extractor in extractors.items():
        weights = extractor.get("weights")
        if isinstance(weights, Mapping):
            told.append(f"{name} ({weights.get('file', '–')}, {str(weights.get('sha256', ''))[:HASH]})")
    return "; ".join(told)


def _provenance(told: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name}: {', '.join(own['pretrained_on'])}"
        + (f" ({MARK} scored clips may be among {', '.join(own['overlap'])})" if own.get("overlap") else "")
        for name, own in told.items()
    )


def _tuned(results: Mapping[str, Any]) -> str:
    """What the decisions were tuned on."""
    preset = results.get("preset")
    return (
        "nothing: the decisions are those of the configuration"
        if preset is None
        else describe(preset, results["fingerprint"]["clips"])
    )


def _values(values: Mapping[str, Any]) -> str:
    """Names and values."""
    told = []
    for name, value in values.items():
        if name in LEFT_OUT or value is None:
            continue
        unit = UNITS.get(name, "")
        if isinstance(value, Mapping):
            text = "(" + ", ".join(f"{label} {_with_unit(own, unit)}" for label, own in value.items()) + ")"
        else:
            text = _with_unit(value, unit)
        told.append(f"{name.replace('_', ' ')} {text}")
    return ", ".join(told)


def _with_unit(value: Any, unit: str) -> str:
    """A number with its unit; text, such as ``0.5 s``, has its own."""
    return value if isinstance(value, str) else f"{_number(value)}{unit}"


def _number(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
