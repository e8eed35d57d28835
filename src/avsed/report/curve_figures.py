"""Curves: precision against recall, and how trainings went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from avsed.metrics.psds import Psds
from avsed.metrics.sweep import Curve
from avsed.report.curves import PrecisionRecall, f1_at
from avsed.report.style import dot, legend_above, look, new_figure, small_multiples

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLUMNS = 3
POINTS = 201  # thresholds at which F1 is drawn
RECORD = {"step", "kind", "steps_per_s"}  # of a log's line, what is no curve
TITLES = {
    "total": "loss, total",
    "tagging": "loss, tagging",
    "clip_consistency": "loss, clip consistency",
    "frame_consistency": "loss, frame consistency",
    "learning_rate": "learning rate",
    "clip_micro_f1": "validation clip micro F1 (%)",
    "segment_micro_f1": "validation segment micro F1 (%)",
    "event_macro_f1": "validation event macro F1 (%)",
}


def precision_recall_figure(
    curves: Mapping[str, Mapping[str, PrecisionRecall]],
    systems: Mapping[str, int],
    names: Sequence[str],
    thresholds: Mapping[str, Mapping[str, float]],
) -> Figure:
    """A panel a class, a line a run; the mark stands where the threshold puts the system.

    curves, thresholds : by run and label; systems : which setting each run is of, of those that ``names`` names
    """
    labels = list(next(iter(curves.values())))
    several = len(curves) > 1
    titles = labels
    if not several:
        (own,) = curves.values()
        titles = [
            f"{label} · {'–' if np.isnan(v := own[label].average_precision) else f'{100 * v:.0f}'}" for label in labels
        ]
    figure, panels = small_multiples(titles)
    for run, own in curves.items():
        for axes, label in zip(panels, labels, strict=True):
            curve, number = own[label], systems[run]
            if not np.isfinite(curve.recall).all():
                continue
            recall = np.concatenate([[0.0], curve.recall])
            precision = np.concatenate([curve.precision[:1], curve.precision])
            axes.step(100 * recall, 100 * precision, where="pre", **look(number), linewidth=1.0)
            if (place := curve.at(thresholds[run][label])) is not None:
                axes.plot(100 * place[0], 100 * place[1], linestyle="none", ms=3.6, clip_on=False, **dot(number))
    panels[0].set_xlim(0, 100)
    panels[0].set_ylim(0, 104)
    panels[0].set_xticks([0, 50, 100])
    panels[0].set_yticks([0, 50, 100])
    figure.supxlabel("recall (%)", fontsize=7.5, y=0.0, va="bottom")
    figure.supylabel("precision (%)", fontsize=7.5, x=0.004, ha="left")
    if len(names) > 1:
        legend_above(figure, [_line(number) for number in range(len(names))], list(names))
    return figure


def f1_figure(
    curves: Mapping[str, Mapping[str, Curve]],
    looks: Mapping[str, int],
    names: Sequence[str],
    thresholds: Mapping[str, Mapping[str, float]],
) -> Figure:
    """F1 against the threshold: a panel a class, a line for each of ``curves``, a mark where its decisions stand.

    curves, thresholds : by name and label; looks : the number, among ``names``, that a line is drawn as
    """
    labels = list(next(iter(curves.values())))
    figure, panels = small_multiples(labels)
    grid = np.linspace(0, 1, POINTS)
    for axes, label in zip(panels, labels, strict=True):
        for name, own in curves.items():
            axes.plot(grid, 100 * f1_at(own[label], grid), linewidth=1.0, **look(looks[name]))
            place = thresholds[name][label]
            value = f1_at(own[label], np.array([place]))[0]
            axes.plot(place, 100 * value, linestyle="none", ms=3.2, clip_on=False, **dot(looks[name]))
    panels[0].set_xlim(0, 1)
    panels[0].set_ylim(0, 104)
    panels[0].set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    panels[0].set_yticks([0, 50, 100])
    figure.supxlabel("threshold", fontsize=7.5, y=0.0, va="bottom")
    figure.supylabel("F1 (%)", fontsize=7.5, x=0.004, ha="left")
    if len(names) > 1:
        legend_above(figure, [_line(number) for number in range(len(names))], list(names))
    return figure


def psd_roc_figure(rocs: Mapping[str, Mapping[str, Psds]], looks: Mapping[str, int], names: Sequence[str]) -> Figure:
    """Found against false events over all thresholds: a panel for each way to compare, a line a run.

    rocs : by run and by what the PSDS is called; looks : the number, among ``names``, that a run is drawn as
    """
    first = next(iter(rocs.values()))
    figure = new_figure(2.25)
    panels = figure.subplots(1, len(first), sharey=True, squeeze=False)[0]
    for axes, (name, shown) in zip(panels, first.items(), strict=True):
        most = shown.parameters.e_max
        for run, own in rocs.items():
            roc = own[name].roc
            rate = np.concatenate([[0.0], roc.rate, [max(most, roc.rate[-1] if len(roc.rate) else 0.0)]])
            ratio = np.concatenate([[0.0], roc.ratio, roc.ratio[-1:] if len(roc.ratio) else [0.0]])
            axes.step(rate, ratio, where="post", linewidth=1.0, **look(looks[run]))
        axes.set_title(f"{name}: {shown.value:.3f}" if len(rocs) == 1 else name, loc="left")
        axes.set_xlim(0, most)
        axes.set_ylim(0, 1)
        axes.set_xlabel("effective false positives per hour")
        axes.grid(True)
    panels[0].set_ylabel("effective true positive ratio")
    if len(names) > 1:
        from matplotlib.lines import Line2D

        handles = [Line2D([], [], linewidth=1.0, **look(number)) for number in range(len(names))]
        legend_above(figure, handles, list(names))
    return figure


def learning_figure(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure | None:
    """A panel for each thing that the logs tell, against the step; a line a run. None if they tell nothing.

    logs : records by run
    """
    from matplotlib.ticker import FuncFormatter, NullLocator

    rows: list[list[tuple[str, str]]] = []
    for kind in ("train", "validation"):
        keys = {key: None for log in logs.values() for record in log if record["kind"] == kind for key in record}
        own = [(kind, key) for key in keys if key not in RECORD]
        rows += [own[first : first + COLUMNS] for first in range(0, len(own), COLUMNS)]
    if not rows:
        return None
    figure = new_figure(0.25 + 1.32 * len(rows))
    panels = figure.subplots(len(rows), COLUMNS, squeeze=False, sharex=True)
    handles: dict[str, Any] = {}
    for axes, told in zip(
        panels.flat, (one for row in rows for one in row + [None] * (COLUMNS - len(row))), strict=True
    ):
        if told is None:
            axes.set_visible(False)
            continue
        kind, key = told
        scale = 100 if kind == "validation" else 1
        for number, (run, log) in enumerate(logs.items()):
            points = [(record["step"], record[key]) for record in log if record["kind"] == kind and key in record]
            points = [(step, scale * value) for step, value in points if value is not None]
            if points:
                mark = {"marker": dot(number)["marker"], "ms": 2.4} if kind == "validation" else {}
                (handles[run],) = axes.plot(*zip(*points, strict=True), linewidth=0.9, **look(number), **mark)
        axes.set_title(TITLES.get(key, key.replace("_", " ")), loc="left", fontsize=7.5)
        axes.grid(True)
        if kind == "validation":
            axes.set_ylim(0, 100)
        elif "consistency" in key:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(_power))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
    for axes, _ in zip(panels[-1], rows[-1], strict=False):
        axes.set_xlabel("step")
    if len(logs) > 1:
        legend_above(figure, list(handles.values()), list(handles))
    return figure


def _line(number: int) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], ms=3.6, lw=1.0, **(look(number) | dot(number)))


def _power(value: float, _: int) -> str:
    """A power of ten without mathematics: 1e-3."""
    return f"1e{round(np.log10(value))}" if value > 0 else ""
