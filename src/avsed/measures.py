"""What is measured of which kind of output, by the names that evaluations give to metrics.

=================== ================================================================================================
``clip``            clip-based F1 of tags
``tags_from_events`` the same where a system gives only events
``segment``         segment-based F1
``event``           event-based F1 with collars on onsets and offsets
``onset``           event-based F1 with a collar on onsets alone
=================== ================================================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from avsed.annotations import Events
from avsed.config import MetricsConfig
from avsed.metrics import clip_based, event_based, segment_based
from avsed.metrics.resampling import Measured


def measure_tags(
    reference: Mapping[str, Collection[str]], tags: Mapping[str, Collection[str]], *, labels: tuple[str, ...]
) -> dict[str, Measured]:
    """Of tags that were decided from clip probabilities."""
    return {"clip": clip_based(reference, tags, labels=labels)}


def measure_events(
    reference: Events,
    estimated: Events,
    *,
    labels: tuple[str, ...],
    durations: Mapping[str, float] | None,
    metrics: MetricsConfig,
) -> dict[str, Measured]:
    """Of events with times."""
    collar = partial(
        event_based,
        reference,
        estimated,
        labels=labels,
        onset_collar=metrics.onset_collar,
        offset_rate=metrics.offset_rate,
        offset_tolerance=metrics.offset_tolerance,
        matching=metrics.matching,
    )
    return {
        "segment": segment_based(reference, estimated, labels=labels, resolution=metrics.segment, durations=durations),
        "event": collar(offset_collar=metrics.offset_collar),
        "onset": collar(offset_collar=None),
    }
