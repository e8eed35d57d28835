"""Scores of systems side by side: over all classes, and class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from avsed.report.numbers import CLASS_MEASURES, Measure, Number, Numbers
from avsed.report.style import COLOURS, INK, dot, legend_above, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Systems = Mapping[str, tuple[Numbers, Sequence[Numbers]]]
"""By the setting's title: what is said of it, and of each of its trainings."""


def scores_figure(systems: Systems, measures: Mapping[str, Measure]) -> Figure:
    """Each score in percent: a dot a system with its interval, small open ones for single trainings."""
    measures = {key: measure for key, measure in measures.items() if measure.share}
    count = len(systems)
    figure = new_figure(0.45 + len(measures) * (0.12 + 0.11 * count))
    axes = figure.subplots()
    handles = []
    for number, (told, trainings) in enumerate(systems.values()):
        rows = np.arange(len(measures)) + _dodge(number, count)
        handles.append(_dots(axes, [told.overall[key] for key in measures], rows, number))
        if len(trainings) > 1:
            for own in trainings:
                values = [100 * own.overall[key].value for key in measures]
                axes.plot(
                    values,
                    rows,
                    dot(number)["marker"],
                    mfc="none",
                    mec=COLOURS[number % 6],
                    ms=2.6,
                    mew=0.6,
                    clip_on=False,
                )
    axes.set_yticks(np.arange(len(measures)), [measure.title for measure in measures.values()])
    axes.set_ylim(len(measures) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("score (%), PSDS × 100")
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)
    _bands(axes, len(measures))
    if count > 1:
        legend_above(figure, handles, list(systems))
    return figure


def classes_figure(systems: Systems, counts: Mapping[str, int]) -> Figure:
    """F1 of every class with its interval, a panel for each way to compare.

    counts : reference events of each class, in the order of the rows
    """
    count = len(systems)
    labels = list(counts)
    row = max(0.155, 0.05 + 0.085 * count)  # inches
    figure = new_figure(0.62 + row * len(labels))
    panels = figure.subplots(1, len(CLASS_MEASURES), sharey=True)
    handles: list[object] = []
    for axes, (kind, title) in zip(panels, CLASS_MEASURES.items(), strict=True):
        handles = []
        for number, (told, _) in enumerate(systems.values()):
            numbers = [told.classes[kind][label] for label in labels]
            rows = np.arange(len(labels)) + _dodge(number, count)
            if count == 1:
                values = [100 * own.value if own.defined else 0.0 for own in numbers]
                axes.barh(rows, values, height=0.66, color=COLOURS[0], alpha=0.55, linewidth=0)
            handles.append(_dots(axes, numbers, rows, number, bars=count == 1))
        axes.set_title(title, loc="left")
        axes.set_xlim(0, 100)
        axes.set_xlabel("F1 (%)")
        axes.grid(True, axis="x")
        axes.tick_params(axis="y", length=0)
        if count > 1:
            _bands(axes, len(labels))
    panels[0].set_yticks(np.arange(len(labels)), [f"{short(label)} · {n}" for label, n in counts.items()])
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    if count > 1:
        legend_above(figure, handles, list(systems))
    return figure


def _dots(axes: Axes, numbers: Sequence[Number], rows: np.ndarray, system: int, *, bars: bool = False) -> object:
    """Values with whiskers; on bars, the whiskers alone."""
    known = [index for index, number in enumerate(numbers) if number.defined]
    values = np.array([100 * numbers[index].value for index in known])
    ends = np.array(
        [
            [0.0, 0.0] if numbers[i].low is None else [100 * (numbers[i].value - low), 100 * (high - numbers[i].value)]
            for i in known
            for low, high in [(numbers[i].low or 0.0, numbers[i].high or 0.0)]
        ]
    ).reshape(-1, 2)
    style = {"color": INK, "marker": ""} if bars else dot(system)
    return axes.errorbar(
        values,
        rows[known],
        xerr=np.maximum(ends.T, 0),
        linestyle="none",
        elinewidth=0.9,
        capsize=0 if not bars else 1.8,
        markersize=3.6,
        clip_on=False,
        **style,
    )


def _dodge(number: int, count: int) -> float:
    """How far from the row's middle the number-th of several systems stands."""
    return 0.0 if count == 1 else 0.64 * (number / (count - 1) - 0.5)


def _bands(axes: Axes, rows: int) -> None:
    """Every other row shaded, so that the eye finds the name."""
    for row in range(0, rows, 2):
        axes.axhspan(row - 0.5, row + 0.5, color=INK, alpha=0.04, linewidth=0, zorder=0)
