"""How every figure of a report looks, and how it becomes files: the same input gives the same bytes.

Figures are 7 inches wide (two columns of a paper) with type of at least 7 points. Colours are those of Okabe and Ito, which people with
any colour vision tell apart; where colour alone would tell, so does a marker, a line style or a hatch. Text in SVG stays text. Class
names are never read as formulae.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsed.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0  # inches
LEGEND_ROW = 0.165  # inches
DPI = 200
INK, FAINT, GRID, PAPER = "#1c1d20", "#6d7076", "#d9dbdf", "#fefefe"
"""Text and axes, notes beside them, lines behind the data, background."""
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)))
THEMED = {
    INK: "--ink",
    FAINT: "--faint",
    GRID: "--grid",
    PAPER: "--paper",
    BLUE: "--blue",
    VERMILION: "--vermilion",
    GREEN: "--green",
}
"""Colours that the page's light or dark theme sets."""

RULES: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica", "sans-serif"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "axes.formatter.useoffset": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "figure.facecolor": PAPER,
    "figure.dpi": DPI,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "avsed",
    "image.interpolation": "nearest",
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw by these rules, whatever the user's own settings of matplotlib are.

    Of letters that matplotlib's own font lacks nothing is said: a browser finds them elsewhere, a PNG shows boxes.
    """
    import matplotlib.style

    with matplotlib.style.context(["default", RULES]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def new_figure(height: float, *, width: float = WIDTH, arranged: bool = True) -> Figure:
    """A figure of a size in inches that belongs to no window. arranged : make room for whatever stands beside the axes"""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.03) if arranged else None
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def look(index: int) -> dict[str, Any]:
    """Colour and line style of the index-th system."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[(index + index // len(COLOURS)) % len(LINES)]}


def dot(index: int) -> dict[str, Any]:
    """Colour and marker of the index-th system."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def short(label: str, length: int = 40) -> str:
    """A name that fits beside an axis, its middle left out if need be."""
    return label if len(label) <= length else f"{label[: length // 2]}…{label[len(label) - length // 2 + 1 :]}"


def legend_above(figure: Figure, handles: list[Any], labels: list[str], *, rows: int | None = None) -> None:
    """A legend above all panels, for which the figure grows; in as few rows as its texts need, or in ``rows``."""
    from matplotlib.legend_handler import HandlerTuple

    labels = [short(label) for label in labels]
    needed = [len(label) + 8 for label in labels]  # characters, with the handle and a gap
    count = len(labels)
    for columns in range(count if rows is None else -(-count // rows), 0, -1):
        deep = -(-count // columns)  # a legend is filled column by column
        widths = [max(needed[first : first + deep]) for first in range(0, count, deep)]
        if sum(widths) <= 106 or columns == 1:
            break
    before, grown = figure.get_figheight(), 0.05 + LEGEND_ROW * -(-count // columns)
    figure.set_figheight(before + grown)
    shape: dict[str, Any] = {"ncols": columns, "handler_map": {tuple: HandlerTuple(ndivide=None)}}
    if figure.get_layout_engine() is not None:
        figure.legend(handles, labels, loc="outside upper left", **shape)
        return
    for axes in figure.axes:
        place = axes.get_position()
        share = before / (before + grown)
        axes.set_position((place.x0, place.y0 * share, place.width, place.height * share))
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0, 1), borderaxespad=0.2, **shape)


def small_multiples(titles: Sequence[str], *, columns: int = 5, height: float = 1.02) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, all with the same axes; height of a panel in inches."""
    titles = [_folded(title) for title in titles]
    rows = -(-len(titles) // columns)
    lines = 1 + max(title.count("\n") for title in titles)
    gap, top, bottom = 0.1 + 0.13 * lines, 0.06 + 0.13 * lines, 0.37
    whole = top + rows * height + (rows - 1) * gap + bottom
    figure = new_figure(whole, arranged=False)
    left, right, space = 0.47, 0.12, 0.2
    width = (WIDTH - left - right - (columns - 1) * space) / columns
    panels: list[Axes] = []
    for number, title in enumerate(titles):
        row, column = divmod(number, columns)
        low = whole - top - (row + 1) * height - row * gap
        place = ((left + column * (width + space)) / WIDTH, low / whole, width / WIDTH, height / whole)
        axes = figure.add_axes(place, sharex=panels[0] if panels else None, sharey=panels[0] if panels else None)
        axes.set_title(title, loc="left", fontsize=7.5, pad=3)
        axes.tick_params(labelleft=column == 0, labelbottom=number + columns >= len(titles))
        axes.grid(True)
        panels.append(axes)
    return figure, panels


def _folded(title: str, length: int = 21) -> str:
    """A panel's title in at most two lines."""
    if len(title) <= length:
        return title
    cut = max(title.rfind(mark, 0, length) for mark in " _,-/") + 1 or length
    return f"{title[:cut].rstrip()}\n{short(title[cut:].lstrip(), length)}"


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write ``name.png`` and ``name.svg`` into a folder, each whole or not at all; returns the SVG as it goes into a page."""
    picture, drawn = io.BytesIO(), io.BytesIO()
    if figure.get_layout_engine() is not None:  # arrange once, not for each file
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    figure.savefig(drawn, format="svg", dpi=DPI, metadata={"Date": None, "Creator": None})
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    for suffix, content in (("svg", drawn), ("png", picture)):
        with replacing(folder / f"{name}.{suffix}") as temporary:
            temporary.write_bytes(content.getvalue())
    return for_page(drawn.getvalue().decode(), name)


def for_page(svg: str, name: str) -> str:
    """An SVG document as an element of a page: names of its own, the page's colours of text, axes and background.

    name : put before each id, so that no two figures of a page share one
    """
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.S)

    def own(tag: re.Match[str]) -> str:
        text = re.sub(r'\bid="', f'id="{name}-', tag[0])
        text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
        for colour, variable in THEMED.items():
            text = text.replace(colour, f"var({variable})")
        return text

    svg = re.sub(r"<[^>]+>", own, svg)  # in text, < and > are escaped
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1]) / 72  # type: ignore[index]
    wide = f'style="min-width: {width:.2f}in" ' if width > WIDTH else ""  # it is scrolled, not shrunk
    return svg.replace("<svg ", f'<svg role="img" {wide}', 1)
