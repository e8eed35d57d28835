"""A reference and an estimate of the same clips and classes, in the same unit: what does not fit is said, with what was probably meant.

Conventions
-----------
* Clips are the same if their names are; if asked for, if their names without folders are (``match="name"``), or without folders and
  endings (``"stem"``). The tables of a score folder, whose names lack an ending, are always matched by `stem`, too.
* A clip of which an event list or a table of tags says nothing has no events: such tables name only clips in which something was found.
* A clip without scores has none at any threshold, which is no answer. It is an error, or, if asked for, left out of the reference.
* A class of the reference without a column is warned of: it counts as never detected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal, TypeVar

from avsed.annotations import Tags
from avsed.errors import AnnotationError, ScoresError, nearest
from avsed.exchange.estimates import ClipProbabilities, Estimate, Reference
from avsed.exchange.score_tables import stem
from avsed.exchange.units import check_durations, check_event_times, check_frame_times
from avsed.tables import Problem, check_labels, labels_of

SHOWN = 5
T = TypeVar("T")
MissingClips = Literal["error", "drop"]
Match = Literal["exact", "name", "stem"]
PARTS: Mapping[str, Callable[[str], str]] = {
    "name": lambda name: PurePath(name.replace("\\", "/")).name,
    "stem": lambda name: stem(name.replace("\\", "/")),
}
RENAME = "rename one like the other"
ALIKE: tuple[tuple[str, Callable[[str], str], str], ...] = (
    ("without their folders", PARTS["name"], "give --match name"),
    (
        "without their endings",
        lambda name: name.removesuffix(PurePath(name).suffix) if stem(name) != name else name,
        "give --match stem",
    ),
    ("without folders and endings", PARTS["stem"], "give --match stem"),
    ("without a leading Y", lambda name: stem(name.replace("\\", "/")).removeprefix("Y"), RENAME),
    ("in lower case", str.casefold, RENAME),
)


@dataclass(frozen=True)
class Aligned:
    """What can be compared.

    estimate : under the reference's names; scores and probabilities in the order of its clips and of the labels
    silent : number of clips that an event list or table of tags lacks: nothing was found there
    left_out : clips of the reference without scores
    """

    reference: Reference
    estimate: Estimate
    labels: tuple[str, ...]
    silent: int
    left_out: tuple[str, ...]


def align(
    reference: Reference,
    estimate: Estimate,
    *,
    labels: Sequence[str],
    missing_clips: MissingClips,
    match: Match = "exact",
    problems: list[Problem],
) -> Aligned:
    """Bring an estimate under the names of a reference.

    labels : the classes
    missing_clips : whether clips without scores are an error, or left out
    match : which part of the clips' names must be the same
    problems : takes what is odd but can be compared

    Raises AnnotationError or ScoresError for clips and classes that the reference does not know, and for times of another unit.
    """
    check_labels(reference.tags, labels, reference.path)
    for path, own in _said(estimate):
        _check_known(own, labels, path)
    if match == "exact" and estimate.scores is not None and estimate.path.is_dir():
        match = "stem"
    if match != "exact":
        estimate = _renamed(estimate, _matched(estimate.clips, reference.tags, estimate.path, PARTS[match]))
    _check_clips(estimate, reference)
    heard = set(estimate.clips)
    lacking = tuple(clip for clip in reference.tags if clip not in heard)
    left_out: tuple[str, ...] = ()
    if estimate.classes is not None:
        kept = _check_classes(estimate, estimate.classes, labels, problems)
        left_out = _missing(lacking, estimate, reference, missing_clips)
        reference = _without(reference, set(left_out))
        estimate = _in_order(estimate, list(reference.tags), kept)
    elif missing_clips == "drop":
        raise AnnotationError(
            f"{estimate.path}: --missing-clips drop leaves out clips without scores, but this is {estimate.form}: a clip without a "
            "row is one in which nothing was found"
        )
    check_durations(reference, problems)
    check_event_times(reference, estimate, problems)
    check_frame_times(reference, estimate, problems)
    silent = 0 if estimate.classes is not None else len(lacking)
    return Aligned(reference, estimate, tuple(labels), silent, left_out)


def alike(names: Sequence[str], known: Collection[str]) -> str:
    """A hint how names that are not known could be matched with those that are, for a message; or the nearest known one."""
    for how, key, way in ALIKE:
        keyed = {key(name): name for name in known}
        pairs = [(name, keyed[key(name)]) for name in names if key(name) in keyed]
        if pairs:
            return f"; {len(pairs)} of them would match {how}: {pairs[0][0]!r} and {pairs[0][1]!r}; {way}"
    return nearest(names[0], known)


def _said(estimate: Estimate) -> list[tuple[Path, Tags]]:
    """The labels that each table says of clips, at any confidence; none where classes are columns."""
    if estimate.tags is not None:
        return [(estimate.path, estimate.tags)]
    if estimate.boxes is not None:
        return [(estimate.path, {clip: frozenset(box.label for box in own) for clip, own in estimate.boxes.items()})]
    if estimate.points is not None:
        return [(point.path, labels_of(point.events)) for point in estimate.points]
    return [] if estimate.events is None else [(estimate.path, labels_of(estimate.events))]


def _check_known(own: Tags, labels: Sequence[str], path: Path) -> None:
    try:
        check_labels(own, labels, path)
    except AnnotationError as error:
        raise AnnotationError(f"{error}\n(classes that the reference lacks: --set 'data.labels=[A, B, C]')") from error


def _matched(clips: Sequence[str], known: Collection[str], path: Path, part: Callable[[str], str]) -> dict[str, str]:
    """The name in the reference -> the name in the estimate; clips that are not known keep theirs.

    part : what of two names must be the same, unless they are the same anyway

    Raises ScoresError for names that cannot be told apart.
    """
    parts: defaultdict[str, list[str]] = defaultdict(list)
    for name in known:
        parts[part(name)].append(name)
    names: dict[str, str] = {}
    for clip in clips:
        found = [clip] if clip in known else parts.get(part(clip), [clip])
        if len(found) > 1:
            raise ScoresError(
                f"{path}: {clip}: the reference has {len(found)} clips of this name: {', '.join(found[:SHOWN])}"
            )
        if found[0] in names:
            raise ScoresError(f"{path}: two clips are {found[0]}: {names[found[0]]} and {clip}")
        names[found[0]] = clip
    return names


def _renamed(estimate: Estimate, names: Mapping[str, str]) -> Estimate:
    """The same under other names: new name -> name there."""
    if estimate.scores is not None:
        return replace(estimate, scores=estimate.scores.chosen(names))
    if estimate.probabilities is not None:
        new = {old: name for name, old in names.items()}
        own = estimate.probabilities
        return replace(estimate, probabilities=replace(own, clips=tuple(new[clip] for clip in own.clips)))
    if estimate.points is not None:
        points = tuple(
            point._replace(events={name: point.events[old] for name, old in names.items() if old in point.events})
            for point in estimate.points
        )
        return replace(estimate, points=points)
    return Estimate(
        estimate.path,
        estimate.form,
        events=_under(estimate.events, names),
        boxes=_under(estimate.boxes, names),
        tags=_under(estimate.tags, names),
    )


def _under(own: dict[str, T] | None, names: Mapping[str, str]) -> dict[str, T] | None:
    return None if own is None else {name: own[old] for name, old in names.items()}


def _check_clips(estimate: Estimate, reference: Reference) -> None:
    if not reference.tags:
        raise AnnotationError(
            f"{reference.path}: names no clips; give a row for each clip, those without events included"
        )
    foreign = [clip for clip in estimate.clips if clip not in reference.tags]
    if foreign:
        raise AnnotationError(
            f"{estimate.path}: {len(foreign)} of {len(estimate.clips)} clips of the estimate are not in the reference "
            f"{reference.path}, such as {foreign[0]!r}{alike(foreign, reference.tags)}"
        )


def _check_classes(
    estimate: Estimate, classes: Sequence[str], labels: Sequence[str], problems: list[Problem]
) -> list[str]:
    """The labels that have a column, in their order."""
    odd = [name for name in classes if name not in labels]
    if odd:
        shown = ", ".join(f"{name!r}{nearest(name, labels)}" for name in odd[:SHOWN])
        more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        every = [*labels, *odd]
        hint = f"--set 'data.labels=[{', '.join(every)}]'" if len(every) <= 20 else "--set 'data.labels=[A, B, C]'"
        raise ScoresError(
            f"{estimate.path}: unknown classes: {shown}{more}; known: {', '.join(labels)}\n(classes that the reference lacks: {hint})"
        )
    kept = [label for label in labels if label in classes]
    lacking = [label for label in labels if label not in classes]
    if lacking:
        text = f"no scores for {', '.join(lacking)}: counted as never detected"
        problems.append(Problem("warning", str(estimate.path), None, text))
    return kept


def _missing(
    lacking: tuple[str, ...], estimate: Estimate, reference: Reference, wanted: MissingClips
) -> tuple[str, ...]:
    if lacking and (wanted == "error" or len(lacking) == len(reference.tags)):
        shown = ", ".join(lacking[:SHOWN]) + (", …" if len(lacking) > SHOWN else "")
        raise ScoresError(
            f"{estimate.path}: no scores for {len(lacking)} of the reference's {len(reference.tags)} clips: {shown}; a clip without "
            "scores cannot be judged at any threshold; give them, or leave these clips out of the reference: --missing-clips drop"
        )
    return lacking


def _without(reference: Reference, gone: set[str]) -> Reference:
    if not gone:
        return reference
    events = reference.events
    return replace(
        reference,
        tags={clip: own for clip, own in reference.tags.items() if clip not in gone},
        events=None if events is None else {clip: own for clip, own in events.items() if clip not in gone},
    )


def _in_order(estimate: Estimate, clips: Sequence[str], labels: Sequence[str]) -> Estimate:
    """Scores or probabilities of the reference's clips and the labels, in their order."""
    if estimate.scores is not None:
        return replace(estimate, scores=estimate.scores.chosen({clip: clip for clip in clips}, labels))
    own = estimate.probabilities
    assert own is not None
    rows = {clip: row for row, clip in enumerate(own.clips)}
    values = own.values[[rows[clip] for clip in clips]][:, [own.classes.index(label) for label in labels]]
    return replace(estimate, probabilities=ClipProbabilities(tuple(clips), tuple(labels), values))
