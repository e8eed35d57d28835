"""Clip-based scores: does each clip have the right tags?

Conventions
-----------
A clip's tags come from its clip probabilities. Where a system gives only events, its tags are the labels of its events; the metric
is then called *tags from events*, since it is another one. Counts are of (clip, class) pairs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from avsed.metrics.counts import Counts, EmptyOutput, Result, summarise
from avsed.metrics.inputs import as_matrix, check_clips


def clip_based(
    reference: Mapping[str, Collection[str]],
    estimated: Mapping[str, Collection[str]],
    *,
    labels: Sequence[str],
    empty_output: EmptyOutput = "zero",
    name: str = "clip-based",
) -> Result:
    """Compare the tags of clips.

    >>> result = clip_based({"a": {"Dog"}, "b": {"Dog", "Cat"}}, {"a": {"Dog"}, "b": {"Cat", "Cow"}}, labels=["Cat", "Cow", "Dog"])
    >>> result.micro.correct, result.micro.estimated, result.micro.reference, round(result.micro.f1, 4)
    (2, 3, 3, 0.6667)

    Raises AnnotationError if the estimate holds clips or labels that are not known.
    """
    check_clips(reference, estimated)
    clips = tuple(reference)
    ref, est = as_matrix(reference, clips, labels), as_matrix(estimated, clips, labels)
    missed, false = (ref & ~est).sum(axis=1), (est & ~ref).sum(axis=1)  # (clips,)
    both = np.minimum(missed, false)
    counts = Counts(
        tuple(labels),
        clips,
        ref.astype(np.int64),
        est.astype(np.int64),
        (ref & est).astype(np.int64),
        both,
        missed - both,
        false - both,
    )
    return summarise(counts, {"name": name}, empty_output=empty_output)
