"""Compiled loops of the sweeps: one clip after another, in each one the threshold falls past every level at which something changes.

Shapes, in all functions: events of many clips lie clip by clip, clip k's at ``starts[k]`` to ``starts[k + 1]`` (int64 (clips + 1,));
onset, offset, low, high : float64 (events,); within a clip, reference events lie in the order of their onsets. changing : what `changes`
returns. No loop calls one of another file, so that numba sees when what it has compiled is out of date.
"""

from __future__ import annotations

import numpy as np

from avsed.compiling import exactly


@exactly
def stretches(values, starts):  # type: ignore[no-untyped-def]
    """Every stretch of neighbouring frames that is said at some threshold: the max-tree of each clip's curve.

    values : float32 (frames,), clip by clip
    Returns clip, first, stop : int64 (n,), a stretch covers frames first to stop of its clip; low, high : float64 (n,).
    The levels on the stack rise; a stretch ends where the curve falls below its level, and it is one with the level below from there.
    """
    size = len(values)
    clip, first, stop = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    low, high = np.empty(size), np.empty(size)
    begins, levels = np.empty(size, np.int64), np.empty(size)
    count = 0
    for k in range(len(starts) - 1):
        curve = values[starts[k] : starts[k + 1]]
        depth = 0
        for frame in range(len(curve) + 1):
            value = np.float64(curve[frame]) if frame < len(curve) else -np.inf
            begin = frame
            while depth > 0 and levels[depth - 1] > value:
                depth -= 1
                begin = begins[depth]
                below = levels[depth - 1] if depth > 0 else -np.inf
                clip[count], first[count], stop[count] = k, begin, frame
                low[count], high[count] = max(value, below), levels[depth]
                count += 1
            if frame < len(curve) and (depth == 0 or levels[depth - 1] < value):
                begins[depth], levels[depth] = begin, value
                depth += 1
    return clip[:count], first[:count], stop[:count], low[:count], high[:count]


@exactly
def changes(starts, low, high, kind):  # type: ignore[no-untyped-def]
    """When the events of each clip come and go.

    kind : int64 (events,); where an event takes the place of the one before it in the order, at one threshold, and both are of one
    kind, nothing changes: they are taken for one. Most stretches of a curve are replaced by their like.
    Returns ends : int64 (clips + 1,), clip k's changes are ends[k] to ends[k + 1]; levels : float64 (changes,), falling in each clip;
    which : int64 (changes,), c where the clip's event c comes, ~c where it goes.
    """
    ends = np.zeros(len(starts), np.int64)
    levels, which = np.empty(2 * len(low)), np.empty(2 * len(low), np.int64)
    own, names = np.empty(2 * len(low)), np.empty(2 * len(low), np.int64)
    total = 0
    for k in range(len(starts) - 1):
        count = 0
        first = starts[k]
        for c in range(first, starts[k + 1]):
            if c + 1 < starts[k + 1] and kind[c] == kind[c + 1] and low[c] == high[c + 1]:
                continue  # the next one, or one after it, stands for both from ``first`` on
            own[count], names[count] = -high[first], c - starts[k]
            count += 1
            if low[c] > -np.inf:
                own[count], names[count] = -low[c], ~(c - starts[k])
                count += 1
            first = c + 1
        if count:
            for place in np.argsort(own[:count]):
                levels[total], which[total] = -own[place], names[place]
                total += 1
        ends[k + 1] = total
    return ends, levels[:total], which[:total]


@exactly
def near(starts, onset, offset, ref_starts, ref_onset, ref_offset, onset_collar, tolerance):  # type: ignore[no-untyped-def]
    """Which events could be matched.

    onset_collar : seconds; tolerance : float64 (reference events,), seconds for the offset; inf to leave one out
    Returns edges, ends : int64; of event c the reference events within the collars, counted in their clip, at ends[c] to ends[c + 1].
    """
    ends = np.zeros(len(onset) + 1, np.int64)
    edges = np.empty(0, np.int64)
    for filling in range(2):
        count = 0
        for k in range(len(starts) - 1):
            first, stop = ref_starts[k], ref_starts[k + 1]
            for c in range(starts[k], starts[k + 1]):
                r = first + _first_from(ref_onset[first:stop], onset[c] - onset_collar - 1e-3)
                while r < stop and ref_onset[r] <= onset[c] + onset_collar + 1e-3:
                    if (
                        np.abs(ref_onset[r] - onset[c]) <= onset_collar
                        and np.abs(ref_offset[r] - offset[c]) <= tolerance[r]
                    ):
                        if filling:
                            edges[count] = r - first
                        count += 1
                    r += 1
                ends[c + 1] = count
        if not filling:
            edges = np.empty(count, np.int64)
    return edges, ends


@exactly
def collar_steps(changing, starts, edges, ends, ref_starts):  # type: ignore[no-untyped-def]
    """How many events are said, and how many can be matched one to one, as the threshold falls.

    edges, ends : see `near`
    Returns level, clip, correct, estimated: the steps, clip by clip.

    A matching stays the largest one if an event that goes frees its partner, and every event without one looks once for an augmenting
    path (Berge). Only events within the collars can change it.
    """
    ends_of, all_levels, all_which = changing
    steps = len(all_levels)
    level, clip = np.empty(steps), np.empty(steps, np.int64)
    correct, estimated = np.empty(steps, np.int64), np.empty(steps, np.int64)
    count = 0
    for k in range(len(starts) - 1):
        a, b = starts[k], starts[k + 1]
        if a == b:
            continue
        refs = ref_starts[k + 1] - ref_starts[k]
        own = ends[a : b + 1]
        partner = np.full(refs, -1)  # of each reference event
        holds = np.full(b - a, -1)  # the reference event of each event
        there = np.zeros(b - a, np.bool_)
        waiting, waits = np.empty(b - a, np.int64), 0
        came_from, queue = np.empty(refs, np.int64), np.empty(refs + 1, np.int64)
        levels, which = all_levels[ends_of[k] : ends_of[k + 1]], all_which[ends_of[k] : ends_of[k + 1]]
        place = 0
        while place < len(levels):
            now, said, matched, touched = levels[place], 0, 0, False
            while place < len(levels) and levels[place] == now:
                c = which[place]
                place += 1
                said += 1 if c >= 0 else -1
                comes = c >= 0
                c = c if comes else ~c
                if own[c] == own[c + 1]:
                    continue
                touched = True
                there[c] = comes
                if comes:
                    waiting[waits] = c
                    waits += 1
                elif holds[c] >= 0:
                    partner[holds[c]] = -1
                    matched -= 1
                else:  # leave the queue
                    kept = 0
                    for w in range(waits):
                        if waiting[w] != c:
                            waiting[kept] = waiting[w]
                            kept += 1
                    waits = kept
            if touched:
                kept = 0
                for w in range(waits):
                    c = waiting[w]
                    if _augment(c, edges, own, partner, holds, came_from, queue):
                        matched += 1
                    else:
                        waiting[kept] = c
                        kept += 1
                waits = kept
            if said != 0 or matched != 0:
                level[count], clip[count], correct[count], estimated[count] = now, k, matched, said
                count += 1
    return level[:count], clip[:count], correct[:count], estimated[:count]


@exactly
def _first_from(sorted_values, value):  # type: ignore[no-untyped-def]
    """The index of the first of the sorted values that is at least ``value``."""
    first, stop = 0, len(sorted_values)
    while first < stop:
        middle = (first + stop) // 2
        if sorted_values[middle] < value:
            first = middle + 1
        else:
            stop = middle
    return first


@exactly
def _augment(root, edges, ends, partner, holds, came_from, queue):  # type: ignore[no-untyped-def]
    """Find a place for ``root`` by moving others, breadth-first; leave everything as it is, and return False, if there is none."""
    came_from[:] = -1
    queue[0] = root
    done, known = 0, 1
    while done < known:
        c = queue[done]
        done += 1
        for edge in range(ends[c], ends[c + 1]):
            r = edges[edge]
            if came_from[r] >= 0:
                continue
            came_from[r] = c
            if partner[r] >= 0:
                queue[known] = partner[r]
                known += 1
                continue
            while True:  # back to the root, each event on the way leaving its place to the next
                mover = came_from[r]
                left = holds[mover]
                partner[r], holds[mover] = mover, r
                if mover == root:
                    return True
                r = left
    return False


@exactly
def segment_steps(changing, starts, first, stop, roll, roll_starts):  # type: ignore[no-untyped-def]
    """How many segments are said, and how many of them the reference holds, too, as the threshold falls.

    first, stop : int64 (events,), the segments of its clip that each event touches
    roll : bool, which segments the reference holds, clip by clip at roll_starts
    Returns level, clip, correct, estimated: the steps, clip by clip.
    """
    ends_of, all_levels, all_which = changing
    steps = len(all_levels)
    level, clip = np.empty(steps), np.empty(steps, np.int64)
    correct, estimated = np.empty(steps, np.int64), np.empty(steps, np.int64)
    count = 0
    for k in range(len(starts) - 1):
        a, b = starts[k], starts[k + 1]
        if a == b:
            continue
        held = roll[roll_starts[k] : roll_starts[k + 1]]
        depth = np.zeros(len(held), np.int64)  # events over each segment
        levels, which = all_levels[ends_of[k] : ends_of[k + 1]], all_which[ends_of[k] : ends_of[k + 1]]
        place = said = right = 0
        while place < len(levels):
            now, said_before, right_before = levels[place], said, right
            while place < len(levels) and levels[place] == now:
                c = which[place]
                place += 1
                more = 1 if c >= 0 else -1
                c = a + (c if c >= 0 else ~c)
                for s in range(first[c], stop[c]):
                    before = depth[s] > 0
                    depth[s] += more
                    change = (1 if depth[s] > 0 else 0) - (1 if before else 0)
                    said += change
                    if held[s]:
                        right += change
            if said != said_before or right != right_before:
                level[count], clip[count] = now, k
                correct[count], estimated[count] = right - right_before, said - said_before
                count += 1
    return level[:count], clip[:count], correct[:count], estimated[:count]


@exactly
def best_f1(last, clip, correct, estimated, reference, weights):  # type: ignore[no-untyped-def]
    """The greatest F1 over all thresholds, for each resample.

    last : bool (steps,), the step is the last one at its threshold; clip, correct, estimated : int64 (steps,), threshold falling
    reference : int64 (clips,); weights : int64 (resamples, clips)
    Returns step, correct, estimated, reference : int64 (resamples,); step is the first of the best ones, -1 for nothing said.
    """
    resamples = len(weights)
    step, held = np.full(resamples, -1), np.zeros(resamples, np.int64)
    right, said = np.zeros(resamples, np.int64), np.zeros(resamples, np.int64)
    for b in range(resamples):
        weight = weights[b]
        r = c = e = 0
        for k in range(len(reference)):
            r += weight[k] * reference[k]
        for s in range(len(clip)):
            w = weight[clip[s]]
            c += w * correct[s]
            e += w * estimated[s]
            # F1 = 2 c / (r + e): fractions are compared by products of integers, so that equal ones are equal
            if last[s] and c * (r + said[b]) > right[b] * (r + e):
                step[b], right[b], said[b] = s, c, e
        held[b] = r
    return step, right, said, held
