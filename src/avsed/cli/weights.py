"""Commands about the weights of pretrained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsed.cli.app import app
from avsed.cli.options import AsJson, show

weights_app = typer.Typer(help="Weights of pretrained networks: what there is, fetched, checked.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Folder of weights (default: $AVSED_WEIGHTS, or weights in the cache)."),
]


@weights_app.command("list")
def weights_list(folder: Folder = None, as_json: AsJson = False) -> None:
    """Say which weights are known, under which licence, and where their files are."""
    from avsed.weights_command import listed

    found = listed(given=folder)
    show(found.to_dict(), as_json, found.render)


@weights_app.command("get")
def weights_get(
    names: Annotated[list[str], typer.Argument(help="Names, as 'avsed weights list' prints them.")],
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Fetch weights unless they are there; whole and with the right hash, or not at all."""
    from avsed.weights_command import fetched

    found = fetched(names, folder=folder)
    show(found.to_dict(), as_json, found.render)


@weights_app.command("check")
def weights_check(
    names: Annotated[list[str] | None, typer.Argument(help="Names, each to be there; default: all that are.")] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Hold files against their size and hash."""
    from avsed.weights_command import checked

    found = checked(names or (), given=folder)
    show(found.to_dict(), as_json, found.render)
    raise typer.Exit(0 if found.ok else 1)
