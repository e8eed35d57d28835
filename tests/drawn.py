"""What hypothesis draws for the metrics: references, and boxes with scores of few levels."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from avsed.annotations import Event

LABELS = ("Cat", "Dog", "Cow")
LEVELS = np.float32([0, 0.125, 0.25, 0.5, 0.75, 1])  # few, so that there are ties and plateaus

quarters = st.integers(0, 14).map(lambda n: n / 4)
events = st.builds(
    lambda onset, length, label: Event(onset, onset + length, label),
    quarters,
    st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    st.sampled_from(LABELS[:2]),  # the reference lacks a class
)
references = st.fixed_dictionaries({clip: st.lists(events, max_size=5) for clip in "abc"})
boxes = st.dictionaries(
    st.sampled_from("abc"), st.lists(st.tuples(events, st.sampled_from(LEVELS.tolist())), max_size=8)
)
