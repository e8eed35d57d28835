"""The choice of trainings, the table and its files, of runs that look finished."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from studies import FEW, finished, half_done, plan

from avsed.comparing import compare
from avsed.report.page import Table
from avsed.study.command import study
from avsed.study.paper import BASELINE, COLUMNS, DCASE
from avsed.study.plan import make_plan
from avsed.study.table import Row, StudyTable, make_table, select
from avsed.study.writing import latex, notes


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return half_done(tmp_path_factory.mktemp("home"))


# --- the choice and the table ---


def test_the_best_are_chosen_and_ties_go_to_the_lower_seed() -> None:
    assert select({7: 0.5, 3: 0.5, 5: 0.7, 1: float("nan"), 2: 0.4}, 3) == (5, 3, 7)
    assert select({7: float("nan"), 3: float("nan")}, 1) == (3,)


def test_each_column_selects_by_its_own_number_on_validation(home: Path) -> None:
    own = make_plan(home / "c.yaml", out=home / "out")
    table = make_table(own)
    row = next(row for row in table.rows if row.setting == BASELINE)
    units = own.units_of(BASELINE)
    for key, cell in row.cells.items():
        validated = {u.config.seed: u.results("validation")["numbers"][key]["value"] for u in units}  # type: ignore[index]
        best = sorted(validated, key=lambda seed: (-validated[seed], seed))[:2]
        tested = {u.config.seed: u.results("test")["numbers"][key]["value"] for u in units}  # type: ignore[index]
        assert cell.seeds == tuple(best)
        figure = cell.means["selected"].figure
        assert figure.interval.value == pytest.approx(np.mean([tested[seed] for seed in best]))
        assert figure.deviation == pytest.approx(np.std([tested[seed] for seed in best], ddof=1))
        assert cell.means["all"].figure.values == pytest.approx(tuple(tested.values()))
        assert figure.interval.low <= figure.interval.value <= figure.interval.high
    by_one = make_table(make_plan(home / "c.yaml", out=home / "out", overrides=["study.select=event_macro_f1"]))
    chosen = {cell.seeds for cell in by_one.rows[0].cells.values()}
    assert chosen == {row.cells["event_macro_f1"].seeds} and "all columns by event-based macro F1" in by_one.rule


def test_of_error_rates_the_lowest_is_the_best(home: Path) -> None:
    own = make_plan(home / "c.yaml", out=home / "out", overrides=["study.select=event_error_rate"])
    cell = make_table(own).rows[0].cells["clip_micro_f1"]
    validated = {
        u.config.seed: u.results("validation")["numbers"][own.study.select]["value"] for u in own.units_of(BASELINE)
    }  # type: ignore[index]
    assert len(set(validated.values())) > 1
    assert cell.seeds == tuple(sorted(validated, key=lambda seed: (validated[seed], seed))[:2])


def test_other_settings_change_no_interval(tmp_path: Path) -> None:
    def rows(settings: str) -> list[Row]:
        return list(make_table(plan(tmp_path, FEW + f"study: {{settings: {settings}, seeds: 3, keep: 2}}")).rows)

    text = "{visual: , auditory: , own: {inputs: auditory, model.dropout: 0.1}}"
    own = plan(tmp_path, FEW + f"study: {{settings: {text}, seeds: 3}}")
    for unit in own.units:
        finished(unit, 0.3)
    every = {row.setting: row for row in rows(text)}
    for name, alone in (("auditory", "[auditory]"), ("own", "{own: {inputs: auditory, model.dropout: 0.1}}")):
        (row,) = rows(alone)
        for key, cell in row.cells.items():
            figures = [one.means["all"].figure for one in (cell, every[name].cells[key])]
            assert figures[0] == figures[1] and figures[0].interval.low < figures[0].interval.high


def test_of_one_training_the_clips_alone_are_drawn(home: Path) -> None:
    def below(keep: str) -> str:
        table = make_table(make_plan(home / "c.yaml", out=home / "out", overrides=[f"study.keep={keep}"]))
        return "\n".join(notes(table, failures={"a/1": "first\nsecond"}))

    assert "of the trainings (where there is one training, of the clips alone), the same" in below("0.25")
    assert "of the trainings, the same" in below("1.0")
    assert "3 trainings say little of others" in below("1.0") and "a/1 failed: first second" in below("1.0")


def test_differences_are_those_that_compare_finds(tmp_path: Path) -> None:
    own = plan(tmp_path, FEW + "study: {settings: [spectral, spectral+visual], seeds: 3, keep: 0.5}")
    own.folder.mkdir()
    for unit in own.units:
        finished(unit, 0.2 if unit.setting == BASELINE else 0.05)
    table, runs = make_table(own), own.folder / "runs"
    found = compare(runs / "spectral", runs / "spectral+visual").found
    for key in COLUMNS:
        assert table.differences["spectral", "spectral+visual", key, "all"] == found[key][2]
        assert table.rows[0].cells[key].means["all"].figure == found[key][0]


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.links: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [
            str(value) for name, value in attrs if name in ("src", "href") and not str(value).startswith("#")
        ]


def test_the_table_in_all_its_forms(home: Path) -> None:
    found = study(home / "c.yaml", out=home / "out", table_only=True)
    told = json.loads((home / "out/study.json").read_text())
    assert told["settings"]["spectral+auditory"]["lacking"] == [3] and told["settings"]["spectral"]["kept"] == 2
    mean = told["settings"]["spectral"]["numbers"]["clip_micro_f1"]
    assert mean["paper"] == pytest.approx(0.7622) and len(mean["all"]["trainings"]) == 4

    shown = f"{100 * mean['selected']['value']:.2f} ± {100 * mean['selected']['standard_deviation']:.2f}"
    markdown = (home / "out/table.md").read_text()
    rows = [line for line in markdown.splitlines() if line.startswith("|") and shown in line]
    assert rows and rows[0].startswith("|  |  | ✓ |") and "76.22" in rows[0] and rows[0].endswith("| 2 |")
    assert "| ✓† |  | ✓ |" in markdown and "test clips may be among AudioSet" in markdown
    assert "spectral+auditory is incomplete: 3 of 4 trainings, of which 1 are selected" in markdown
    assert "Selected: the best 2 of 4 trainings" in markdown and "mean over all trainings" in markdown

    tex = (home / "out/table.tex").read_text()
    assert tex.count(r"\toprule") == 3 and shown.replace("±", r"$\pm$") in tex
    assert r"$\checkmark$$^\dagger$" in tex and not {"✓", "†"} & set(tex.split(r"\begin{table}", 1)[1])

    with (home / "out/table.csv").open() as file:
        lines = list(csv.DictReader(file))
    (same,) = [
        line
        for line in lines
        if (line["kind"], line["setting"], line["number"], line["of"])
        == ("mean", "spectral", "clip_micro_f1", "selected")
    ]
    assert float(same["value"]) == mean["selected"]["value"] and float(same["paper"]) == 0.7622
    assert sum(line["kind"] == "difference" for line in lines) == 6

    page = Cells()
    page.feed((home / "out/table.html").read_text())
    assert page.links == [] and any(shown in text for text in page.text)
    words = [part for part in found.render() if isinstance(part, str)]
    assert any("incomplete" in word for word in words)
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_in_latex_a_negative_number_has_a_minus() -> None:
    text = latex([Table("Differences", ["setting", "clip-based"], [["a-1, all", "-11.34 [-17.52, +4.92]"]])], [])
    assert r"a-1, all & $-$11.34 {\scriptsize [$-$17.52, +4.92]} \\" in text and "clip-based" in text


def test_without_the_paper_s_data_its_figures_are_not_there(home: Path) -> None:
    def made(sources: str) -> StudyTable:
        return make_table(make_plan(home / "c.yaml", out=home / "out", overrides=[f"data.sources=[{sources}]"]))

    assert not made("AudioSet").beside_paper and made("AudioSet").rows[1].marked == ("auditory",)
    assert made(DCASE).beside_paper and made(DCASE).rows[1].marked == ()  # whatever was known when it was scored
