"""The command line itself: what every command is registered with, how errors end it."""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated

import typer

from avsed import __version__
from avsed.errors import AvsedError, ConfigError

app = typer.Typer(
    name="avsed",
    help="Audio tagging and sound event detection from weakly labelled recordings.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


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
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand != "train" and "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError(
            f"'avsed {context.invoked_subcommand}' under torchrun: only 'avsed train' shares work between processes"
        )
