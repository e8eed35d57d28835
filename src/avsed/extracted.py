"""What ``avsed extract`` found and did, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from avsed.features.bookkeeping import ExtractionResult, Remark
    from avsed.tables import Problem


@dataclass(frozen=True)
class Extracted:
    """What an extraction did, split by split.

    extractors : their names
    problems : of the tables, and recordings that are missing
    streams_may_lack : whether a training with this configuration would go on without a clip's sound or pictures
    device : where networks ran, for people; None if none was asked for
    """

    splits: dict[str, ExtractionResult]
    extractors: tuple[str, ...]
    problems: tuple[Problem, ...]
    streams_may_lack: bool
    device: str | None

    @property
    def failures(self) -> list[str]:
        return [f"{failure.path}: {failure.message}" for result in self.splits.values() for failure in result.failures]

    @property
    def absent(self) -> list[str]:
        return [
            f"{absent.path}: {absent.message}"
            for result in self.splits.values()
            for remarks in result.absent.values()
            for absent in remarks
        ]

    @property
    def failed(self) -> bool:
        """Whether features are missing or tables have errors, so that a training would not begin."""
        lacking = bool(self.failures) or (bool(self.absent) and not self.streams_may_lack)
        return lacking or any(problem.severity == "error" for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        splits = {
            name: {
                "clips": result.clips,
                "extracted": result.done,
                "cached": result.cached,
                "failures": _plain(result.failures),
                "absent": {stream: _plain(remarks) for stream, remarks in result.absent.items()},
                "warnings": _plain(result.warnings),
                "seconds": result.seconds,
                "clips_per_s": result.clips_per_s,
                "network_waited": result.waiting,
                "workers": result.workers,
            }
            for name, result in self.splits.items()
        }
        return {
            "extractors": list(self.extractors),
            "device": self.device,
            "splits": splits,
            "problems": [problem._asdict() for problem in self.problems],
        }

    def render(self) -> Iterator[RenderableType]:
        """What the command prints."""
        for name, result in self.splits.items():
            rate = f", {result.clips_per_s:.3g} clips/s with {result.workers} workers" if result.done else ""
            if result.done and self.device is not None:
                rate += f", network waited {100 * result.waiting:.0f} % of the time"
            kinds = {"audio": "sound", "video": "pictures"}
            lacks = "".join(f", {len(found)} without {kinds[stream]}" for stream, found in result.absent.items())
            yield (
                f"{name}: {result.done} extracted, {result.cached} cached, {len(result.failures)} failed, "
                f"{len(result.warnings)} mended{lacks}{rate}"
            )
        yield from self.failures
        yield from self.absent
        yield from (f"{problem.severity}: {problem}" for problem in self.problems)


def _plain(remarks: Sequence[Remark]) -> list[dict[str, str]]:
    return [{"clip": name, "path": str(path), "message": message} for name, path, message in remarks]
