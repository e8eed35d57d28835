"""What is compared with what: clips of the reference, events as arrays, labels that are known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from avsed.annotations import Events
from avsed.errors import AnnotationError, nearest


class EventArrays(NamedTuple):
    """Events of many clips, in the order of the clips and of each clip's list.

    clip, label : int64 (events,), indices; onset, offset : float64 (events,), seconds
    """

    clip: np.ndarray
    label: np.ndarray
    onset: np.ndarray
    offset: np.ndarray


def check_clips(reference: Mapping[str, Any], estimated: Mapping[str, Any]) -> None:
    """Only clips of the reference are compared: an estimate for another one is an error, a clip without one has nothing.

    Raises AnnotationError naming the first clips that the reference lacks, and how many there are.
    """
    if not reference:
        raise AnnotationError(
            "the reference holds no clips; give a table with a row for each clip, those without events included"
        )
    foreign = [clip for clip in estimated if clip not in reference]
    if foreign:
        known = nearest(foreign[0], reference)
        raise AnnotationError(
            f"{len(foreign)} of {len(estimated)} clips of the estimate are not in the reference, such as {foreign[0]!r}{known}"
        )


def label_indices(labels: Sequence[str]) -> dict[str, int]:
    """The column of each label.

    Raises AnnotationError if there is none, or one stands twice.
    """
    if not labels or len(set(labels)) != len(labels):
        raise AnnotationError(f"classes must be given, each once; got {', '.join(labels) or 'none'}")
    return {label: index for index, label in enumerate(labels)}


def as_arrays(events: Events, clips: Sequence[str], labels: Sequence[str]) -> EventArrays:
    """The events of ``clips`` as arrays; a clip that ``events`` lacks has none.

    Raises AnnotationError if a label is not known, naming the clip and the nearest known label.
    """
    index = label_indices(labels)
    own = [events.get(clip, ()) for clip in clips]
    rows = list(chain.from_iterable(own))
    clip = np.repeat(np.arange(len(clips)), [len(held) for held in own])
    try:
        label = [index[event.label] for event in rows]
    except KeyError:
        place = next(place for place, event in enumerate(rows) if event.label not in index)
        unknown = rows[place].label
        raise AnnotationError(
            f"{clips[int(clip[place])]}: unknown label {unknown!r}{nearest(unknown, labels)}"
        ) from None
    return EventArrays(
        clip,
        np.array(label, np.int64),
        np.array([event.onset for event in rows], np.float64),
        np.array([event.offset for event in rows], np.float64),
    )


def as_matrix(tags: Mapping[str, Collection[str]], clips: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """bool (clips, classes): which labels each clip has; a clip that ``tags`` lacks has none.

    Raises AnnotationError if a label is not known.
    """
    index = label_indices(labels)
    matrix = np.zeros((len(clips), len(labels)), bool)
    for row, clip in enumerate(clips):
        for label in tags.get(clip, ()):
            if label not in index:
                raise AnnotationError(f"{clip}: unknown label {label!r}{nearest(label, labels)}")
            matrix[row, index[label]] = True
    return matrix
