"""The choice of trainings, the table and its files, of runs that look finished."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from studies import half_done

from avsed.comparing import compare
from avsed.study.command import study
from avsed.study.paper import BASELINE
from avsed.study.plan import make_plan
from avsed.study.table import make_table, select


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


def test_differences_are_those_that_compare_finds(home: Path, tmp_path: Path) -> None:
    own = make_plan(home / "c.yaml", out=home / "out", overrides=["study.seeds=3"])
    table = make_table(own)
    for name in own.settings:
        (tmp_path / name).mkdir()
        for seed in own.seeds_of(name):
            (tmp_path / name / str(seed)).symlink_to(home / "out/runs" / name / str(seed))
    found = compare(tmp_path / "spectral", tmp_path / "spectral+auditory").found
    for key in ("clip_micro_f1", "segment_micro_f1", "event_macro_f1"):
        assert table.differences["spectral", "spectral+auditory", key, "all"] == found[key][2]
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
    assert "Selected: the 2 of 4 trainings" in markdown and "mean over all trainings" in markdown

    latex = (home / "out/table.tex").read_text()
    assert latex.count(r"\toprule") == 3 and shown.replace("±", r"$\pm$") in latex
    assert r"$\checkmark$$^\dagger$" in latex and not {"✓", "†"} & set(latex.split(r"\begin{table}", 1)[1])

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


def test_without_the_paper_s_data_its_figures_are_not_there(home: Path) -> None:
    table = make_table(make_plan(home / "c.yaml", out=home / "out", overrides=["data.sources=[AudioSet]"]))
    assert not table.beside_paper
