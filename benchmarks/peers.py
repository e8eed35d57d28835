"""A peer that runs in an interpreter of its own, and computes in turn with avsed; nothing but Python itself is imported here."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

TOLERANCE = 1e-9

Numbers = dict[str, float]  # such as "micro f1" or "Dog recall"; NaN where not defined
Compute = Callable[[], Numbers]
Ask = Callable[[str], Any]


@contextmanager
def peer(command: list[str], name: str) -> Iterator[tuple[dict[str, Any], Ask]]:
    """Start a peer's side, which calls `serve`. Yields what it says of itself, and a function: name of a way -> (seconds, numbers)."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None and told is not None

        def listen() -> Any:
            line = told.readline()
            if not line:
                raise SystemExit(f"{name}'s side has ended: see the message above, and --help for its environment")
            return json.loads(line)

        def ask(way: str) -> Any:
            print(way, file=asked, flush=True)
            return listen()

        yield listen(), ask
        asked.close()


def serve(about: Mapping[str, Any], ways: Mapping[str, Compute]) -> None:
    """The peer's side: after a line about itself, one line of JSON for each name of a way on standard input."""
    print(json.dumps(dict(about)), flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        numbers = ways[line.strip()]()
        print(json.dumps((time.perf_counter() - began, numbers)), flush=True)


def in_turn(ours: Mapping[str, Compute], ask: Ask, *, name: str, runs: int) -> None:
    """Compare the numbers of each way, then let both compute in turn; print medians, the quickest, and the median of the ratios."""
    width = max(map(len, ours)) + 2
    for way, compute in ours.items():
        found, expected = compute(), ask(way)[1]
        largest = differ(way, found, expected, name=name)
        taken: dict[str, list[float]] = {name: [], "avsed": []}
        for _ in range(runs):
            taken[name].append(ask(way)[0])
            began = time.perf_counter()
            compute()
            taken["avsed"].append(time.perf_counter() - began)
        columns = "   ".join(
            f"{who} {1e3 * statistics.median(seconds):9.2f} ms ({1e3 * min(seconds):.2f})"
            for who, seconds in taken.items()
        )
        ratio = statistics.median(a / b for a, b in zip(taken[name], taken["avsed"], strict=True))
        print(f"{way + ':':<{width}}{columns}   ratio {ratio:.0f}   {len(expected)} numbers equal to {largest:.0e}")


def differ(way: str, ours: Numbers, theirs: Numbers, *, name: str) -> float:
    """The largest difference. Exits if it exceeds the tolerance, or the two do not give the same numbers."""
    if ours.keys() != theirs.keys():
        raise SystemExit(f"{way}: only one side gives {', '.join(sorted(ours.keys() ^ theirs.keys()))}")
    differences = {
        key: 0.0 if math.isnan(ours[key]) and math.isnan(theirs[key]) else abs(ours[key] - theirs[key]) for key in ours
    }
    for key, difference in differences.items():
        if not difference <= TOLERANCE:
            raise SystemExit(f"{way}, {key}: avsed says {ours[key]}, {name} {theirs[key]}: times would say nothing")
    return max(differences.values())
