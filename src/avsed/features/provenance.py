"""Which pretrained networks may have learned from the very recordings that a system is tested on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

HOLDS = {"YouTube-100M (a preliminary YouTube-8M)": {"AudioSet"}}
"""Data sets that may hold recordings of others under another name."""

MARK = "†"
"""Stands in tables behind what rests on a network that may have learned from the test data."""


def overlap(pretrained_on: Iterable[str], sources: Iterable[str]) -> tuple[str, ...]:
    """The data sets that shaped a network and that clips from ``sources`` may be in.

    pretrained_on : names as `avsed.features.weights.Weights` has them; what is not declared may hold anything
    sources : names of the public data sets that the clips come from (``data.sources``)
    """
    from_there = set(sources)
    return tuple(
        name
        for name in pretrained_on
        if from_there and (name in from_there or HOLDS.get(name, set()) & from_there or name == "not declared")
    )


def learned_from(pretrained_on: Iterable[str], sources: Iterable[str]) -> dict[str, list[str]]:
    """What a network learned from, and what of that the test clips may be in; JSON values. For the arguments see `overlap`."""
    data = list(pretrained_on)
    return {"pretrained_on": data, "overlap": list(overlap(data, sources))}


def provenance(extractors: Mapping[str, Mapping[str, Any]], sources: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """For each pretrained extractor what it learned from, and what of that the test clips may be in; JSON values.

    extractors : as `avsed.features.extractors.describe` tells of them
    """
    told = {name: about["weights"]["pretrained_on"] for name, about in extractors.items() if "weights" in about}
    return {name: learned_from(data, sources) for name, data in told.items()}
