"""Which clips a report shows: the best, the worst, and some at random; and their spectra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsed import console
from avsed.errors import AvsedError, nearest
from avsed.features.logmel import LogMelParameters
from avsed.features.sequence import FeatureSequence
from avsed.metrics import event_based
from avsed.report.loading import Evaluated, open_split
from avsed.report.timelines import spectrum_of

SEED = 0


def clip_scores(runs: Sequence[Evaluated]) -> dict[str, float]:
    """Event-based F1 of each clip over its classes together, the mean of the runs; NaN where nothing sounds and nothing was found."""
    scores = []
    for run in runs:
        given = run.config.metrics
        counts = event_based(
            run.reference,
            run.events,
            labels=run.labels,
            onset_collar=given.onset_collar,
            offset_collar=given.offset_collar,
            offset_rate=given.offset_rate,
            offset_tolerance=given.offset_tolerance,
            matching=given.matching,
        ).counts
        total = (counts.reference + counts.estimated).sum(1)
        correct = 2 * counts.correct.sum(1)
        scores.append(np.divide(correct, total, where=total > 0, out=np.full(len(total), np.nan)))
    return dict(zip(runs[0].reference, np.mean(scores, axis=0).tolist(), strict=True))


def choose_clips(scores: dict[str, float], *, count: int, seed: int = SEED) -> list[tuple[str, str]]:
    """(why, clip) of the ``count`` best and worst clips and as many at random, none twice; ties go by name.

    scores : by clip; those that are NaN are not chosen
    """
    known = [clip for clip, value in scores.items() if value == value]
    order = sorted(known, key=lambda clip: (-scores[clip], clip))
    best = order[:count]
    worst = sorted(order[len(best) :], key=lambda clip: (scores[clip], clip))[:count]
    left = sorted(set(known) - {*best, *worst})
    picked = np.random.default_rng(seed).permutation(len(left))[:count]
    return [
        *(("best", clip) for clip in best),
        *(("worst", clip) for clip in worst),
        *(("random", left[index]) for index in picked),
    ]


def wanted_clips(given: Sequence[str], scores: dict[str, float]) -> list[tuple[str, str]]:
    """Clips by what was asked for: their names, or one number for so many of each kind.

    Raises AvsedError for a clip that was not scored, with the nearest one.
    """
    if len(given) == 1 and given[0] not in scores and given[0].isdecimal():
        return choose_clips(scores, count=int(given[0]))
    for name in given:
        if name not in scores:
            raise AvsedError(
                f"--clips {name}: no scored clip of this name{nearest(name, scores)}; give names of clips, or one number for so many "
                "of the best, the worst and at random"
            )
    return [("chosen", name) for name in dict.fromkeys(given)]


def spectra(
    run: Evaluated, clips: Sequence[str], parameters: LogMelParameters
) -> tuple[dict[str, FeatureSequence], str | None]:
    """Log-mel maps of clips whose recordings can be read, and why others have none."""
    found: dict[str, FeatureSequence] = {}
    try:
        paths: dict[str, Path] = {clip.name: clip.path for clip in open_split(run).clips}
    except AvsedError as error:
        console.note(f"time lines without spectra: {error}")
        return found, "the recordings are not at hand"
    lacking = [clip for clip in clips if clip not in paths]
    for clip in clips:
        if clip in paths:
            try:
                found[clip] = spectrum_of(paths[clip], parameters)
            except AvsedError as error:
                console.warn(str(error))
                lacking.append(clip)
    return found, f"no sound could be read of {', '.join(lacking)}" if lacking else None
