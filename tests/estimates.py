"""Tables as other systems leave them, and scoring them, that several test files share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avsed import commands

EVENTS = "filename\tonset\toffset\tevent_label\n"
FRAMES = "onset\toffset\tDog\tCat\n"
REFERENCE = EVENTS + "a.wav\t0\t1\tDog\na.wav\t2\t3\tCat\nb.wav\t1\t2\tDog\n"


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def frames(*values: tuple[float, float], period: float = 1.0, first: int = 0) -> str:
    """Rows of a table of frame scores: (Dog, Cat) of each frame."""
    return "".join(
        f"{(first + n) * period}\t{(first + n + 1) * period}\t{dog}\t{cat}\n" for n, (dog, cat) in enumerate(values)
    )


def score(
    tmp_path: Path, estimate: Path, reference: str = REFERENCE, durations: str | None = None, **options: Any
) -> Any:
    lengths = None if durations is None else put(tmp_path / "lengths.tsv", "filename\tduration\n" + durations)
    return commands.score(put(tmp_path / "reference.tsv", reference), estimate, durations=lengths, **options)


def folder(tmp_path: Path, **tables: str) -> Path:
    for name, text in tables.items():
        put(tmp_path / f"scores/{name}.tsv", FRAMES + text)
    return tmp_path / "scores"


A = frames((0.9, 0.1), (0.2, 0.1), (0.1, 0.8))
B = frames((0.1, 0.1), (0.7, 0.2), (0.1, 0.1))
PLAIN = ["postprocessing.median_filter=1"]
