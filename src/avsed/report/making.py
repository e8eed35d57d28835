"""From runs to a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsed import __version__
from avsed.errors import AvsedError
from avsed.files import write_text
from avsed.report.choosing import clip_scores, wanted_clips
from avsed.report.loading import load_runs
from avsed.report.page import render
from avsed.report.sections import Sections
from avsed.report.style import drawing

CLIPS = ("3",)  # so many of the best, the worst and at random


@dataclass(frozen=True)
class Report:
    """What was written. page : the file; figures : names of the figures' files without ending; size : of the page, bytes"""

    page: Path
    figures: tuple[str, ...]
    size: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"page": str(self.page), "bytes": self.size, "figures": list(self.figures)}

    def render(self) -> Iterator[str]:
        """What the command prints."""
        yield f"{self.page}: {len(self.figures)} figures, {self.size / 1e6:.1f} MB"
        yield f"each figure as SVG and PNG: {self.page.parent / 'figures'}"


def make_report(
    folders: Sequence[str | Path], out: str | Path, *, split: str | None = None, clips: Sequence[str] = CLIPS
) -> Report:
    """Write a report of evaluated runs: ``report.html`` and ``figures/`` in the folder ``out``.

    split : by default each run's test split
    clips : names of clips whose time lines are shown, or one number: so many of the best, the worst and at random

    Raises CheckpointError for a folder that is no run, is not evaluated, or was scored on other clips than the first; AvsedError for an
    unknown clip.
    """
    place = Path(out)
    if place.exists() and not place.is_dir():
        raise AvsedError(f"--out {out}: is a file; give a folder for the page and its figures")
    runs = load_runs(folders, split=split)
    clip_f1 = clip_scores(runs)
    shown = wanted_clips(clips, clip_f1)
    with drawing():
        made = Sections(runs, place / "figures")
        sections = [
            made.head(),
            made.scores(),
            made.classes(),
            made.curves(),
            made.confusion(),
            made.errors(),
            made.learning(),
            made.time_lines(shown, clip_f1),
        ]
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} trainings"
    first = runs[0]
    events = sum(map(len, first.reference.values()))
    lead = (
        f"Scored on {first.split}: {len(first.reference)} clips with {events} events of {len(first.labels)} classes "
        f"(labels {first.fingerprint['sha256'][:12]})."
    )
    notes = [f"Written by avsed {__version__} from {', '.join(str(run.folder) for run in runs)}."]
    given = first.config.metrics
    if given.resamples:
        notes.append(
            f"Intervals hold {100 * given.confidence:g} % of {given.resamples} resamples of the clips, drawn with replacement. They say "
            "how far the numbers may be trusted for other clips of the kind, and nothing of other trainings."
        )
    page = place / "report.html"
    write_text(page, render(f"{title} on {first.split}", lead, [s for s in sections if s.parts], notes=notes))
    return Report(page, tuple(made.names), page.stat().st_size)
