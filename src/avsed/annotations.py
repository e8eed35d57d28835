"""Weak and strong labels: what sounds in a clip, and when.

Conventions
-----------
* A clip is named by its file name as it stands in the table.
* ``Tags`` maps a clip to the set of labels that sound somewhere in it (weak labels).
* ``Events`` maps a clip to its events, in the order given, in seconds from the beginning of the clip (strong labels).
  A clip in which nothing sounds is *in* the mapping with an empty list; a clip that is not in the mapping was not annotated.
"""

from __future__ import annotations

from typing import NamedTuple


class Event(NamedTuple):
    """One sound event: ``[onset, offset)`` in seconds from the beginning of the clip, and its label."""

    onset: float
    offset: float
    label: str


Tags = dict[str, frozenset[str]]
Events = dict[str, list[Event]]
Durations = dict[str, float]
