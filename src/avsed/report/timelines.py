"""The time line of a clip: its spectrum, and for each class what sounds, what systems think of it, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsed.annotations import Event
from avsed.features.logmel import LogMel, LogMelParameters, mel_edges
from avsed.features.sequence import FeatureSequence
from avsed.media import read_audio
from avsed.report.style import COLOURS, FAINT, INK, legend_above, look, new_figure, short
from avsed.scores import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KILOHERTZ = (0.25, 1, 4, 10)
BAR, GAP = 0.2, 0.08  # heights in a lane in which probabilities take 1


@dataclass(frozen=True)
class Said:
    """What one system says of a clip. thresholds : of frame probabilities, by label"""

    name: str
    scores: Scores
    events: Sequence[Event]
    thresholds: Mapping[str, float]


def spectrum_of(recording: Path, parameters: LogMelParameters) -> FeatureSequence:
    """The log-mel map of a recording. Raises MediaError if its sound cannot be read."""
    return LogMel(parameters).extract(read_audio(recording, rate=parameters.rate))


def timeline_figure(
    reference: Sequence[Event] | None,
    said: Sequence[Said],
    *,
    spectrum: FeatureSequence | None,
    parameters: LogMelParameters,
) -> Figure:
    """Draw one clip; classes that neither sound nor are detected are left out.

    reference : None if there is none
    spectrum : log-mel map made with ``parameters``; None leaves it out
    """
    events = [*(reference or ()), *(event for one in said for event in one.events)]
    labels = sorted({event.label for event in events})
    lane = 0.30 + 0.11 * (1 + len(said))  # inches
    heights = ([1.05] if spectrum is not None else []) + [lane] * max(1, len(labels))
    figure = new_figure(0.42 + sum(heights) + 0.05 * len(heights))
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    lanes = panels
    if spectrum is not None:
        _spectrum(panels[0], spectrum, parameters)
        lanes = panels[1:]
    lowest = -len(said) * (BAR + GAP) - GAP
    highest = 1 + GAP + (BAR + GAP if reference is not None else 0)
    for axes, label in zip(lanes, labels, strict=False):
        for event in reference or ():
            if event.label == label:
                _bar(axes, event, 1 + GAP, FAINT)
        for number, one in enumerate(said):
            style = look(number)
            column = one.scores.classes.index(label)
            axes.stairs(
                one.scores.frames[:, column], one.scores.boundaries, baseline=None, linewidth=0.9, **_edge(style)
            )
            axes.axhline(one.thresholds[label], color=FAINT, linewidth=0.6, linestyle=(0, (1, 1.5)))
            for event in one.events:
                if event.label == label:
                    _bar(axes, event, -(number + 1) * (BAR + GAP), style["color"])
        axes.axhline(0, color=INK, linewidth=0.4)
        axes.set_ylim(lowest, highest)
        axes.set_yticks([0, 1], ["0", "1"])
        axes.set_ylabel(short(label, 24), rotation=0, ha="right", va="center", y=(0.5 - lowest) / (highest - lowest))
        axes.spines["left"].set_bounds(0, 1)
        axes.spines["bottom"].set_visible(axes is lanes[-1])
        axes.tick_params(axis="x", length=2.5 if axes is lanes[-1] else 0)
    if not labels:
        lanes[0].text(0.5, 0.5, "no events, in the reference or detected", ha="center", transform=lanes[0].transAxes)
        lanes[0].set_yticks([])
        lanes[0].spines["left"].set_visible(False)
    first = min(one.scores.boundaries[0] for one in said)
    last = max(one.scores.boundaries[-1] for one in said)
    panels[0].set_xlim(min(0.0, float(first)), float(last))
    lanes[-1].set_xlabel("time (s)")
    figure.align_ylabels(lanes)
    _legend(figure, said, reference is not None)
    return figure


def _bar(axes: Axes, event: Event, low: float, colour: str) -> None:
    axes.broken_barh([(event.onset, max(event.offset - event.onset, 0.01))], (low, BAR), color=colour, linewidth=0)


def _edge(style: Mapping[str, Any]) -> dict[str, Any]:
    return {"edgecolor": style["color"], "linestyle": style["linestyle"]}


def _spectrum(axes: Axes, spectrum: FeatureSequence, parameters: LogMelParameters) -> None:
    """Time against frequency, bands at their mel distance; the loudest is the brightest."""
    half = parameters.hop / parameters.rate / 2
    bands = spectrum.values.shape[1]
    low, high = np.percentile(spectrum.values, [2, 99.9])
    axes.imshow(
        spectrum.values.T,
        origin="lower",
        aspect="auto",
        extent=(spectrum.times[0] - half, spectrum.times[-1] + half, -0.5, bands - 0.5),
        cmap="magma",
        vmin=low,
        vmax=max(high, low + 1e-6),
    )
    centres = mel_edges(parameters)[1:-1] / 1000
    shown = [value for value in KILOHERTZ if centres[0] <= value <= centres[-1]]
    axes.set_yticks(np.interp(shown, centres, np.arange(bands)), [f"{value:g}" for value in shown])
    axes.set_ylabel("frequency\n(kHz)", rotation=0, ha="right", va="center")
    axes.tick_params(axis="x", length=0)


def _legend(figure: Figure, said: Sequence[Said], referenced: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(facecolor=FAINT)] if referenced else []
    names = ["reference"] if referenced else []
    for number, one in enumerate(said):
        bar, line = Patch(facecolor=COLOURS[number % len(COLOURS)]), Line2D([], [], linewidth=0.9, **look(number))
        handles += [bar, line] if len(said) == 1 else [(bar, line)]
        names += ["detected", "probability"] if len(said) == 1 else [one.name]
    handles.append(Line2D([], [], color=FAINT, linewidth=0.6, linestyle=(0, (1, 1.5))))
    names.append("threshold")
    legend_above(figure, handles, names)
