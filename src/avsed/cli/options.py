"""What several commands share: options, and how results are printed."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

AsJson = Annotated[bool, typer.Option("--json", help="Print plain JSON (fractions, seconds) and nothing else.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the configuration, as training.steps=500."),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that decode; default: one a core.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Work on a Dask cluster, as tcp://host:8786, or a scheduler file (JSON); the data must lie on its workers where it "
        "lies here.",
    ),
]
Missing = Annotated[
    str | None,
    typer.Option(
        metavar="error|drop|learned",
        help="What about clips without the sound or pictures that the model takes: an error, left out, or a learned vector "
        "in their place.",
    ),
]
Postprocessing = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="Post-processing that 'avsed tune' has found, or of a YAML file."),
]
MatchOption = Annotated[
    str,
    typer.Option(
        "--match",
        metavar="exact|name|stem",
        help="Part of clips' names that must be the same: without folders, or endings.",
    ),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]


class Several(TyperCommand):
    """A command whose option --features or --settings takes all words up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        taking = None
        for place, word in enumerate(args):
            if word.startswith("-"):
                option = word.partition("=")[0]
                taking = option if option in ("--features", "--settings") else None
            elif taking is not None and args[place - 1] != taking:
                spread.append(taking)
            spread.append(word)
        return super().parse_args(ctx, spread)


def show(value: dict[str, Any], as_json: bool, render: Any) -> None:
    """Print what a command found: as JSON, or as people read it."""
    if as_json:
        print(json.dumps(value, indent=2, allow_nan=False))
    else:
        from rich.console import Console

        console = Console(highlight=False, emoji=False, soft_wrap=True)
        if not console.is_terminal:
            console.width = 120  # tables keep their shape in files and pipes
        for part in render():
            print(part) if isinstance(part, str) else console.print(part)
