"""Compiled loops of PSDS: from the steps of one class to its staircase, and from the staircases of all classes to their area.

A staircase is the least effective false positive rate at which 1, 2, ... reference events are found: float64 (reference events,),
non-decreasing, inf where so many are never found. Resample b's staircase of class c begins at ``rates[places[b, c]]`` and has
``sizes[b, c]`` values.
"""

from __future__ import annotations

import numpy as np

from avsed.compiling import exactly


@exactly
def staircases(label, steps, weights, per_false, per_trigger, rates, places, sizes):  # type: ignore[no-untyped-def]
    """Fill in the staircases of one class: one pass over its steps, in the order of the falling threshold, for every resample.

    steps : last, clip, correct, false, trigger_starts, trigger_label, trigger_change; see `psds.Track`
    weights : int64 (resamples, clips); per_false : float64 (resamples,), per_trigger : float64 (resamples, classes), what one false
    event, and one triggered by a class, add to the effective rate
    """
    last, clip, correct, false, trigger_starts, trigger_label, trigger_change = steps
    for b in range(len(weights)):
        weight = weights[b]
        least = rates[places[b, label] : places[b, label] + sizes[b, label]]
        least[:] = np.inf
        found = wrong = 0
        triggered = 0.0
        for s in range(len(clip)):
            w = weight[clip[s]]
            if w != 0:
                found += w * correct[s]
                wrong += w * false[s]
                for t in range(trigger_starts[s], trigger_starts[s + 1]):
                    triggered += w * trigger_change[t] * per_trigger[b, trigger_label[t]]
            if last[s] and found > 0:
                rate = wrong * per_false[b] + max(triggered, 0.0)
                least[found - 1] = min(least[found - 1], rate)
        for k in range(len(least) - 2, -1, -1):  # who finds more has found as many
            least[k] = min(least[k], least[k + 1])


@exactly
def areas(rates, places, sizes, alpha_st, e_max):  # type: ignore[no-untyped-def]
    """The areas under the staircases up to e_max, as shares.

    Returns together : float64 (resamples,), under mean - alpha_st * standard deviation over classes, where positive; each :
    float64 (resamples, classes); NaN without reference events.
    """
    resamples, classes = sizes.shape
    together, each = np.full(resamples, np.nan), np.full((resamples, classes), np.nan)
    for b in range(resamples):
        present = np.flatnonzero(sizes[b] > 0)
        if len(present) == 0:
            continue
        for c in present:
            area = 0.0
            for rate in rates[places[b, c] : places[b, c] + sizes[b, c]]:
                area += max(e_max - rate, 0.0)
            each[b, c] = area / sizes[b, c] / e_max
        if alpha_st == 0:
            total = 0.0
            for c in present:
                total += each[b, c]
            together[b] = total / len(present)
            continue
        begin, end = places[b, 0], places[b, classes - 1] + sizes[b, classes - 1]
        label = np.repeat(np.arange(classes), sizes[b])
        reached = np.flatnonzero(rates[begin:end] < e_max)
        reached = reached[np.argsort(rates[begin:end][reached])]
        found = np.zeros(classes)
        area = 0.0
        for place in range(len(reached)):
            found[label[reached[place]]] += 1
            rate = rates[begin + reached[place]]
            following = rates[begin + reached[place + 1]] if place + 1 < len(reached) else e_max
            if following > rate:
                mean = spread = 0.0
                for c in present:
                    mean += found[c] / sizes[b, c]
                mean /= len(present)
                for c in present:
                    spread += (found[c] / sizes[b, c] - mean) ** 2
                area += (following - rate) * max(mean - alpha_st * np.sqrt(spread / len(present)), 0.0)
        together[b] = area / e_max
    return together, each
