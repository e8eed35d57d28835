"""The table of an evaluation: it fits the terminal, and classes may be called anything."""

from __future__ import annotations

import io

from rich.console import Console

from avsed.annotations import Event
from avsed.config import MetricsConfig
from avsed.evaluation import Evaluation, evaluate_events


def evaluation(*labels: str) -> Evaluation:
    reference = {"a": [Event(0.0, 1.0, label) for label in labels]}
    return evaluate_events(reference, reference, labels=labels, metrics=MetricsConfig())


def printed(found: Evaluation, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    for part in found.render():
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_fits_the_terminal() -> None:
    found = evaluation("Electric_shaver_toothbrush", "Alarm_bell_ringing")
    wide, narrow = printed(found, 120), printed(found, 80)
    assert "precision" in wide and "precision" not in narrow
    for text in (wide, narrow):
        assert "Electric_shaver_toothbrush" in text and "…" not in text
        assert max(map(len, text.splitlines())) <= 120
    assert max(map(len, narrow.splitlines())) <= 80


def test_a_class_may_be_called_anything() -> None:
    assert "Dog [/x]" in printed(evaluation("Dog [/x]", "[red]"), 120)
