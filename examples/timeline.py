"""Draw what a trained system hears in a recording: log-mel spectrum, probabilities, and events beside the reference.

python examples/timeline.py RUN RECORDING OUT.png [REFERENCE.tsv]

(Clips of a test split: 'avsed report RUN --out FOLDER --clips NAME'.)
"""

from __future__ import annotations

import sys
from pathlib import Path

from avsed.detector import Detector
from avsed.postprocessing.options import by_class
from avsed.report.style import DPI, drawing
from avsed.report.timelines import Said, spectrum_of, timeline_figure
from avsed.tables import read_events


def draw(run: Path, recording: Path, out: Path, reference: Path | None = None) -> None:
    detector = Detector.load(run, device="cpu")
    found = detector.detect(recording)
    labels = found.scores.classes
    thresholds = by_class(detector.postprocessing.threshold, labels, key="threshold")
    parameters = detector.system.config.features
    with drawing():
        figure = timeline_figure(
            read_events(reference)[recording.name] if reference else None,
            [Said(run.name, found.scores, found.events, dict(zip(labels, thresholds, strict=True)))],
            spectrum=spectrum_of(recording, parameters),
            parameters=parameters,
        )
        figure.savefig(out, dpi=DPI)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    draw(*map(Path, sys.argv[1:]))
