"""Bootstrap of every number that 'avsed evaluate' prints, against computing them anew on the drawn clips, in one run.

    python benchmarks/bootstrap.py [--clips 880] [--classes 10] [--resamples 1000] [--again 3]

Scores are random smooth curves around random events. Everything is counted once; then all numbers are resampled. The plain way, of which
``--again`` resamples are timed, makes the drawn clips' scores and events and evaluates them whole; its numbers must be the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np

from avsed import numbers
from avsed.annotations import Event, Events
from avsed.config import Config
from avsed.evaluation import Evaluation, evaluate_scores
from avsed.metrics.resampling import draws
from avsed.scores import Scores

FRAMES, PERIOD = 151, 4 * 366 / 22100
TOLERANCE = 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=880)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--again", type=int, default=3)
    options = parser.parse_args()
    scores, reference = generated(options.clips, options.classes)
    evaluate(scores[:20], {one.clip: reference[one.clip] for one in scores[:20]}, warm=True)
    began = time.perf_counter()
    evaluation = evaluate(scores, reference)
    counted = time.perf_counter() - began
    began = time.perf_counter()
    drawn = numbers.resampled(evaluation.measures, resamples=options.resamples)
    resampled = time.perf_counter() - began
    print(f"{options.clips} clips, {options.classes} classes, {len(evaluation.values)} numbers")
    print(f"counted once: {counted:.2f} s; {options.resamples} resamples of all numbers: {resampled:.2f} s")
    taken = []
    weights = next(draws(options.clips, options.resamples, seed=numbers.SEED))
    for row in range(options.again):
        began = time.perf_counter()
        found = evaluate(*drawn_clips(scores, reference, weights[row])).values
        taken.append(time.perf_counter() - began)
        for key, value in found.items():
            if not np.isclose(value, drawn.numbers[key][row], rtol=0, atol=TOLERANCE, equal_nan=True):
                raise SystemExit(f"{key}: {value} anew, {drawn.numbers[key][row]} resampled: times would say nothing")
    anew = statistics.median(taken)
    print(
        f"evaluated anew: {anew:.2f} s a resample (median of {options.again}); "
        f"ratio {anew * options.resamples / resampled:.0f}; numbers equal to {TOLERANCE:g}"
    )


def evaluate(scores: list[Scores], reference: Events, *, warm: bool = False) -> Evaluation:
    config = Config()
    found, _ = evaluate_scores(
        scores,
        reference,
        labels=scores[0].classes,
        durations=dict.fromkeys(reference, FRAMES * PERIOD),
        postprocessing=config.postprocessing,
        metrics=config.metrics,
    )
    if warm:
        numbers.resampled(found.measures, resamples=2)
    return found


def drawn_clips(scores: list[Scores], reference: Events, weights: np.ndarray) -> tuple[list[Scores], Events]:
    """Each clip as often as it was drawn, under names of its own."""
    chosen = [
        replace(one, clip=f"{copy}-{one.clip}")
        for one, count in zip(scores, weights.tolist(), strict=True)
        for copy in range(count)
    ]
    return chosen, {one.clip: reference[one.clip.partition("-")[2]] for one in chosen}


def generated(clips: int, classes: int) -> tuple[list[Scores], Events]:
    random = np.random.default_rng(0)
    labels = tuple(f"class {number}" for number in range(classes))
    boundaries = PERIOD * np.arange(FRAMES + 1)
    window = np.hanning(11)[1:-1] / np.hanning(11).sum()
    scores, reference = [], {}
    for number in range(clips):
        held = np.zeros((FRAMES, classes))
        events = []
        for _ in range(random.integers(4)):
            column, first = random.integers(classes), random.integers(FRAMES - 5)
            stop = min(FRAMES, first + random.integers(3, 60))
            held[first:stop, column] = 1
            events.append(Event(float(boundaries[first]), float(boundaries[stop]), labels[column]))
        noise = 4 * held - 2 + 3 * random.normal(size=(FRAMES, classes))
        smooth = np.stack([np.convolve(noise[:, column], window, "same") for column in range(classes)], axis=1)
        frames = (1 / (1 + np.exp(-smooth))).astype(np.float32)
        clip = f"{number:05d}.wav"
        scores.append(Scores(clip, labels, frames, boundaries, frames.max(axis=0)))
        reference[clip] = sorted(events)
    return scores, reference


if __name__ == "__main__":
    main()
