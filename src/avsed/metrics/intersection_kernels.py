"""Compiled loops of the intersection criteria; events and shapes as in `kernels`.

Groups: the reference events of one clip and class, overlapping ones joined into one, form a group. Clip k's groups are
``group_starts[k]`` to ``group_starts[k + 1]``; group g has the class ``group_label[g]`` and the spans ``span_starts[g]`` to
``span_starts[g + 1]``, which are sorted and do not overlap.
"""

from __future__ import annotations

import numpy as np

from avsed.compiling import exactly

MICRO = 1e6  # lengths are compared to the microsecond


@exactly
def join_overlapping(group, onset, offset):  # type: ignore[no-untyped-def]
    """Join overlapping events of the same group, in place; events sorted by group and onset. Returns how many are left."""
    count = 0
    for k in range(len(group)):
        if count and group[count - 1] == group[k] and onset[k] <= offset[count - 1]:
            offset[count - 1] = max(offset[count - 1], offset[k])
        else:
            group[count], onset[count], offset[count] = group[k], onset[k], offset[k]
            count += 1
    return count


@exactly
def judge(label, dtc, cttc, starts, onset, offset, group_starts, group_label, span_starts, span_onset, span_offset):  # type: ignore[no-untyped-def]
    """What each event of class ``label`` is by itself: a detection, or a false one that other classes may have triggered.

    dtc, cttc : shares of the event that reference events of its own, and of another class must cover
    Returns relevant : bool (events,), meets dtc; edges, ends: of event c, the other classes' groups at ends[c] to ends[c + 1].
    """
    relevant = np.zeros(len(onset), np.bool_)
    ends = np.zeros(len(onset) + 1, np.int64)
    edges = np.empty(0, np.int64)
    for filling in range(2):
        count = 0
        for k in range(len(starts) - 1):
            for c in range(starts[k], starts[k + 1]):
                length = offset[c] - onset[c]
                if not filling:
                    for g in range(group_starts[k], group_starts[k + 1]):
                        if group_label[g] == label:
                            covered = _covered(onset[c], offset[c], g, span_starts, span_onset, span_offset)
                            relevant[c] = np.rint(covered * MICRO) >= np.rint(dtc * length * MICRO)
                if not relevant[c] and cttc <= 1:
                    for g in range(group_starts[k], group_starts[k + 1]):
                        if group_label[g] != label:
                            covered = _covered(onset[c], offset[c], g, span_starts, span_onset, span_offset)
                            if np.rint(covered * MICRO) >= np.rint(cttc * length * MICRO):
                                if filling:
                                    edges[count] = g
                                count += 1
                ends[c + 1] = count
        if not filling:
            edges = np.empty(count, np.int64)
    return relevant, edges, ends


@exactly
def _covered(onset, offset, group, span_starts, span_onset, span_offset):  # type: ignore[no-untyped-def]
    """Seconds of [onset, offset) that the group's spans cover."""
    first, stop = span_starts[group], span_starts[group + 1]
    end = stop
    while first < stop:  # the first span that ends later than onset
        middle = (first + stop) // 2
        if span_offset[middle] <= onset:
            first = middle + 1
        else:
            stop = middle
    total = 0.0
    while first < end and span_onset[first] < offset:
        total += min(offset, span_offset[first]) - max(onset, span_onset[first])
        first += 1
    return total


@exactly
def intersection_steps(gtc, changing, candidates, judged, groups, held):  # type: ignore[no-untyped-def]
    """Reference events found, false events and cross-triggers as the threshold falls.

    gtc : share of a reference event that relevant events must cover
    candidates : starts, onset, offset; judged : relevant, edges, ends (see `judge`); groups : group_starts, group_label
    held : the class's reference events: starts, onset, offset
    Returns level, clip, correct, false: the steps, clip by clip; trigger_starts (steps + 1,), trigger_label, trigger_change: of each
    step, which other classes trigger more or fewer false events.
    """
    starts, onset, offset = candidates
    ends_of, all_levels, all_which = changing
    relevant, edges, ends = judged
    group_starts, group_label = groups
    ref_starts, ref_onset, ref_offset = held
    size = len(all_levels)
    level, clip = np.empty(size), np.empty(size, np.int64)
    correct, false = np.empty(size, np.int64), np.empty(size, np.int64)
    trigger_starts = np.zeros(size + 1, np.int64)
    trigger_label, trigger_change = np.empty(2 * len(edges), np.int64), np.empty(2 * len(edges), np.int64)
    count = triggers = 0
    for k in range(len(starts) - 1):
        a, b = starts[k], starts[k + 1]
        if a == b:
            continue
        first_ref, refs = ref_starts[k], ref_starts[k + 1] - ref_starts[k]
        r_on, r_off = ref_onset[first_ref : first_ref + refs], ref_offset[first_ref : first_ref + refs]
        own, own_ends, over, over_ends = _touching(onset[a:b], offset[a:b], relevant[a:b], r_on, r_off)
        there = np.zeros(b - a, np.bool_)
        found, stale = np.zeros(refs, np.bool_), np.zeros(refs, np.bool_)
        first_group = group_starts[k]
        more = np.zeros(group_starts[k + 1] - first_group, np.int64)  # cross-triggers, by group
        levels, which = all_levels[ends_of[k] : ends_of[k + 1]], all_which[ends_of[k] : ends_of[k + 1]]
        place = 0
        while place < len(levels):
            now, wrong, right, begun = levels[place], 0, 0, triggers
            any_stale = any_trigger = False
            while place < len(levels) and levels[place] == now:
                c = which[place]
                place += 1
                change = 1 if c >= 0 else -1
                c = c if c >= 0 else ~c
                there[c] = change > 0
                if relevant[a + c]:
                    any_stale = True
                    for edge in range(own_ends[c], own_ends[c + 1]):
                        stale[own[edge]] = True
                else:
                    wrong += change
                    for edge in range(ends[a + c], ends[a + c + 1]):
                        any_trigger = True
                        more[edges[edge] - first_group] += change
            if any_stale:
                for r in range(refs):
                    if stale[r]:
                        stale[r] = False
                        total, reach = 0.0, r_on[r]
                        for edge in range(over_ends[r], over_ends[r + 1]):
                            c = over[edge]
                            if there[c]:
                                total += max(0.0, min(offset[a + c], r_off[r]) - max(onset[a + c], reach))
                                reach = max(reach, offset[a + c])
                        is_found = np.rint(total * MICRO) >= np.rint(gtc * (r_off[r] - r_on[r]) * MICRO)
                        right += (1 if is_found else 0) - (1 if found[r] else 0)
                        found[r] = is_found
            if any_trigger:
                for g in range(len(more)):
                    if more[g] != 0:
                        trigger_label[triggers], trigger_change[triggers] = group_label[first_group + g], more[g]
                        triggers += 1
                        more[g] = 0
            if wrong != 0 or right != 0 or triggers > begun:
                level[count], clip[count], correct[count], false[count] = now, k, right, wrong
                count += 1
                trigger_starts[count] = triggers
    return (
        level[:count], clip[:count], correct[:count], false[:count],
        trigger_starts[: count + 1], trigger_label[:triggers], trigger_change[:triggers],
    )  # fmt: skip


@exactly
def _touching(onset, offset, relevant, ref_onset, ref_offset):  # type: ignore[no-untyped-def]
    """Which relevant events and reference events of one clip share time.

    Returns own, own_ends: of event c, the reference events; over, over_ends: of a reference event, the events by their onsets.
    """
    refs = len(ref_onset)
    own_ends, over_ends = np.zeros(len(onset) + 1, np.int64), np.zeros(refs + 1, np.int64)
    own, over = np.empty(0, np.int64), np.empty(0, np.int64)
    if refs == 0 or not relevant.any():
        return own, own_ends, over, over_ends
    latest = ref_offset.copy()  # of the reference events so far
    for r in range(1, refs):
        latest[r] = max(latest[r], latest[r - 1])
    for filling in range(2):
        count = 0
        for c in range(len(onset)):
            if relevant[c]:
                r = np.searchsorted(latest, onset[c], side="right")
                while r < refs and ref_onset[r] < offset[c]:
                    if ref_offset[r] > onset[c]:
                        if filling:
                            own[count] = r
                        count += 1
                    r += 1
            own_ends[c + 1] = count
        if not filling:
            own = np.empty(count, np.int64)
    over = np.empty(len(own), np.int64)
    for edge in range(len(own)):
        over_ends[own[edge] + 1] += 1
    for r in range(refs):
        over_ends[r + 1] += over_ends[r]
    filled = over_ends[:-1].copy()
    for c in np.argsort(onset):
        for edge in range(own_ends[c], own_ends[c + 1]):
            over[filled[own[edge]]] = c
            filled[own[edge]] += 1
    return own, own_ends, over, over_ends
