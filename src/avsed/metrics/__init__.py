"""Numbers that say how well tags and events were found."""

from avsed.metrics.clip import clip_based
from avsed.metrics.counts import Counts, Rates, Result, summarise
from avsed.metrics.event import event_based
from avsed.metrics.segment import segment_based

__all__ = ["Counts", "Rates", "Result", "clip_based", "event_based", "segment_based", "summarise"]
