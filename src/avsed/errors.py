"""The exceptions of avsed: one family, so that one ``except AvsedError`` catches what a user can mend.

A message says what was given, what was expected and what to do, and names the file, line, flag or label.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class AvsedError(Exception):
    """Anything wrong with what the user gave: a file, a table, an option. The command line prints it in one line."""


class MediaError(AvsedError):
    """A recording that cannot be opened or decoded, or lacks the stream asked for."""

    def __init__(self, path: str | Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)
        self.problem = problem

    def __reduce__(self) -> tuple[type[MediaError], tuple[Path, str]]:  # worker processes hand it back
        return type(self), (self.path, self.problem)


class MissingStreamError(MediaError):
    """A recording that has no stream of the kind asked for: no sound, or no moving pictures."""


class AnnotationError(AvsedError):
    """A table of tags, events or clips that cannot be used as it is."""


class ConfigError(AvsedError):
    """A configuration or an option that is unknown, of the wrong kind or out of range."""


class CheckpointError(AvsedError):
    """A run, checkpoint or model file that is missing, damaged or does not fit."""


class WeightsError(AvsedError):
    """Weights of a pretrained network that are missing, damaged, not the expected ones, or cannot be fetched."""


class ScoresError(AvsedError):
    """A score file that cannot be read, or scores that do not fit their classes or time grid."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for an error message: `` (did you mean 'Dog'?)``, or nothing where no known word is near."""
    folded = {k.casefold().replace(" ", "_"): k for k in known}
    close = difflib.get_close_matches(word.casefold().replace(" ", "_"), folded, n=1, cutoff=0.6)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""
