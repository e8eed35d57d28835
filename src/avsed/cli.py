"""The commands. Each is thin: it reads options, calls the Python function of the same name and prints what came back.

Heavy rooms are imported when a command runs, so that ``avsed --help`` answers at once.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperCommand

from avsed import __version__
from avsed.errors import AvsedError

app = typer.Typer(
    name="avsed",
    help="Audio tagging and sound event detection from weakly labelled recordings.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print plain JSON (fractions, seconds) and nothing else.")]
Settings = Annotated[
    Optional[list[str]],  # noqa: UP045 (typer reads the annotation)
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the configuration, as training.steps=500."),
]
Workers = Annotated[Optional[int], typer.Option(min=1, help="Processes that decode; default: one a core.")]  # noqa: UP045
Missing = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="error|drop|learned",
        help="What about clips without the sound or pictures that the model takes: an error, left out, or a learned vector "
        "in their place.",
    ),
]
Postprocessing = Annotated[
    Optional[str],  # noqa: UP045
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
Device = Annotated[Optional[str], typer.Option(help="auto, cpu, cuda or cuda:N.")]  # noqa: UP045


def main() -> None:
    """Run the command line; what a user can mend ends in one line on standard error and exit status 2 (1: found, but not good)."""
    import warnings

    warnings.showwarning = lambda message, *_, **__: print(f"avsed: warning: {message}", file=sys.stderr)
    try:
        app()
    except AvsedError as error:
        status = getattr(error, "exit_status", 2)  # a training that was stopped is no error
        print(f"avsed: {'error: ' if status == 2 else ''}{error}", file=sys.stderr)
        sys.exit(status)
    except BrokenPipeError:
        sys.exit(141)  # as the shell reports a reader that went away
    except OSError as error:  # a folder that cannot be written, a full disk
        place = f"{error.filename}: " if error.filename is not None else ""
        print(f"avsed: error: {place}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)  # as the shell reports SIGINT
    finally:
        gc.freeze()  # or Python searches all of PyTorch for garbage before it ends: a quarter of a second


def _version(asked: bool) -> None:
    if asked:
        print(f"avsed {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="Folder of a data set, or a configuration (YAML) that names one.")],
    strict: Annotated[bool, typer.Option(help="Fail on warnings, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a data set holds and what is wrong with it, before training."""
    from avsed.commands import check as run_check

    report = run_check(data)
    _print(report.to_dict(), as_json, report.render)
    raise typer.Exit(1 if report.failed(strict=strict) else 0)


class _Several(TyperCommand):
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


@app.command(cls=_Several)
def extract(
    data: Annotated[Path, typer.Argument(help="Folder of a data set, or a configuration (YAML) that names one.")],
    features: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="NAME...",
            help="Extractors, all in one decoding pass: logmel, vggish, efficientat, aisfx, vgg16, efficientnet-lite0; or "
            "spectral, auditory, visual. All words up to the next option; default: what the configuration's model takes.",
        ),
    ] = None,
    device: Device = None,
    workers: Workers = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Compute features of all clips and keep them in the cache; what is there is not computed again.

    avsed extract DATA --features logmel vggish vgg16
    """
    from avsed.commands import extract as run_extract

    found = run_extract(data, features=features or (), settings=settings or (), workers=workers, device=device)
    _print(found.to_dict(), as_json, found.render)
    raise typer.Exit(1 if found.failed else 0)


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder of a data set, or a configuration (YAML).")],
    out: Annotated[Path, typer.Option(help="Folder of the training; the same command goes on where it stopped.")],
    config: Annotated[Optional[Path], typer.Option(help="Configuration (YAML).")] = None,  # noqa: UP045
    inputs: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="NAME+NAME",
            help="What the model takes: spectral, auditory and visual in any combination, or extractors by name, as in "
            "spectral+aisfx+efficientnet-lite0.",
        ),
    ] = None,
    missing: Missing = None,
    seed: Annotated[Optional[int], typer.Option(help="Seed of weights, order and dropout.")] = None,  # noqa: UP045
    device: Device = None,
    workers: Workers = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train a detector by mean teacher on weakly labelled and unlabelled clips."""
    from avsed.commands import train as run_train

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
    _print(trained.to_dict(), as_json, trained.render)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a training.")],
    data: Annotated[Optional[Path], typer.Option(help="Folder of the data set, if it has moved.")] = None,  # noqa: UP045
    split: Annotated[Optional[str], typer.Option(help="Split to score; default: the test split.")] = None,  # noqa: UP045
    postprocessing: Postprocessing = None,
    missing: Missing = None,
    device: Device = None,
    workers: Workers = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Score a trained system on labelled clips: clip, segment and event F1, each class by itself."""
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
    _print(found.to_dict(), as_json, found.render)


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
    data: Annotated[Optional[Path], typer.Option(help="Folder of the data set, if it has moved.")] = None,  # noqa: UP045
    split: Annotated[Optional[str], typer.Option(help="Split to tune on; default: the validation split.")] = None,  # noqa: UP045
    name: Annotated[str, typer.Option(help="What the result is called: RUN/postprocessing/NAME.yaml.")] = "tuned",
    medians: Annotated[
        Optional[str],  # noqa: UP045
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
    _print(found.to_dict(), as_json, found.render)


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
    durations: Annotated[Optional[Path], typer.Option(help="Table of filename, duration.")] = None,  # noqa: UP045
    missing_clips: Annotated[
        str, typer.Option(metavar="error|drop", help="What about clips without scores: an error, or left out.")
    ] = "error",
    match: MatchOption = "exact",
    postprocessing: Annotated[
        Optional[Path],  # noqa: UP045
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
    _print(found.to_dict(), as_json, found.render)


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
    reference: Annotated[Optional[Path], typer.Option(help="Reference, for outputs that are no runs.")] = None,  # noqa: UP045
    durations: Annotated[Optional[Path], typer.Option(help="Table of filename, duration, with --reference.")] = None,  # noqa: UP045
    match: MatchOption = "exact",
    split: Annotated[Optional[str], typer.Option(help="Split of runs; default: the test split.")] = None,  # noqa: UP045
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
    _print(found.to_dict(), as_json, found.render)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of trainings that 'avsed evaluate' has scored.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html and its figures.")],
    split: Annotated[Optional[str], typer.Option(help="Split that was scored; default: the test split.")] = None,  # noqa: UP045
    clips: Annotated[
        Optional[list[str]],  # noqa: UP045
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
    _print(found.to_dict(), as_json, found.render)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a training, or the file of a trained system.")],
    files: Annotated[list[Path], typer.Argument(help="Recordings of any length, or folders of them.")],
    out: Annotated[Optional[Path], typer.Option(help="Folder for events.tsv, tags.tsv and predictions.json.")] = None,  # noqa: UP045
    scores: Annotated[bool, typer.Option(help="With --out: keep the frame probabilities, too.")] = False,
    threshold: Annotated[Optional[float], typer.Option(min=0, max=1, help="Probability of a decision.")] = None,  # noqa: UP045
    postprocessing: Postprocessing = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Say what sounds in recordings, and when."""
    from avsed.commands import predict as run_predict

    found = run_predict(
        run, files, out=out, keep_scores=scores, threshold=threshold, postprocessing=postprocessing, device=device
    )
    _print(found.to_dict(), as_json, found.render)
    raise typer.Exit(1 if found.failures else 0)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the data, the training and the results.")] = Path("demo"),
    quick: Annotated[
        bool, typer.Option(help="The shortest run that goes through every step; it learns little.")
    ] = False,
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="NAME",
            help="What to train with: spectral, auditory and visual in any combination, as spectral+visual, or all seven; "
            "default: spectral, and all for which weights are here.",
        ),
    ] = None,
    device: Device = None,
    threads: Annotated[Optional[int], typer.Option(min=1, help="CPU cores to use; default: all.")] = None,  # noqa: UP045
    as_json: AsJson = False,
) -> None:
    """Write a small data set of videos, train on it without and with borrowed features, evaluate, and detect events."""
    from avsed.demo import demo as run_demo

    found = run_demo(out, settings=settings or (), quick=quick, device=device, threads=threads)
    _print(found.to_dict(), as_json, found.render)


@app.command(cls=_Several)
def study(
    config: Annotated[
        Path, typer.Argument(help="Configuration of the trainings (YAML), with a section study perhaps.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the study; the same command goes on where it stopped.")],
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of the data set, if the configuration names none."),
    ] = None,
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="NAME...",
            help="Settings to train now: of the configuration, or the paper's seven, as spectral+visual. All words up to the "
            "next option; default: all of the configuration.",
        ),
    ] = None,
    seeds: Annotated[Optional[int], typer.Option(help="Trainings of each setting (20).")] = None,  # noqa: UP045
    keep: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="K|PART", help="Trainings that count, or which part of them (a quarter: 5 of 20)."),
    ] = None,
    select: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="METRIC", help="Choose by one number for all columns, as event_macro_f1; default: each by its own."
        ),
    ] = None,
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Trainings at once, each a process; default: one a GPU, else one."),
    ] = None,
    scheduler: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="ADDRESS", help="Train on a Dask cluster, as tcp://host:8786, or a scheduler file (JSON)."
        ),
    ] = None,
    device: Device = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, its time and its disk.")] = False,
    table_only: Annotated[bool, typer.Option("--table-only", help="Make the table of what is there.")] = False,
    overrides: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train several settings many times, and make the paper's Table 3 of the best on validation clips.

    avsed study configs/paper.yaml --data DATA --out STUDY --seeds 20 --keep 5
    """
    from avsed.commands import study as run_study

    found = run_study(
        config,
        out=out,
        data=data,
        settings=settings or (),
        seeds=seeds,
        keep=keep,
        select=select,
        workers=workers,
        scheduler=scheduler,
        device=device,
        dry_run=dry_run,
        table_only=table_only,
        overrides=overrides or (),
    )
    _print(found.to_dict(), as_json, found.render)
    raise typer.Exit(1 if found.failures else 0)


weights_app = typer.Typer(help="Weights of pretrained networks: what there is, fetched, checked.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
Folder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--folder", help="Folder of weights (default: $AVSED_WEIGHTS, or weights in the cache)."),
]


@weights_app.command("list")
def weights_list(folder: Folder = None, as_json: AsJson = False) -> None:
    """Say which weights are known, under which licence, and where their files are."""
    from avsed.weights_command import listed

    found = listed(given=folder)
    _print(found.to_dict(), as_json, found.render)


@weights_app.command("get")
def weights_get(
    names: Annotated[list[str], typer.Argument(help="Names, as 'avsed weights list' prints them.")],
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Fetch weights unless they are there; whole and with the right hash, or not at all."""
    from avsed.weights_command import fetched

    found = fetched(names, folder=folder)
    _print(found.to_dict(), as_json, found.render)


@weights_app.command("check")
def weights_check(
    names: Annotated[Optional[list[str]], typer.Argument(help="Names; default: all.")] = None,  # noqa: UP045
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Hold the files that are there against their size and hash."""
    from avsed.weights_command import checked

    found = checked(names or (), given=folder)
    _print(found.to_dict(), as_json, found.render)
    raise typer.Exit(0 if found.ok else 1)


def _print(value: dict[str, Any], as_json: bool, render: Any) -> None:
    if as_json:
        print(json.dumps(value, indent=2, allow_nan=False))
    else:
        from rich.console import Console

        console = Console(highlight=False, emoji=False, soft_wrap=True)
        if not console.is_terminal:
            console.width = 120  # tables keep their shape in files and pipes
        for part in render():
            print(part) if isinstance(part, str) else console.print(part)


if __name__ == "__main__":
    main()
