"""From scores to tags and events."""

from avsed.postprocessing.decisions import median_filter, threshold
from avsed.postprocessing.events import decide_tags, detect_events, detect_tags, events_from_decisions

__all__ = ["decide_tags", "detect_events", "detect_tags", "events_from_decisions", "median_filter", "threshold"]
