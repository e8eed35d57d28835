"""The table of a study in files: Markdown, LaTeX, CSV, HTML and JSON, all from the same cells."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsed import __version__
from avsed.comparing import of_few, told_difference
from avsed.features.provenance import MARK
from avsed.files import write_json, write_text
from avsed.numbers import Number, told_interval
from avsed.report.page import Section, Table, render
from avsed.study.paper import SETTINGS
from avsed.study.table import KINDS, Row, StudyTable, figure

if TYPE_CHECKING:
    from rich.table import Table as Shown

ROLES = ("auditory", "visual", "spectral")
"""The columns of check marks, in the paper's order."""
CHECK = "✓"
INCOMPLETE = "*"
FILES = ("table.md", "table.tex", "table.csv", "table.html", "study.json")
MINUS = re.compile(r"(?<![\w.])-(?=\d)")
INTERVAL = re.compile(r"\[[^\]]*\]")
LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    CHECK: r"$\checkmark$",
    MARK: r"$^\dagger$",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
}


def tables(found: StudyTable) -> list[Table]:
    """The table in the paper's form over the selected trainings and over all, and the differences from the baseline."""
    named = any(row.setting not in SETTINGS for row in found.rows)
    return [
        _means(found, "selected", "F1 in %, mean over the selected trainings", named),
        _means(found, "all", "F1 in %, mean over all trainings", named),
        *([_differences(found)] if len(found.rows) > 1 else []),
    ]


def notes(found: StudyTable, *, failures: Mapping[str, str]) -> list[str]:
    """What stands below the tables."""
    lines = [found.rule]
    counts = {count for row in found.rows for count in (row.kept, len(row.seeds))}
    spread = "±: standard deviation over trainings"
    if found.resamples:
        drawn = " and of the trainings" if max(counts) > 1 else ""
        alone = " (where there is one training, of the clips alone)" if drawn and 1 in counts else ""
        spread += (
            f"; in brackets: {100 * found.confidence:g} % of {found.resamples} bootstrap resamples of the {found.clips} test clips"
            f"{drawn}{alone}, the same for all settings; p: of no difference, two-sided, for each number by itself"
        )
    lines.append(f"{spread}.")
    if few := of_few(counts):
        lines.append(f"{few}.")
    lines.append(f"Test clips: {found.clips}, labels {found.mark[:12]}.")
    for row in found.incomplete:
        planned = len(row.seeds) + len(row.lacking)
        lines.append(
            f"{INCOMPLETE} {row.setting} is incomplete: {len(row.seeds)} of {planned} trainings, of which {row.kept} are selected; "
            "its numbers will change."
        )
    if found.empty:
        lines.append(f"No training is finished of: {', '.join(found.empty)}.")
    for name, reason in failures.items():
        lines.append(f"{name} failed: {' '.join(reason.split())}")
    for name, told in found.provenance.items():
        mark = f": {MARK} test clips may be among {', '.join(told['overlap'])}" if told["overlap"] else ""
        lines.append(f"{name} was pretrained on {', '.join(told['pretrained_on'])}{mark}.")
    if found.beside_paper:
        lines.append(
            "paper: Boes & Van hamme, Interspeech 2021, Table 3 (the best 5 of 20 trainings); its three columns are these."
        )
    return lines


def write(found: StudyTable, folder: Path, *, about: Mapping[str, Any], failures: Mapping[str, str]) -> None:
    """Write all forms into a study's folder. about : what else ``study.json`` says; failures : trainings that are not done, and why"""
    parts, below = tables(found), notes(found, failures=failures)
    write_text(folder / "table.md", markdown(parts, below))
    write_text(folder / "table.tex", latex(parts, below))
    write_text(folder / "table.csv", comma_separated(found))
    lead = f"{sum(len(row.seeds) for row in found.rows)} trainings of {len(found.rows)} settings, scored on {found.clips} test clips."
    sections = [
        Section("means", "F1 scores", parts=[*parts[:2]]),
        *([Section("differences", "Differences", parts=[*parts[2:]])] if parts[2:] else []),
    ]
    page = render(f"Study {folder.name}", lead, sections, notes=[*below, f"Written by avsed {__version__}."])
    write_text(folder / "table.html", page)
    write_json(folder / "study.json", {**about, "failures": dict(failures), **found.to_dict()})


def _means(found: StudyTable, kind: str, caption: str, named: bool) -> Table:
    head = [*(["setting"] if named else []), *ROLES]
    for number in found.columns:
        head.append(number.title.removesuffix(" F1"))
        head += ["paper"] if found.beside_paper else []
    rows = []
    for row in found.rows:
        cells = [*([row.setting] if named else []), *(_check(row, role) for role in ROLES)]
        for number in found.columns:
            told = _told(number, row, kind)
            cells.append(told + ("" if row.complete else INCOMPLETE))
            if found.beside_paper:
                paper = row.cells[number.key].paper
                cells.append("" if paper is None else f"{100 * paper:.2f}")
        cells.append(f"{row.kept if kind == 'selected' else len(row.seeds)}")
        rows.append(cells)
    return Table(caption, [*head, "trainings"], rows)


def _check(row: Row, role: str) -> str:
    return (CHECK + (MARK if role in row.marked else "")) if role in row.takes else ""


def _told(number: Number, row: Row, kind: str) -> str:
    """In percent without the sign: mean ± deviation [interval]."""
    one = figure(row, number.key, kind)
    if one.interval.value != one.interval.value:
        return "–"
    spread = "" if one.deviation is None else f" ± {100 * one.deviation:.2f}"
    return f"{100 * one.interval.value:.2f}{spread} {told_interval(number, one.interval)}".strip()


def _differences(found: StudyTable) -> Table:
    head = ["setting", *(title for number in found.columns for title in (number.title.removesuffix(" F1"), "p"))]
    rows = []
    for kind in KINDS:
        for row in found.rows:
            if row.setting == found.baseline:
                continue
            cells = [f"{row.setting}, {kind}"]
            for number in found.columns:
                apart = found.differences[found.baseline, row.setting, number.key, kind]
                known = apart.low == apart.low
                alone = "–" if apart.value != apart.value else f"{100 * apart.value:+.2f}"
                cells += [told_difference(number, apart) if known else alone, f"{apart.p:.3f}" if known else ""]
            rows.append(cells)
    return Table(f"Differences from {found.baseline}, in percentage points", head, rows)


def markdown(parts: Sequence[Table], below: Sequence[str]) -> str:
    """Tables of GitHub's Markdown."""
    lines = []
    for part in parts:
        lines += [f"**{part.caption}**", "", _bars(part.head), _bars(["---"] * len(part.head))]
        lines += [*(_bars(row) for row in part.rows), ""]
    return "\n".join([*lines, *(f"- {line.replace('*', chr(92) + '*')}" for line in below)]) + "\n"


def _bars(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"


def latex(parts: Sequence[Table], below: Sequence[str]) -> str:
    """Tables of the packages booktabs, amssymb (for check marks) and graphicx (which makes them as wide as the text)."""
    lines = [r"% \usepackage{booktabs,amssymb,graphicx}", *(f"% {line}" for line in below)]
    for part in parts:
        head = list(part.head)
        columns = "".join("c" if cell in ROLES else "l" if cell in ("setting",) else "r" for cell in head)
        lines += [
            "",
            r"\begin{table}",
            rf"\caption{{{_tex(part.caption)}}}",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            f"{' & '.join(map(_tex, head))} \\\\",
            r"\midrule",
            *(f"{' & '.join(map(_tex, row))} \\\\" for row in part.rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


def _tex(text: str) -> str:
    escaped = "".join(LATEX.get(letter, letter) for letter in MINUS.sub("−", text))
    return INTERVAL.sub(r"{\\scriptsize \g<0>}", escaped)


def comma_separated(found: StudyTable) -> str:
    """Every mean and every difference in a line: fractions, the second setting less the first."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(
        [
            "kind",
            "setting",
            "against",
            "number",
            "of",
            "value",
            "deviation",
            "low",
            "high",
            "p",
            "trainings",
            "seeds",
            "paper",
        ]
    )
    for row in found.rows:
        for number in found.columns:
            cell = row.cells[number.key]
            for kind in KINDS:
                one = cell.means[kind].figure
                seeds = cell.seeds if kind == "selected" else row.seeds
                middle = [one.interval.value, one.deviation, one.interval.low, one.interval.high, None]
                out.writerow(
                    [
                        "mean",
                        row.setting,
                        "",
                        number.key,
                        kind,
                        *map(_exact, middle),
                        len(seeds),
                        " ".join(map(str, seeds)),
                        _exact(cell.paper),
                    ]
                )
    for (first, second, key, kind), apart in found.differences.items():
        ends = [apart.value, None, apart.low, apart.high, apart.p]
        out.writerow(["difference", second, first, key, kind, *map(_exact, ends), "", "", ""])
    return text.getvalue()


def _exact(value: float | None) -> str:
    return "" if value is None or value != value else repr(float(value))


def shown(found: StudyTable, *, failures: Mapping[str, str]) -> Iterator[Shown | str]:
    """What the command prints."""
    from rich.box import SIMPLE
    from rich.table import Table as Shown
    from rich.text import Text

    for part in tables(found):
        table = Shown(title=Text(part.caption), title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        for heading in part.head:
            table.add_column(heading)
        for row in part.rows:
            table.add_row(*map(Text, row))
        yield table
    yield from notes(found, failures=failures)
