"""Commands that say how good systems are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsed.cli.app import app
from avsed.cli.options import AsJson, Device, MatchOption, Missing, Postprocessing, Settings, Workers, show


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a training.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the data set, if it has moved.")] = None,
    split: Annotated[str | None, typer.Option(help="Split to score; default: the test split.")] = None,
    postprocessing: Postprocessing = None,
    missing: Missing = None,
    device: Device = None,
    workers: Workers = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Score a trained system on labelled clips: F1 of clips, segments, events, PSDS and more, with intervals."""
    from avsed.commands import evaluate as run_evaluate

    found = run_evaluate(
        run,
        data=data,
        split=split,
        postprocessing=postprocessing,
        device=device,
        workers=workers,
        missing=missing,
        settings=settings or (),
    )
    show(found.to_dict(), as_json, found.render)


@app.command()
def tune(
    run: Annotated[Path, typer.Argument(help="Folder of a training.")],
    objective: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="METRIC",
            help="What is to be high: event_macro_f1, segment_micro_f1, clip_micro_f1, intersection_macro_f1 (each also "
            "with the other average), psds1 or psds2.",
        ),
    ],
    what: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="What is tuned: thresholds, and either median or boxes.")
    ],
    data: Annotated[Path | None, typer.Option(help="Folder of the data set, if it has moved.")] = None,
    split: Annotated[str | None, typer.Option(help="Split to tune on; default: the validation split.")] = None,
    name: Annotated[str, typer.Option(help="What the result is called: RUN/postprocessing/NAME.yaml.")] = "tuned",
    medians: Annotated[
        str | None,
        typer.Option(metavar="LENGTHS", help="Median filters to compare, in frames or seconds, as 1,7,0.5s."),
    ] = None,
    missing: Missing = None,
    device: Device = None,
    workers: Workers = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Choose post-processing that suits labelled clips (not the test clips) best."""
    from avsed.tuned import tune as run_tune

    found = run_tune(
        run,
        objective=objective,
        what=[word.strip() for word in what.split(",")],
        data=data,
        split=split,
        name=name,
        medians=None if medians is None else medians.split(","),
        missing=missing,
        device=device,
        workers=workers,
        settings=settings or (),
    )
    show(found.to_dict(), as_json, found.render)


@app.command()
def score(
    reference: Annotated[
        Path,
        typer.Argument(help="Reference: a table of filename, onset, offset, event_label; or filename, event_labels."),
    ],
    estimate: Annotated[
        Path,
        typer.Argument(
            help="What any system says: events (with confidences), tags, probabilities, frame scores; see docs/formats.md."
        ),
    ],
    durations: Annotated[Path | None, typer.Option(help="Table of filename, duration.")] = None,
    missing_clips: Annotated[
        str, typer.Option(metavar="error|drop", help="What about clips without scores: an error, or left out.")
    ] = "error",
    match: MatchOption = "exact",
    postprocessing: Annotated[
        Path | None,
        typer.Option(
            help="File of post-processing for frame scores, as 'avsed tune' writes it; default: none but 0.5."
        ),
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Compare the output of any system with reference annotations; no training is needed."""
    from avsed.commands import score as run_score

    found = run_score(
        reference,
        estimate,
        durations=durations,
        missing_clips=missing_clips,
        match=match,
        postprocessing=postprocessing,
        settings=settings or (),
    )
    show(found.to_dict(), as_json, found.render)


@app.command()
def compare(
    first: Annotated[
        Path,
        typer.Argument(
            help="A run that was evaluated, a folder of runs (trainings of one system), results of one (RUN/results/NAME.json), "
            "or with --reference any output that 'avsed score' takes."
        ),
    ],
    second: Annotated[Path, typer.Argument(help="Another one, scored on the same clips.")],
    reference: Annotated[Path | None, typer.Option(help="Reference, for outputs that are no runs.")] = None,
    durations: Annotated[Path | None, typer.Option(help="Table of filename, duration, with --reference.")] = None,
    match: MatchOption = "exact",
    split: Annotated[str | None, typer.Option(help="Split of runs; default: the test split.")] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Say by how much two systems differ, and whether that may be chance: paired bootstrap over clips."""
    from avsed.comparing import compare as run_compare

    found = run_compare(
        first,
        second,
        reference=reference,
        durations=durations,
        match=match,
        split=split,
        settings=settings or (),
    )
    show(found.to_dict(), as_json, found.render)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of trainings that 'avsed evaluate' has scored.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html and its figures.")],
    split: Annotated[str | None, typer.Option(help="Split that was scored; default: the test split.")] = None,
    clips: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|NAME",
            help="Clips whose time lines are shown: a number for so many of the best, the worst and at random (default: 3), "
            "or the name of one; may be given again.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one page with the scores, curves, confusions, errors and time lines of trained systems, side by side."""
    from avsed.commands import report as run_report

    found = run_report(runs, out=out, split=split, clips=clips or ())
    show(found.to_dict(), as_json, found.render)
