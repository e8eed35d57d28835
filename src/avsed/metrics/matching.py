"""One-to-one matching of estimated to reference events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

Pairs = Iterable[tuple[int, int]]


def match_optimal(pairs: Pairs) -> dict[int, int]:
    """As many (reference, estimated) pairs as possible, no event in two of them: maximum bipartite matching.

    pairs : the pairs that may be matched, sorted
    Returns the estimated event of each matched reference event. It starts from a greedy matching in the order of the estimated
    events' first pairs and lengthens it along augmenting paths, which take no event out of the matching again.
    """
    neighbours: defaultdict[int, list[int]] = defaultdict(list)
    for reference, estimated in pairs:
        neighbours[estimated].append(reference)
    matched: dict[int, int] = {}  # reference -> estimated
    holds: dict[int, int] = {}  # estimated -> reference
    waiting = []
    for estimated, references in neighbours.items():
        free = next((reference for reference in references if reference not in matched), None)
        if free is None:
            waiting.append(estimated)
        else:
            matched[free], holds[estimated] = estimated, free
    for estimated in waiting:
        _augment(estimated, neighbours, matched, holds)
    return matched


def _augment(root: int, neighbours: dict[int, list[int]], matched: dict[int, int], holds: dict[int, int]) -> None:
    """Find a place for ``root`` by moving others, breadth-first; leave everything as it is if there is none."""
    came_from: dict[int, int] = {}  # reference -> the estimated event that reached it first
    layer = [root]
    while layer:
        following = []
        for estimated in layer:
            for reference in neighbours[estimated]:
                if reference in came_from:
                    continue
                came_from[reference] = estimated
                if reference in matched:
                    following.append(matched[reference])
                    continue
                place: int | None = reference
                while (
                    place is not None
                ):  # back to the root, each estimated event on the way leaving its place to the next
                    mover = came_from[place]
                    matched[place], holds[mover], place = mover, place, holds.get(mover)
                return
        layer = following


def match_greedy(pairs: Pairs) -> dict[int, int]:
    """Each reference event, in order, takes the first estimated event that is still free.

    pairs : the pairs that may be matched, sorted
    """
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for reference, estimated in pairs:
        if reference not in matched and estimated not in taken:
            matched[reference] = estimated
            taken.add(estimated)
    return matched
