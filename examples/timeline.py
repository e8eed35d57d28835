"""Draw what a trained system hears in a recording: log-mel spectrum, probabilities, and events beside the reference.

python examples/timeline.py RUN RECORDING OUT.png [REFERENCE.tsv]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from avsed.detector import Detector
from avsed.features.logmel import LogMel
from avsed.media import read_audio
from avsed.postprocessing.options import by_class
from avsed.tables import read_events

COLOURS = [
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
]  # Okabe and Ito: colour-blind safe


def draw(run: Path, recording: Path, out: Path, reference: Path | None = None) -> None:
    detector = Detector.load(run, device="cpu")
    found = detector.detect(recording)
    parameters = detector.system.config.features
    spectrum = LogMel(parameters).extract(read_audio(recording, rate=parameters.rate))
    truth = read_events(reference)[recording.name] if reference else []
    labels = sorted({event.label for event in [*truth, *found.events]})
    colour = {label: COLOURS[number % len(COLOURS)] for number, label in enumerate(labels)}

    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(9, 6), sharex=True, height_ratios=(3, 2, 0.4 + 0.35 * max(1, len(labels)))
    )
    extent = (spectrum.begin, spectrum.stop, 0, spectrum.values.shape[1])
    top.imshow(spectrum.values.T, origin="lower", aspect="auto", extent=extent, cmap="magma")
    top.set_ylabel("mel band")
    centres = (found.scores.boundaries[:-1] + found.scores.boundaries[1:]) / 2
    for label in labels:
        middle.plot(
            centres, found.scores.frames[:, found.scores.classes.index(label)], color=colour[label], label=label
        )
    for at in set(by_class(detector.postprocessing.threshold, found.scores.classes, key="threshold")):
        middle.axhline(at, color="grey", linewidth=0.8, linestyle=":")
    middle.set(ylabel="probability", ylim=(0, 1))
    for row, label in enumerate(labels):
        for event in truth:
            if event.label == label:
                bottom.barh(
                    row + 0.2, event.offset - event.onset, left=event.onset, height=0.36, color=colour[label], alpha=0.4
                )
        for event in found.events:
            if event.label == label:
                bottom.barh(row - 0.2, event.offset - event.onset, left=event.onset, height=0.36, color=colour[label])
    bottom.set_yticks(np.arange(len(labels)), labels)
    bottom.set(xlabel="seconds (pale: reference, full: detected)", xlim=(spectrum.begin, spectrum.stop))
    figure.tight_layout()
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    draw(*map(Path, sys.argv[1:]))
