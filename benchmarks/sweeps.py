"""Metrics over all thresholds against sed_scores_eval's, in turn, in one run, on the same scores in memory.

    python benchmarks/sweeps.py --peer-python golden/bin/python [--clips 1000] [--classes 10] [--runs 5]
    python benchmarks/sweeps.py --peer-python golden/bin/python --scores test.safetensors --reference R.tsv --durations D.tsv
    python benchmarks/sweeps.py --memory [--classes 300] [--clips 1000]

sed_scores_eval runs in an interpreter of its own, which lacks avsed (see tests/golden/make_sweeps.py for its environment). Both sides
read the same file of scores, compute once, and every number that both give must agree to 1e-9. Then each computes in turn, on one
thread: from the scores of all clips to the numbers of all classes; or, for the resamples, from what either keeps for that purpose.
Shown: medians, the quickest of each, and the median of the ratios.

``--memory`` needs no peer: it shows the greatest memory of a process that computes PSDS class by class from scores that are made anew for
each block of classes, less what it held before.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from peers import Compute, Numbers, in_turn, peer, serve

FRAMES, HOP = 151, 0.0664  # as many frames as the paper's model gives for ten seconds
COLLAR, SHARE = 0.2, 0.2  # seconds; share of the event's length
WAYS = ("PSDS 1", "PSDS 2", "best F1 by collars", "best F1 by intersection", "20 resamples of PSDS 1")
PSDS = {  # dtc, gtc, cttc, alpha_ct, alpha_st, e_max
    "PSDS 1": (0.7, 0.7, None, 0.0, 1.0, 100.0),
    "PSDS 2": (0.1, 0.1, 0.3, 0.5, 1.0, 100.0),
}
FOLDS, ITERATIONS = 5, 4  # of sed_scores_eval's resampling: all clips but a fifth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--scores", type=Path, help="file of scores, instead of generated ones")
    parser.add_argument("--reference", type=Path, help="table of events, for --scores")
    parser.add_argument("--durations", type=Path, help="table of durations, for --scores")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--block", type=int, default=8, help="classes held at once, for --memory")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has sed_scores_eval")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)  # sed_scores_eval's side of the comparison
    options = parser.parse_args()
    if options.peer:
        answer(options.peer)
    elif options.memory:
        remember(options.clips, options.classes or 300, options.block)
    else:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "data.npz"
            if options.scores is None:
                np.savez(data, **generated(options.clips, options.classes or 10))
            elif options.reference is None or options.durations is None:
                parser.error("--scores needs --reference and --durations")
            else:
                np.savez(data, **given(options.scores, options.reference, options.durations))
            compare(data, runs=options.runs, peer_python=options.peer_python)


def smooth(rng: np.random.Generator, classes: int) -> np.ndarray:
    """float64 (frames, classes): random curves that rise and fall within some frames."""
    noise = rng.normal(size=(FRAMES + 16, classes))
    window = np.hanning(19)[1:-1]
    return np.apply_along_axis(np.convolve, 0, noise, window / np.sqrt(np.sum(window**2)), "valid")


def generated(clips: int, classes: int) -> dict[str, np.ndarray]:
    """Clips of ten seconds with one or two events each; scores that follow them, with noise."""
    rng = np.random.default_rng(7)
    boundaries = np.round(np.minimum(np.arange(FRAMES + 1) * HOP, 10.0), 6)
    middle = (boundaries[1:] + boundaries[:-1]) / 2
    frames, events = [], []
    for clip in range(clips):
        held = np.zeros((FRAMES, classes))
        for label in rng.choice(classes, rng.choice([0, 1, 1, 2, 2]), replace=False):
            onset = round(float(rng.uniform(0, 8)), 3)
            offset = round(onset + float(rng.uniform(0.3, 10 - onset)), 3)
            events.append((clip, label, onset, offset))
            held[(middle > onset) & (middle < offset), label] = 1
        frames.append((1 / (1 + np.exp(4 - 5 * held - 1.5 * smooth(rng, classes)))).astype(np.float32))
    rows = np.array(events)
    return {
        "labels": np.array([f"class_{k:03d}" for k in range(classes)]),
        "clips": np.array([f"clip_{k:05d}" for k in range(clips)]),
        "durations": np.full(clips, 10.0),
        "lengths": np.full(clips, FRAMES),
        "boundaries": np.tile(boundaries, clips),
        "frames": np.concatenate(frames),
        "event_clip": rows[:, 0].astype(np.int64),
        "event_label": rows[:, 1].astype(np.int64),
        "event_times": rows[:, 2:],
    }


def given(scores: Path, reference: Path, durations: Path) -> dict[str, np.ndarray]:
    """The same of a file of scores; frames without length, which sed_scores_eval refuses, are left out."""
    from avsed.scores import read_scores
    from avsed.tables import read_durations, read_events

    held, seconds = read_events(reference), read_durations(durations)
    own = [one for one in read_scores(scores) if one.clip in held]
    labels = own[0].classes
    kept = [np.diff(one.boundaries) > 0 for one in own]
    events = [
        (row, labels.index(event.label), event.onset, event.offset)
        for row, one in enumerate(own)
        for event in held[one.clip]
    ]
    rows = np.array(events)
    return {
        "labels": np.array(labels),
        "clips": np.array([one.clip for one in own]),
        "durations": np.array([seconds[one.clip] for one in own]),
        "lengths": np.array([keep.sum() for keep in kept]),
        "boundaries": np.concatenate(
            [np.append(one.boundaries[:-1][keep], one.boundaries[-1]) for one, keep in zip(own, kept, strict=True)]
        ),
        "frames": np.concatenate([one.frames[keep] for one, keep in zip(own, kept, strict=True)]),
        "event_clip": rows[:, 0].astype(np.int64),
        "event_label": rows[:, 1].astype(np.int64),
        "event_times": rows[:, 2:],
    }


def compare(data: Path, *, runs: int, peer_python: str) -> None:
    ours = avsed_ways(data)
    with peer([peer_python, __file__, "--peer", str(data)], "sed_scores_eval") as (about, ask):
        print(f"{about['clips']} clips, {about['frames']} frames, {about['classes']} classes, {about['events']} events")
        print(
            f"sed_scores_eval {about['version']} on Python {about['python']}; median of {runs} runs in turn (quickest)"
        )
        in_turn(ours, ask, name="sed_scores_eval", runs=runs)


def avsed_ways(data: Path) -> dict[str, Compute]:
    from avsed.annotations import Event
    from avsed.metrics import PsdsParameters, Sweeps, curves_of_scores, event_sweep, intersection_sweep, psds
    from avsed.scores import Scores

    held = dict(np.load(data).items())
    labels, clips = tuple(held["labels"].tolist()), tuple(held["clips"].tolist())
    ends = np.cumsum(held["lengths"])
    scores = []
    for row, (clip, end, length) in enumerate(zip(clips, ends, held["lengths"], strict=True)):
        frames = held["frames"][end - length : end]
        times = held["boundaries"][end - length + row : end + row + 1]
        scores.append(Scores(clip, labels, frames, times, frames.max(axis=0)))
    reference: dict[str, list[Event]] = {clip: [] for clip in clips}
    for row, label, (onset, offset) in zip(
        held["event_clip"].tolist(), held["event_label"].tolist(), held["event_times"].tolist(), strict=True
    ):
        reference[clips[row]].append(Event(onset, offset, labels[label]))
    durations = dict(zip(clips, held["durations"].tolist(), strict=True))
    fields = ("dtc", "gtc", "cttc", "alpha_ct", "alpha_st", "e_max")
    parameters = {name: PsdsParameters(**dict(zip(fields, own, strict=True))) for name, own in PSDS.items()}

    def curves() -> Any:
        return curves_of_scores(scores, clips=clips, labels=labels)

    def whole(name: str) -> Any:
        return psds(curves(), reference, labels=labels, durations=durations, parameters=parameters[name])

    def value(name: str) -> Numbers:
        result = whole(name)
        return {"psds": result.value, **result.classes}

    def best(sweeps: Sweeps) -> Numbers:
        overall = sweeps.resampled(np.ones((1, len(clips)), np.int64))
        found = {f"{kind} f1": float(overall[f"{kind}_f1"][0]) for kind in ("macro", "micro")}
        return found | dict(zip(labels, overall["class_f1"][0].tolist(), strict=True))

    def collars() -> Numbers:
        own = {"onset_collar": COLLAR, "offset_collar": COLLAR, "offset_rate": SHARE}
        return best(event_sweep(curves(), reference, labels=labels, **own))

    def intersections() -> Numbers:
        return best(intersection_sweep(curves(), reference, labels=labels, dtc=0.5, gtc=0.5))

    kept = whole("PSDS 1")
    weights = np.zeros((FOLDS * ITERATIONS, len(clips)), np.int64)
    place = {clip: column for column, clip in enumerate(clips)}
    order = sorted(clips)
    cuts = np.linspace(0, len(order), FOLDS + 1).astype(int)
    for iteration in range(ITERATIONS):  # as sed_scores_eval draws them
        np.random.RandomState(iteration).shuffle(order)
        for fold in range(FOLDS):
            drawn = order[: cuts[fold]] + order[cuts[fold + 1] :]
            weights[iteration * FOLDS + fold, [place[clip] for clip in drawn]] = 1

    def resamples() -> Numbers:
        return {str(row): float(own) for row, own in enumerate(kept.resampled(weights)["psds"])}

    return dict(
        zip(WAYS, (lambda: value("PSDS 1"), lambda: value("PSDS 2"), collars, intersections, resamples), strict=True)
    )


def plain(way: Callable[[], dict[str, Any]]) -> Compute:
    """A way whose numbers are Python's own."""
    return lambda: {key: float(own) for key, own in way().items()}


def answer(data: Path) -> None:
    """sed_scores_eval's side: after a line about itself, one line of JSON for each name of a way on standard input."""
    from importlib.metadata import version

    from sed_scores_eval import collar_based, intersection_based
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    held = dict(np.load(data).items())
    labels, clips = held["labels"].tolist(), held["clips"].tolist()
    scores, begin = {}, 0
    for row, (clip, length) in enumerate(zip(clips, held["lengths"].tolist(), strict=True)):
        times = held["boundaries"][begin + row : begin + row + length + 1]
        frames = held["frames"][begin : begin + length].astype(np.float64)
        scores[clip] = create_score_dataframe(frames, times, event_classes=labels)
        begin += length
    reference: dict[str, list[tuple[float, float, str]]] = {clip: [] for clip in clips}
    for row, label, (onset, offset) in zip(
        held["event_clip"].tolist(), held["event_label"].tolist(), held["event_times"].tolist(), strict=True
    ):
        reference[clips[row]].append((onset, offset, labels[label]))
    durations = dict(zip(clips, held["durations"].tolist(), strict=True))

    def parameters(name: str) -> dict[str, Any]:
        dtc, gtc, cttc, alpha_ct, alpha_st, e_max = PSDS[name]
        shares = {"dtc_threshold": dtc, "gtc_threshold": gtc, "cttc_threshold": cttc}
        return {**shares, "alpha_ct": alpha_ct, "alpha_st": alpha_st, "max_efpr": e_max}

    def value(name: str) -> Numbers:
        whole, classes, *_ = intersection_based.psds(scores, reference, durations, **parameters(name))
        return {"psds": whole, **classes}

    def best(f1: dict[str, float]) -> Numbers:
        return {key.replace("_average", " f1"): float(own) for key, own in f1.items()}

    def collars() -> Numbers:
        own = {"onset_collar": COLLAR, "offset_collar": COLLAR, "offset_collar_rate": SHARE}
        return best(collar_based.best_fscore(scores, reference, **own)[0])

    def intersections() -> Numbers:
        return best(intersection_based.best_fscore(scores, reference, dtc_threshold=0.5, gtc_threshold=0.5)[0])

    kept = intersection_based.intermediate_statistics_deltas(
        scores, reference, dtc_threshold=0.7, gtc_threshold=0.7, cttc_threshold=None
    )

    def resamples() -> Numbers:
        found = intersection_based.bootstrapped_psds(
            None, reference, durations, deltas=kept, n_folds=FOLDS, n_iterations=ITERATIONS, **parameters("PSDS 1")
        )
        return {str(row): own for row, own in enumerate(found[0])}

    ways = dict(
        zip(WAYS, (lambda: value("PSDS 1"), lambda: value("PSDS 2"), collars, intersections, resamples), strict=True)
    )
    about = {
        "version": version("sed_scores_eval"),
        "python": sys.version.split()[0],
        "clips": len(clips),
        "frames": len(held["frames"]),
        "classes": len(labels),
        "events": len(held["event_clip"]),
    }
    serve(about, {name: plain(way) for name, way in ways.items()})


def remember(clips: int, classes: int, block: int) -> None:
    """The greatest memory of PSDS class by class, with and without keeping what resampling needs."""
    from avsed.annotations import Event
    from avsed.metrics import SCENARIOS, Psds, curves_of_scores, psds
    from avsed.scores import Scores

    rng = np.random.default_rng(7)
    labels, names = tuple(f"class_{k:03d}" for k in range(classes)), [f"clip_{k:06d}" for k in range(clips)]
    base = (1 / (1 + np.exp(3 - 1.5 * smooth(rng, classes)))).astype(np.float32)
    boundaries = np.round(np.minimum(np.arange(FRAMES + 1) * HOP, 10.0), 6)

    class Made:
        """Scores that are made whenever they are gone through, and never held together."""

        def __init__(self, names: list[str]) -> None:
            self.names = names

        def __iter__(self) -> Iterator[Scores]:
            for number, clip in enumerate(self.names):
                frames = np.roll(base, 7 * number, axis=0)
                yield Scores(clip, labels, frames, boundaries, frames[0])

    reference = {
        clip: [
            Event(float(on), float(on) + 1.5, labels[k])
            for on, k in zip(rng.uniform(0, 8, 2), rng.choice(classes, 2, replace=False), strict=True)
        ]
        for clip in names
    }
    durations = dict.fromkeys(names, 10.0)

    def held() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

    def compute(names: list[str], *, keep: bool) -> Psds:
        curves = curves_of_scores(Made(names), clips=names, labels=labels, block=block)
        own = {clip: reference[clip] for clip in names}
        return psds(curves, own, labels=labels, durations=durations, parameters=SCENARIOS[2], keep_steps=keep)

    compute(names[:2], keep=False)  # compiled loops are loaded
    for keep in (False, True):
        before, began = held(), time.perf_counter()
        result = compute(names, keep=keep)
        steps = sum(len(track.last) for track in result.tracks or ())
        print(
            f"{clips} clips, {classes} classes, block {block}, keep_steps={keep}: {held() - before:.0f} MiB more than {before:.0f},"
            f" {time.perf_counter() - began:.1f} s" + (f", {steps} steps" if keep else "")
        )
    assert math.isfinite(result.value)


if __name__ == "__main__":
    main()
