"""``avsed weights list | get | check`` as Python functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsed import console
from avsed.errors import WeightsError
from avsed.features.fetching import get
from avsed.features.weights import Weights, find, known, look, named, weights_folder

if TYPE_CHECKING:
    from rich.console import RenderableType

MB = 1_000_000


@dataclass(frozen=True)
class WeightsState:
    """Weights and their file: path, None if it is nowhere; problem, what is wrong with it, or nothing."""

    weights: Weights
    path: Path | None
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        path = str(self.path) if self.path is not None else None
        return self.weights.to_dict() | {"path": path, "problem": self.problem}


@dataclass(frozen=True)
class WeightsReport:
    """The state of some or all weights; folder is where they are looked for and kept."""

    folder: Path
    states: tuple[WeightsState, ...]

    @property
    def ok(self) -> bool:
        """Nothing that is there is damaged, and nothing that was asked for is missing."""
        return not any(state.problem for state in self.states)

    def to_dict(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "weights": [state.to_dict() for state in self.states]}

    def render(self) -> Iterator[RenderableType]:
        """What the command prints: a table, then what is wrong."""
        from rich.table import Column, Table
        from rich.text import Text

        name, path = Column("weights", no_wrap=True), Column("file", overflow="fold")  # both are to be copied whole
        table = Table(name, "MB", "pretrained on", "licence", path, box=None, pad_edge=False)
        for state in self.states:
            weights, place = state.weights, "not here" if state.path is None else str(state.path)
            mb, data = f"{weights.size / MB:.1f}", ", ".join(weights.pretrained_on)
            table.add_row(weights.name, mb, data, weights.licence, Text(place))
        yield table
        yield from (state.problem for state in self.states if state.problem)


def listed(*, given: str | Path | None = None) -> WeightsReport:
    """All known weights and where their files are, unchecked. given : a file or folder instead of the usual places."""
    states = tuple(WeightsState(weights, look(weights, given=given)) for weights in known().values())
    return WeightsReport(weights_folder(given), states)


def fetched(names: Sequence[str], *, folder: str | Path | None = None) -> WeightsReport:
    """Fetch weights by name unless they are there, with a progress bar. Raises WeightsError at the first that fails."""
    states = [WeightsState(weights, _with_bar(weights, folder)) for weights in [named(name) for name in names]]
    return WeightsReport(weights_folder(folder), tuple(states))


def checked(names: Sequence[str] = (), *, given: str | Path | None = None) -> WeightsReport:
    """Hold files against their size and hash; names : which, each of which is to be there; by default all that are there."""
    states = []
    for weights in [named(name) for name in names] or known().values():
        place, problem = look(weights, given=given), ""
        if place is not None or names:
            try:
                find(weights, given=given)
            except WeightsError as error:
                problem = str(error)
        states.append(WeightsState(weights, place, problem))
    return WeightsReport(weights_folder(given), tuple(states))


def _with_bar(weights: Weights, folder: str | Path | None) -> Path:
    with console.bar(f"{weights.file}, MB", max(1, weights.size // MB)) as bar:
        return get(weights, folder=folder, progress=lambda done, total: bar.update(done // MB))
