"""Trainings in other processes that stand still at a step, so that a test acts before they end, however slow it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

STEP = 20

CUSTOMIZE = f"""
import sys
from pathlib import Path
if {{"avsed.study.process", "train"}} & set(sys.orig_argv):
    sys.path.append({str(Path(__file__).parent)!r})
    import holding
    holding.hold({STEP}, lambda folder: holding.file(Path(__file__).parent, folder).exists())
"""
"""What Python runs first in each process that has this on its path."""


class Holds:
    """Holds trainings of other processes. environment : variables that these must have

    folder : an empty one
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "sitecustomize.py").write_text(CUSTOMIZE)
        paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {"PYTHONPATH": os.pathsep.join(paths)}

    @contextmanager
    def __call__(self, run: Path) -> Iterator[None]:
        """Within, the training of a run takes no step after `STEP` unless it is asked to stop."""
        own = file(self._folder, run)
        own.touch()
        try:
            yield
        finally:
            own.unlink()


def file(folder: Path, run: Path) -> Path:
    """The file that is there while a run is held; the same wherever the run's folder lies."""
    return folder / f"{run.parent.name}-{run.name}"


def hold(step: int, held: Callable[[Path], bool]) -> None:
    """In the process of a training: take no step after this one as long as its run is held, and nobody asks it to stop."""
    from avsed.training.loop import Steps

    advance = Steps.advance

    def wait_and_advance(training: Steps) -> None:
        while training.done.step >= step and not training._stop and held(training._run.folder):
            time.sleep(0.01)
        advance(training)

    Steps.advance = wait_and_advance  # type: ignore[method-assign]
