"""The paper's Table 3: the settings in its order, and what it found for each."""

from __future__ import annotations

DCASE = "DCASE 2018 task 4"
"""The paper's data set, as ``data.sources`` names it: where it is among them, the paper's figures stand beside one's own."""

COLUMNS = ("clip_micro_f1", "segment_micro_f1", "event_macro_f1")
"""The numbers of its columns (`avsed.numbers`)."""

TABLE = {
    "spectral": (76.22, 70.09, 33.03),
    "spectral+visual": (80.72, 73.81, 32.58),
    "spectral+auditory": (81.03, 74.74, 33.40),
    "spectral+auditory+visual": (83.72, 76.86, 32.65),
    "visual": (61.60, 51.83, 15.68),
    "auditory": (78.17, 70.20, 18.83),
    "auditory+visual": (80.04, 71.01, 22.31),
}
"""F1 scores in per cent, by setting."""

SETTINGS = tuple(TABLE)
BASELINE = "spectral"
"""What the other settings are compared with."""


def canonical(name: str) -> str | None:
    """The paper's name of a setting whose parts may be in any order; None if it has no such setting."""
    parts = name.split("+")
    found = {frozenset(own.split("+")): own for own in SETTINGS}.get(frozenset(parts))
    return found if found is not None and len(parts) == len(found.split("+")) else None
