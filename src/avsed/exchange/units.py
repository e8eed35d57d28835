"""Whether times are seconds, and of the clips that they are said to be of; with a guess what they are if not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from avsed.annotations import Event, Events
from avsed.errors import AnnotationError
from avsed.exchange.estimates import Box, Estimate, Reference
from avsed.tables import LATE, Problem

FAR = 2.0  # the median event ends after so many lengths of its clip: another unit
FAR_UNKNOWN = 10.0  # the same, where only the reference's last event tells how long clips are
LONG = 100.0  # the median clip is so many times as long as its frames: durations of another unit
NEAR = 0.02  # all times are within this share of the reference's: perhaps another unit
WHOLE = 1000.0  # whole numbers of this size are seldom seconds


def guess_unit(ratio: float) -> str:
    """What times may be that are ``ratio`` times too great, and what to do, for a message."""
    if ratio >= 4000:
        return "are they samples? divide them by the sampling rate"
    if ratio >= 300:
        return "are they milliseconds? divide them by 1000"
    return "are they frames? multiply them by the frame period"


def check_durations(reference: Reference, problems: list[Problem]) -> None:
    """Warn of clips without a duration, and of durations that are no seconds."""
    lengths = reference.durations
    if lengths is None:
        return
    lacking = [clip for clip in reference.tags if clip not in lengths]
    if lacking:
        text = f"{len(lacking)} of {len(reference.tags)} clips have no duration, such as {lacking[0]!r}"
        problems.append(Problem("warning", str(reference.path), None, text))
    last = _last(reference.events)
    own = np.array([lengths[clip] for clip in reference.tags if clip in lengths])
    if len(own) and last and np.all(own == np.round(own)) and np.median(own) >= max(WHOLE, 100 * last):
        text = f"durations of {np.median(own):g} s, but the last event ends at {last:g} s; {guess_unit(np.median(own) / last)}"
        problems.append(Problem("warning", str(reference.path), None, text))


def check_event_times(reference: Reference, estimate: Estimate, problems: list[Problem]) -> None:
    """Raise AnnotationError if events lie so far behind their clips' ends that their times are of another unit; warn if it may be so."""
    if reference.events is None:
        return
    lengths = _Lengths(reference)
    if reference.durations:
        _check_far(reference.path, reference.events, lengths, by_events=False)
    elif _look_whole(reference.events):
        text = "all times are whole numbers, most above 1000: they are taken as seconds; are they milliseconds, frames or samples?"
        problems.append(Problem("warning", str(reference.path), None, text))
    lists: list[tuple[Path, Mapping[str, list[Event]] | Mapping[str, list[Box]]]] = [
        (point.path, point.events) for point in estimate.points or ()
    ]
    if estimate.events is not None or estimate.boxes is not None:
        lists.append((estimate.path, estimate.events or estimate.boxes or {}))
    for path, events in lists:
        _check_far(path, events, lengths, by_events=True)
    said, last = max((_last(events) for _, events in lists), default=0.0), _last(reference.events)
    if 0 < said < NEAR * last:
        text = f"all events end by {said:g} s, but the reference's last at {last:g} s; is one of them not in seconds?"
        problems.append(Problem("warning", str(estimate.path), None, text))


def check_frame_times(reference: Reference, estimate: Estimate, problems: list[Problem]) -> None:
    """Compare where frames end with where clips do. Raises AnnotationError for another unit; warns of frames that stop before, or go on."""
    scores = estimate.scores
    if scores is None:
        return
    lengths = _Lengths(reference)
    late, early, far, short = [], [], [], []
    for index, clip in enumerate(scores.clips):
        grid = scores.boundaries(index)
        end, frame = float(grid[-1]), float(grid[-1] - grid[0]) / max(len(grid) - 1, 1)
        length, known = lengths.of(clip)
        if length > 0:
            far.append((end / length / (FAR if known else FAR_UNKNOWN), clip, end, length))
        if known and end > 0:
            short.append((length / end, clip, end, length))
        needed = (
            length if known else max((event.offset for event in (reference.events or {}).get(clip, ())), default=0.0)
        )
        if needed > end + max(frame, LATE):
            early.append((clip, end, needed))
        if known and end > length + frame + LATE:
            late.append((clip, end, length))
    share, clip, end, length = sorted(far)[len(far) // 2] if far else (0.0, "", 0.0, 1.0)
    if share > 1:
        raise AnnotationError(
            f"{estimate.path}: the frames of {clip} end at {end:g}, but the clip at {length:g} s; most clips' as far off; "
            f"{guess_unit(end / length)}"
        )
    times, clip, end, length = sorted(short)[len(short) // 2] if short else (0.0, "", 0.0, 0.0)
    if times >= LONG:
        raise AnnotationError(
            f"{reference.path}: the duration of {clip} is {length:g}, but its frames end at {end:g} s; most durations are as far "
            f"off; {guess_unit(times)}"
        )
    for found, what in ((early, "stop before the clip"), (late, "go on after the clip's end")):
        if found:
            clip, end, length = found[0]
            text = (
                f"the frames of {len(found)} of {len(scores)} clips {what}, such as {clip}: {end:g} s of {length:g} s"
            )
            problems.append(Problem("warning", str(estimate.path), None, text))


def _check_far(path: Path, events: Mapping[str, Iterable[Event | Box]], lengths: _Lengths, *, by_events: bool) -> None:
    """Raise AnnotationError if the median event ends long after its clip. by_events : the reference's events may tell its length."""
    ratios, limits, shown = [], [], None
    for clip, own in events.items():
        length, known = lengths.of(clip)
        if length <= 0 or not (known or by_events):
            continue
        for event in own:
            ratios.append(event.offset / length)
            limits.append(FAR if known else FAR_UNKNOWN)
            if shown is None and ratios[-1] > limits[-1]:
                shown = f"{clip}: {event.label} ends at {event.offset:g}, but the {'clip' if known else 'reference'} at {length:g} s"
    if ratios and np.median(np.array(ratios) / np.array(limits)) > 1:
        raise AnnotationError(f"{path}: {shown}; most events lie as far off; {guess_unit(float(np.median(ratios)))}")


class _Lengths:
    """How long clips are: their durations, which are known, or where the last event of the whole reference ends, which is a hint."""

    def __init__(self, reference: Reference) -> None:
        self._known = reference.durations or {}
        self._hint = _last(reference.events)

    def of(self, clip: str) -> tuple[float, bool]:
        """Seconds, and whether they are known."""
        return (self._known[clip], True) if clip in self._known else (self._hint, False)


def _last(events: Events | Mapping[str, Iterable[Event | Box]] | None) -> float:
    return max((event.offset for own in (events or {}).values() for event in own), default=0.0)


def _look_whole(events: Events) -> bool:
    times = np.array([time for own in events.values() for event in own for time in (event.onset, event.offset)])
    return len(times) > 0 and bool(np.all(times == np.round(times))) and float(np.median(times)) > WHOLE
