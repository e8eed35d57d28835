"""The sections of a report: each counts, draws and says what it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avsed import console
from avsed.report.choosing import spectra
from avsed.report.confusion import segment_confusion
from avsed.report.curve_figures import f1_figure, learning_figure, precision_recall_figure, psd_roc_figure
from avsed.report.curves import clip_curves, f1_curves, psd_rocs, said_by
from avsed.report.error_figures import confusion_figure, kinds_figure
from avsed.report.errors import KINDS, Collars, error_kinds
from avsed.report.facts import shared_and_own
from avsed.report.loading import Evaluated, settings_of
from avsed.report.numbers import Numbers, class_title, in_percent, mean_of, measures_of, numbers_of, thresholds_of
from avsed.report.page import Figure, Section, Table, Text
from avsed.report.score_figures import classes_figure, scores_figure
from avsed.report.style import save
from avsed.report.timelines import Said, timeline_figure
from avsed.report.wording import (
    AVERAGE_PRECISION,
    CLASSES,
    CONFUSION,
    ERRORS,
    F1_CURVES,
    KINDS_OF_EVENTS,
    LEARNING,
    NOT_SWEEPABLE,
    PRECISION_RECALL,
    PSD_ROC,
    SCORES,
    TIME_LINES,
    WHY,
    brackets,
    cell,
    whiskers,
)
from avsed.tables import labels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

SHARE = 0.5  # of the shorter event that two must share to belong together


class Sections:
    """Counts, draws and describes; keeps what several sections need."""

    def __init__(self, runs: Sequence[Evaluated], folder: Path) -> None:
        self.runs = runs
        self.folder = folder
        self.names: list[str] = []
        self.settings = settings_of(runs)
        self.system = {run.name: number for number, one in enumerate(self.settings) for run in one.runs}
        own = [[numbers_of(run) for run in one.runs] for one in self.settings]
        self.systems = {one.title: (mean_of(numbers), numbers) for one, numbers in zip(self.settings, own, strict=True)}
        self.measures = measures_of(runs)
        self.first = runs[0]
        self.labels = self.first.labels
        held = Counter(event.label for events in self.first.reference.values() for event in events)
        self.held = {label: held[label] for label in self.labels}
        self.thresholds = {run.name: thresholds_of(run) for run in runs}

    def figure(self, name: str, title: str, drawn: Drawn, caption: str) -> Figure:
        console.note(f"figure {name}")
        self.names.append(name)
        return Figure(name, title, save(drawn, self.folder, name), caption)

    def head(self) -> Section:
        shared, own = shared_and_own(self.runs)
        section = Section("systems", "What was trained", parts=[])
        if own:
            section.parts.append(Table("What differs", ["", *(run.name for run in self.runs)], own, numbers=False))
        if shared:
            caption = "What all have in common" if own else "The training and its evaluation"
            section.parts.append(Table(caption, [], shared, numbers=False))
        whole = self.first.config.to_yaml()
        section.parts.append(Text(f"The whole configuration of {self.first.name}", whole))
        for run in self.runs[1:]:
            changed = self.first.config.differences(run.config)
            section.parts.append(Text(f"{run.name}: what its configuration changes", "\n".join(changed) or "nothing"))
        return section

    def scores(self) -> Section:
        caption = f"Scores of {self._what()}, in percent. {whiskers(self.settings)} {SCORES}"
        rows = [
            [measure.title, *(cell(told.overall[key], measure.percent, own) for told, own in self._columns())]
            for key, measure in self.measures.items()
        ]
        drawn = scores_figure(self.systems, self.measures)
        return Section(
            "scores",
            "Scores",
            parts=[
                Table(
                    f"Scores: F1, mAP and AUROC in percent, the others as they are. {brackets(self.settings)}",
                    self._heads(),
                    rows,
                ),
                self.figure("scores", "Scores over all classes", drawn, caption),
            ],
        )

    def classes(self) -> Section:
        caption = f"F1 of each class of {self._what()}: of clips' tags, of segments, of events. {whiskers(self.settings)} {CLASSES}"
        drawn = classes_figure(self.systems, self.held)
        return Section(
            "classes",
            "Each class",
            parts=[self.figure("classes", "F1 of each class", drawn, caption), *self._class_tables()],
        )

    def _class_tables(self) -> Iterator[Table]:
        """All numbers of each class: of one system in one table, of several in one for each number."""
        kinds = [told.classes.keys() for told, _ in self._columns()]
        common = [kind for kind in kinds[0] if all(kind in own for own in kinds)]
        if len(self.systems) == 1:
            tables = [("All numbers of each class", common, [class_title(kind) for kind in common])]
        else:
            tables = [(f"{class_title(kind)} of each class", [kind], list(self.systems)) for kind in common]
        for title, chosen, heads in tables:
            columns = [(kind, told, mean) for kind in chosen for told, mean in self._columns()]
            rows = []
            for label, held in self.held.items():
                cells = [cell(told.classes[kind][label], in_percent(kind), mean) for kind, told, mean in columns]
                rows.append([label, str(held), *cells])
            yield Table(f"{title}: F1 and AP in percent", ["class", "events", *heads], rows, folded=True)

    def curves(self) -> Section:
        titles = [one.title for one in self.settings]
        section = Section("curves", "Thresholds", parts=[])
        tags = labels_of(self.first.reference)
        ranked = {run.name: clip_curves(run.scores, tags) for run in self.runs}
        of_tags = {name: tags for name, (_, tags) in self.thresholds.items()}
        drawn = precision_recall_figure(ranked, self.system, titles, of_tags)
        caption = PRECISION_RECALL + (AVERAGE_PRECISION if len(self.runs) == 1 else "")
        section.parts.append(self.figure("precision-recall", "Precision against recall of each class", drawn, caption))
        said = {run.name: said_by(run) for run in self.runs}
        f1 = {run.name: f1_curves(run, said[run.name]) for run in self.runs}
        if len(self.runs) == 1:
            own, (of_frames, of_clips) = f1[self.first.name], self.thresholds[self.first.name]
            places = {name: of_clips if name == "clip" else of_frames for name in own}
            drawn = f1_figure(own, {name: n for n, name in enumerate(own)}, [f"{name}-based" for name in own], places)
            caption = F1_CURVES.format(what="Clip-, segment- and event-based F1")
        else:
            places = {name: of_frames for name, (of_frames, _) in self.thresholds.items()}
            drawn = f1_figure({name: own["event"] for name, own in f1.items()}, self.system, titles, places)
            caption = F1_CURVES.format(what="Event-based F1") + " A line is a training."
        if not all(run.config.postprocessing.sweepable for run in self.runs):
            caption += " " + NOT_SWEEPABLE
        section.parts.append(self.figure("f1-threshold", "F1 of each class against the threshold", drawn, caption))
        rocs = {run.name: psd_rocs(run, said[run.name]) for run in self.runs}
        drawn = psd_roc_figure(rocs, self.system, titles)
        section.parts.append(self.figure("psd-roc", "PSD-ROC curves", drawn, PSD_ROC))
        return section

    def confusion(self) -> Section:
        section = Section("confusion", "Which class for which", parts=[])
        for name, run in self._each("confusion"):
            resolution = run.config.metrics.segment
            table = segment_confusion(
                run.reference, run.events, labels=self.labels, resolution=resolution, durations=run.durations
            )
            caption = f"{run.name}: {CONFUSION.format(resolution=resolution)}"
            drawn = confusion_figure(table, self.labels)
            section.parts.append(self.figure(name, f"Confusion between classes, {run.name}", drawn, caption))
        return section

    def errors(self) -> Section:
        intro = ERRORS.format(share=f"{100 * SHARE:.0f} %")
        section = Section("errors", "Kinds of errors", [intro], [])
        for name, run in self._each("errors"):
            kinds = error_kinds(
                run.reference, run.events, labels=self.labels, collars=Collars.of(run.config.metrics), share=SHARE
            )
            reference, estimated = kinds.counts()
            caption = f"{run.name}: {KINDS_OF_EVENTS}"
            drawn = kinds_figure(reference, estimated, self.labels)
            section.parts.append(self.figure(name, f"Kinds of errors, {run.name}", drawn, caption))
            for title, table in (("reference", reference), ("detected", estimated)):
                rows = [[label, *map(str, row)] for label, row in zip(self.labels, table.tolist(), strict=True)]
                rows.append(["all classes", *map(str, table.sum(0).tolist())])
                section.parts.append(
                    Table(f"{run.name}: kinds of the {title} events", ["class", *KINDS], rows, folded=True)
                )
        return section

    def learning(self) -> Section:
        drawn = learning_figure({run.name: run.log for run in self.runs})
        caption = LEARNING
        parts: list[Figure | Table | Text] = []
        if drawn is not None:
            parts.append(self.figure("learning", "Learning curves", drawn, caption))
        return Section("learning", "Trainings", parts=parts)

    def time_lines(self, shown: Sequence[tuple[str, str]], clip_f1: Mapping[str, float]) -> Section:
        parameters = self.first.config.features
        found, lacking = spectra(self.first, [clip for _, clip in shown], parameters)
        intro = [TIME_LINES]
        if len(self.runs) > 1:
            intro.append("F1 of a clip is the mean of all trainings.")
        if lacking is not None:
            intro.append(f"Spectra are left out: {lacking}.")
        section = Section("clips", "Clips", intro, [])
        count: Counter[str] = Counter()
        for why, clip in shown:
            count[why] += 1
            said = [
                Said(run.name, run.scores[clip], run.events[clip], self.thresholds[run.name][0]) for run in self.runs
            ]
            drawn = timeline_figure(self.first.reference[clip], said, spectrum=found.get(clip), parameters=parameters)
            value = clip_f1[clip]
            told = "nothing sounds and nothing was found" if value != value else f"event-based F1 {100 * value:.0f} %"
            caption = f"{clip} ({WHY[why]}): {told}."
            section.parts.append(self.figure(f"clip-{why}-{count[why]}", f"Time line of {clip}", drawn, caption))
        return section

    def _each(self, kind: str) -> Iterator[tuple[str, Evaluated]]:
        """Every run with the name of its figure."""
        for number, run in enumerate(self.runs, 1):
            yield (kind if len(self.runs) == 1 else f"{kind}-{number}"), run

    def _columns(self) -> Iterator[tuple[Numbers, bool]]:
        """What is said of each setting, and whether it is a mean of several trainings."""
        for told, trainings in self.systems.values():
            yield told, len(trainings) > 1

    def _heads(self) -> list[str]:
        return ["", *self.systems]

    def _what(self) -> str:
        return "each system" if len(self.systems) > 1 else next(iter(self.systems))
