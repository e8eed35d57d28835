"""The page: sections of text, tables and figures, written as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """A drawn figure. name : of its files; svg : as it goes into the page; caption : what it shows; title : for whom it is read out"""

    name: str
    title: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Table:
    """caption : what it says; head : columns; rows : a name and a cell a column; folded : shown when asked for; numbers : short cells"""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False
    numbers: bool = True


@dataclass(frozen=True)
class Text:
    """A folded block of text as it is, such as a configuration."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """anchor : a word; intro : paragraphs; parts : in their order"""

    anchor: str
    title: str
    intro: Sequence[str] = ()
    parts: list[Figure | Table | Text] = field(default_factory=list)


def render(title: str, lead: str, sections: Sequence[Section], *, notes: Sequence[str]) -> str:
    """The HTML of a page. Whatever it is given is text: nothing of it is read as HTML, but the figures' SVG."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = Path(__file__).parent
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"kind": lambda part: type(part).__name__, "drawn": Markup}
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        lead=lead,
        sections=sections,
        notes=notes,
        style=Markup((folder / "page.css").read_text(encoding="utf-8")),
    )
