"""Commands about data: what is there, and its features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsed.cli.app import app
from avsed.cli.options import AsJson, Device, Scheduler, Settings, Several, Workers, show


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="Folder of a data set, or a configuration (YAML) that names one.")],
    strict: Annotated[bool, typer.Option(help="Fail on warnings, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a data set holds and what is wrong with it, before training."""
    from avsed.commands import check as run_check

    report = run_check(data)
    show(report.to_dict(), as_json, report.render)
    raise typer.Exit(1 if report.failed(strict=strict) else 0)


@app.command(cls=Several)
def extract(
    data: Annotated[Path, typer.Argument(help="Folder of a data set, or a configuration (YAML) that names one.")],
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="Extractors, all in one decoding pass: logmel, vggish, efficientat, aisfx, vgg16, efficientnet-lite0; or "
            "spectral, auditory, visual. All words up to the next option; default: what the configuration's model takes.",
        ),
    ] = None,
    device: Device = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Compute features of all clips and keep them in the cache; what is there is not computed again.

    avsed extract DATA --features logmel vggish vgg16
    """
    from avsed.commands import extract as run_extract

    found = run_extract(
        data, features=features or (), settings=settings or (), workers=workers, scheduler=scheduler, device=device
    )
    show(found.to_dict(), as_json, found.render)
    raise typer.Exit(1 if found.failed else 0)
