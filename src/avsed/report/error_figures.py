"""Where systems err: classes taken for each other, and kinds of errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from avsed.report.errors import KINDS
from avsed.report.style import (
    BLUE,
    FAINT,
    GREEN,
    GRID,
    INK,
    ORANGE,
    PAPER,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    legend_above,
    new_figure,
    short,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL = (0.0, 0.40, 0.65)  # colour of the confusion's cells
NUMBERED = 16  # classes up to which the cells hold numbers
LOOKS = {
    "correct": (GREEN, ""),
    "early onset": (SKY, "////"),
    "late onset": (SKY, "\\\\\\\\"),
    "early offset": (BLUE, "////"),
    "late offset": (BLUE, "\\\\\\\\"),
    "both ends": (BLUE, ""),
    "split": (ORANGE, "||||"),
    "merged": (ORANGE, ""),
    "wrong label": (PURPLE, ""),
    "missed": (VERMILION, ""),
    "false": (VERMILION, "xxxx"),
}
"""Colour and hatch of each kind: one colour a family, told apart within it by the hatch."""


def confusion_figure(table: np.ndarray, labels: Sequence[str]) -> Figure:
    """Rows sound, columns are detected; shades are shares of the row, numbers segments.

    table : float64 (classes + 1, classes + 1), see `avsed.report.confusion`
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap

    numbered = len(labels) <= NUMBERED
    names = [*(short(label, 40 if numbered else 24) for label in labels), "nothing"]
    side = len(names)
    cell = 0.36 if numbered else 0.125  # inches
    room = 0.056 * max(map(len, names))  # of names
    figure = new_figure(
        0.3 + (0.7 if numbered else 1.0) * room + cell * side, width=max(WIDTH, 0.9 + room + cell * side)
    )
    axes = figure.subplots()
    sums = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, sums, where=sums > 0, out=np.zeros_like(table))
    colours = LinearSegmentedColormap.from_list("depth", [(*CELL, 0.05), (*CELL, 1.0)])  # on any background
    edges = np.arange(side + 1) - 0.5
    axes.pcolormesh(
        edges, edges, np.where(table > 0, shares, np.nan), cmap=colours, vmin=0, vmax=1, edgecolors=GRID, linewidth=0.3
    )
    if numbered:
        for (row, column), value in np.ndenumerate(table):
            if value > 0:
                shade = "#ffffff" if shares[row, column] > 0.6 else INK
                text = f"{value:.0f}" if value >= 0.95 else f"{value:.1f}".lstrip("0")
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=shade)
    axes.set_aspect("equal")
    axes.set_xticks(range(side), names, rotation=90 if not numbered else 45, ha="center" if not numbered else "right")
    if numbered:
        axes.tick_params(axis="x", pad=1)
        for tick in axes.get_xticklabels():
            tick.set_rotation_mode("anchor")
    axes.set_yticks(range(side), names)
    axes.set_xlim(-0.5, side - 0.5)
    axes.set_ylim(side - 0.5, -0.5)
    axes.axhline(side - 1.5, color=INK, linewidth=0.6)
    axes.axvline(side - 1.5, color=INK, linewidth=0.6)
    axes.set_xlabel("detected")
    axes.set_ylabel("sounds (reference)")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(True)
    steps = ScalarMappable(BoundaryNorm(np.linspace(0, 1, 11), 256), colours)
    bar = figure.colorbar(steps, ax=axes, shrink=min(1.0, 2.2 / (cell * side)), aspect=18, pad=0.02)
    bar.solids.set_edgecolor("none")  # type: ignore[union-attr]
    bar.set_label("share of the row")
    bar.ax.minorticks_off()
    bar.set_ticks([0, 0.5, 1], labels=["0", "½", "1"])
    bar.outline.set_linewidth(0.6)
    return figure


def kinds_figure(reference: np.ndarray, estimated: np.ndarray, labels: Sequence[str]) -> Figure:
    """What became of each class's reference events, and what its detected events are.

    reference, estimated : int64 (classes, kinds), columns as in `KINDS`
    """
    from matplotlib.patches import Patch

    names = [*map(short, labels), "all classes"]
    rows = np.append(np.arange(len(labels)), len(labels) + 0.4)
    figure = new_figure(0.68 + 0.185 * len(names))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, table, title in zip(
        panels,
        (reference, estimated),
        ("what became of the reference events", "what the detected events are"),
        strict=True,
    ):
        whole = np.vstack([table, table.sum(axis=0)])
        sums = whole.sum(axis=1)
        shares = 100 * np.divide(whole, sums[:, None], where=sums[:, None] > 0, out=np.zeros(whole.shape))
        left = np.zeros(len(names))
        for column, kind in enumerate(KINDS):
            colour, hatch = LOOKS[kind]
            axes.barh(
                rows,
                shares[:, column],
                left=left,
                height=0.74,
                facecolor=colour,
                edgecolor=PAPER,
                hatch=hatch,
                linewidth=0.4,
            )
            left += shares[:, column]
        for row, own in zip(rows, sums, strict=True):
            axes.text(101.5, row, f"{own}", va="center", fontsize=7, color=FAINT)
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the events (%)")
        axes.set_title(title, loc="left")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    panels[0].set_yticks(rows, names)
    panels[0].set_ylim(rows[-1] + 0.6, -0.6)
    used = [kind for column, kind in enumerate(KINDS) if reference[:, column].any() or estimated[:, column].any()]
    patches = [Patch(facecolor=LOOKS[k][0], hatch=LOOKS[k][1], edgecolor=PAPER, linewidth=0.4) for k in used]
    legend_above(figure, patches, used, rows=2)
    return figure
