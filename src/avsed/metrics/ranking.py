"""Scores of clip probabilities before any threshold: do the clips with a sound stand above those without?

Conventions
-----------
All follow from the order in which a class's probabilities put the clips; clips with equal probabilities stand at one place.

* *Average precision* is the mean, over the clips that have the tag, of the precision down to their place. Its mean over classes is the
  mAP of the field; *micro* puts all (clip, class) pairs into one order.
* *AUROC* is the probability that a clip with the tag stands above one without it; equals count half.
* *d′* = √2 · Φ⁻¹(AUROC), the distance of two normal distributions of that AUROC; over all classes, of the mean AUROC, as papers on AudioSet
  give it. An AUROC of 1 gives infinity.

A class that no clip has, or for AUROC that every clip has, is NaN and not in the means. Average precision and AUROC equal those of
scikit-learn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from avsed.metrics.counts import mean_of_known
from avsed.metrics.inputs import as_matrix


@dataclass(frozen=True)
class Ranking:
    """Clips with their tags and probabilities.

    tags : bool (clips, classes); probabilities : float (clips, classes), no NaN
    """

    labels: tuple[str, ...]
    clips: tuple[str, ...]
    tags: np.ndarray
    probabilities: np.ndarray
    definition: Mapping[str, Any]

    def resampled(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The numbers when clip i counts ``weights[:, i]`` times.

        weights : int64 (resamples, clips), >= 0
        Returns float64 (resamples,) under ``map``, ``micro_ap``, ``auroc`` and ``d_prime``, and (resamples, classes) under
        ``class_ap``, ``class_auroc`` and ``class_d_prime``.
        """
        from avsed.metrics.rank_kernels import average_precision, roc_area

        weights = np.ascontiguousarray(weights, np.int64)
        classes = len(self.labels)
        precision, area = np.empty((2, len(weights), classes))
        column = np.empty(len(weights))
        for number, (clips, tagged, ends) in enumerate(self._orders):
            average_precision(weights, clips, tagged, ends, column)
            precision[:, number] = column
            roc_area(weights, clips, tagged, ends, column)
            area[:, number] = column
        pairs = np.empty(len(weights))
        average_precision(weights, *self._pairs, pairs)
        mean_area = mean_of_known(area)
        return {
            "map": mean_of_known(precision),
            "micro_ap": pairs,
            "auroc": mean_area,
            "d_prime": d_prime(mean_area),
            "class_ap": precision,
            "class_auroc": area,
            "class_d_prime": d_prime(area),
        }

    @cached_property
    def _orders(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        clips = np.arange(len(self.clips))
        return [_order(self.probabilities[:, c], self.tags[:, c], clips) for c in range(len(self.labels))]

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        clips = np.repeat(np.arange(len(self.clips)), len(self.labels))
        return _order(self.probabilities.ravel(), self.tags.ravel(), clips)


def rank_tags(
    reference: Mapping[str, Collection[str]],
    probabilities: Mapping[str, np.ndarray],
    *,
    labels: Sequence[str],
    tags_from: str = "clip",
) -> Ranking:
    """Rank the clips of a reference by their probabilities.

    probabilities : float (classes,) of every clip of the reference, in the order of ``labels``
    tags_from : what they come from, for the record

    >>> held = {"a": {"Dog"}, "b": set(), "c": {"Dog"}}
    >>> said = {"a": np.array([0.9]), "b": np.array([0.5]), "c": np.array([0.1])}
    >>> found = rank_tags(held, said, labels=["Dog"]).resampled(np.ones((1, 3), np.int64))
    >>> round(float(found["map"][0]), 4), float(found["auroc"][0])
    (0.8333, 0.5)

    Raises AnnotationError if a label is not known; KeyError for a clip without probabilities.
    """
    clips = tuple(reference)
    scores = np.array([probabilities[clip] for clip in clips], np.float64).reshape(len(clips), len(labels))
    definition = {"name": "ranking", "tags_from": tags_from}
    return Ranking(tuple(labels), clips, as_matrix(reference, clips, labels), scores, definition)


def d_prime(area: np.ndarray) -> np.ndarray:
    """√2 · Φ⁻¹ of AUROCs, any shape; infinite at 0 and 1, NaN where they are."""
    found = np.empty_like(area)
    normal = NormalDist()
    for place, value in np.ndenumerate(area):
        found[place] = np.sqrt(2) * normal.inv_cdf(value) if 0 < value < 1 else (value - 0.5) * np.inf
    return found


def _order(values: np.ndarray, tagged: np.ndarray, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips and tags by falling value, and whether each is the last of those with its value."""
    order = np.argsort(-values, kind="stable")
    falling = values[order]
    return clips[order].astype(np.int32), tagged[order], np.append(falling[1:] != falling[:-1], True)
