"""Commands that make systems and use them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsed.cli.app import app
from avsed.cli.options import AsJson, Device, Missing, Postprocessing, Scheduler, Settings, Several, Workers, show


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder of a data set, or a configuration (YAML).")],
    out: Annotated[Path, typer.Option(help="Folder of the training; the same command goes on where it stopped.")],
    config: Annotated[Path | None, typer.Option(help="Configuration (YAML).")] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="NAME+NAME",
            help="What the model takes: spectral, auditory and visual in any combination, or extractors by name, as in "
            "spectral+aisfx+efficientnet-lite0.",
        ),
    ] = None,
    missing: Missing = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and dropout.")] = None,
    device: Device = None,
    workers: Workers = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train a detector by mean teacher on weakly labelled and unlabelled clips."""
    from avsed.commands import train as run_train
    from avsed.training.distributed import prints

    trained = run_train(
        data,
        out=out,
        config=config,
        inputs=inputs,
        missing=missing,
        seed=seed,
        device=device,
        settings=settings or (),
        workers=workers,
    )
    if prints():
        show(trained.to_dict(), as_json, trained.render)


@app.command(cls=Several)
def study(
    config: Annotated[
        Path, typer.Argument(help="Configuration of the trainings (YAML), with a section study perhaps.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the study; the same command goes on where it stopped.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the data set, if the configuration names none."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="Settings to train now: of the configuration, or the paper's seven, as spectral+visual. All words up to the "
            "next option; default: all of the configuration.",
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each setting (20).")] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="K|PART", help="Trainings that count, or which part of them (a quarter: 5 of 20)."),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC", help="Choose by one number for all columns, as event_macro_f1; default: each by its own."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that train at once; default: one a GPU, else one."),
    ] = None,
    together: Annotated[
        int,
        typer.Option(min=1, metavar="K", help="Trainings of a setting in one process, which share its features (1)."),
    ] = 1,
    scheduler: Scheduler = None,
    device: Device = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, its time and its disk.")] = False,
    table_only: Annotated[bool, typer.Option("--table-only", help="Make the table of what is there.")] = False,
    overrides: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train several settings many times, and make the paper's Table 3 of the best on validation clips.

    avsed study configs/paper.yaml --data DATA --out STUDY --seeds 20 --keep 5
    """
    from avsed.study.command import study as run_study

    found = run_study(
        config,
        out=out,
        data=data,
        settings=settings or (),
        seeds=seeds,
        keep=keep,
        select=select,
        workers=workers,
        together=together,
        scheduler=scheduler,
        device=device,
        dry_run=dry_run,
        table_only=table_only,
        overrides=overrides or (),
    )
    show(found.to_dict(), as_json, found.render)
    raise typer.Exit(1 if found.failures else 0)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a training, or the file of a trained system.")],
    files: Annotated[list[Path], typer.Argument(help="Recordings of any length, or folders of them.")],
    out: Annotated[Path | None, typer.Option(help="Folder for events.tsv, tags.tsv and predictions.json.")] = None,
    scores: Annotated[bool, typer.Option(help="With --out: keep the frame probabilities, too.")] = False,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Probability of a decision.")] = None,
    postprocessing: Postprocessing = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Say what sounds in recordings, and when."""
    from avsed.commands import predict as run_predict

    found = run_predict(
        run, files, out=out, keep_scores=scores, threshold=threshold, postprocessing=postprocessing, device=device
    )
    show(found.to_dict(), as_json, found.render)
    raise typer.Exit(1 if found.failures else 0)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the data, the training and the results.")] = Path("demo"),
    quick: Annotated[
        bool, typer.Option(help="The shortest run that goes through every step; it learns little.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What to train with: spectral, auditory and visual in any combination, as spectral+visual, or all seven; "
            "default: spectral, and all for which weights are here.",
        ),
    ] = None,
    device: Device = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU cores to use; default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a small data set of videos, train on it without and with borrowed features, evaluate, and detect events."""
    from avsed.demo import demo as run_demo

    found = run_demo(out, settings=settings or (), quick=quick, device=device, threads=threads)
    show(found.to_dict(), as_json, found.render)
