"""Numbers that say how well tags and events were found."""

from avsed.metrics.candidates import (
    Candidates,
    Curves,
    candidates_of_boxes,
    candidates_of_events,
    candidates_of_points,
    candidates_of_scores,
    curves_of_scores,
)
from avsed.metrics.clip import clip_based
from avsed.metrics.counts import Counts, Rates, Result, summarise
from avsed.metrics.event import event_based
from avsed.metrics.intersection import intersection_based, intersection_sweep
from avsed.metrics.psds import SCENARIOS, Psds, PsdsParameters, Staircase, psds
from avsed.metrics.segment import segment_based
from avsed.metrics.sweep import Best, Sweep, Sweeps
from avsed.metrics.sweeps import clip_sweep, event_sweep, segment_sweep

__all__ = [
    "SCENARIOS",
    "Best",
    "Candidates",
    "Counts",
    "Curves",
    "Psds",
    "PsdsParameters",
    "Rates",
    "Result",
    "Staircase",
    "Sweep",
    "Sweeps",
    "candidates_of_boxes",
    "candidates_of_events",
    "candidates_of_points",
    "candidates_of_scores",
    "clip_based",
    "clip_sweep",
    "curves_of_scores",
    "event_based",
    "event_sweep",
    "intersection_based",
    "intersection_sweep",
    "psds",
    "segment_based",
    "segment_sweep",
    "summarise",
]
