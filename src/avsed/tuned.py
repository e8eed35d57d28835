"""`avsed tune`: post-processing that suits a run's validation clips best, never its test clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import avsed
from avsed import numbers
from avsed.config import load_config
from avsed.data.folder import Split, fingerprint
from avsed.errors import ConfigError
from avsed.opened import Opened, open_run
from avsed.postprocessing.files import Preset, check_name, mark_clips, named_events
from avsed.postprocessing.objectives import Labelled, find_objective
from avsed.postprocessing.options import PostprocessingConfig, by_class, make_postprocessing
from avsed.postprocessing.tuning import Grid, Tuning, What, check_tuning
from avsed.postprocessing.tuning import tune as find_best
from avsed.training.preparation import reference_events

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SHOWN = 5


@dataclass(frozen=True)
class Tuned:
    """What `tune` found. preset : the post-processing with its record; path : where it was written"""

    preset: Preset
    tuning: Tuning
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: fractions; null where a number is not defined."""
        return {
            "path": str(self.path),
            "postprocessing": self.preset.config.model_dump(mode="json"),
            "tuned": dict(self.preset.tuned),
            "classes": {
                own.label: {
                    "events": own.events,
                    "kept": own.kept,
                    "before": None if own.kept else own.before,
                    "after": None if own.kept else own.after,
                }
                for own in self.tuning.classes
            },
        }

    def render(self) -> Iterator[RenderableType]:
        """What the command prints: a table with a row a class, and the value before and after."""
        told = self.preset.tuned
        mark = told["fingerprint"]
        yield f"split {told['split']}: {mark['clips']} clips, labels {mark['sha256'][:12]}"
        yield self._table()
        kept = [own.label for own in self.tuning.classes if own.kept]
        if kept:
            yield f"no events of {', '.join(kept)} in these clips: left as they were"
        number = numbers.named(told["for"])
        before, after = (numbers.told(number, told[when]) for when in ("before", "after"))
        yield f"{told['for']} on {told['split']}: {before} before, {after} after"
        if told["after"] < told["before"]:
            yield "this is worse than before: what was tuned does not suit these clips"
        yield f"avsed evaluate {told['run']} --postprocessing {self.preset.name}    ({self.path})"

    def _table(self) -> Table:
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE, padding=(0, 0, 0, 1))
        number = numbers.named(self.preset.tuned["for"])
        chosen = chosen_values(self.preset.config, [own.label for own in self.tuning.classes])
        table.add_column("class", no_wrap=True)
        for heading in ("events", *chosen, "before", "after"):
            table.add_column(heading, justify="right")
        for row, own in enumerate(self.tuning.classes):
            values = (numbers.told(number, value) for value in (own.before, own.after))
            table.add_row(Text(own.label), str(own.events), *(column[row] for column in chosen.values()), *values)
        return table


def chosen_values(config: PostprocessingConfig, labels: Sequence[str]) -> dict[str, list[str]]:
    """What each class has, as people read it, by the key's name."""
    keys: dict[str, Any] = {"threshold": config.threshold, "tag threshold": config.tag_threshold}
    if config.boxes is None:
        keys["median filter"] = config.median_filter
    else:
        keys |= {f"boxes {name}": getattr(config.boxes, name) for name in type(config.boxes).model_fields}
    return {
        key.replace(" ", "\n", 1): [_plain(own) for own in by_class(value, labels, key=key)]
        for key, value in keys.items()
        if value is not None
    }


def _plain(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def tune(
    run: str | Path,
    *,
    objective: str,
    what: Sequence[str],
    data: str | Path | None = None,
    split: str | None = None,
    name: str = "tuned",
    medians: Sequence[str] | None = None,
    missing: str | None = None,
    device: str | None = None,
    workers: int | None = None,
    settings: Sequence[str] = (),
) -> Tuned:
    """Score a split with a run's system, tune its post-processing on it, and keep that as ``RUN/postprocessing/NAME.yaml``.

    objective : as `avsed.postprocessing.objectives.OBJECTIVES` names it
    what : see `avsed.postprocessing.tuning.tune`
    split : by default the validation split; settings : overrides of ``postprocessing``, ``metrics`` and ``data``

    Raises ConfigError if the split is the test split, by its name or by what is in it, or what is to be tuned does not fit together.
    """
    wanted, path = find_objective(objective), Path(run) / "postprocessing" / f"{check_name(name)}.yaml"
    if medians is not None and "median" not in what:
        raise ConfigError(f"--medians {','.join(medians)}: no median filter is tuned; add median to --what")
    grid = Grid() if medians is None else replace(Grid(), medians=tuple(map(_length, medians)))
    opened = open_run(run, data=data, given=settings, device=device, missing=missing)
    config = opened.system.config
    chosen = split or config.data.validation
    if chosen is None:
        raise ConfigError("the configuration names no validation split: give --split")
    labelled = opened.data.split(chosen)
    refuse_test(opened, labelled)
    parts = cast("list[What]", list(what))
    check_tuning(config.postprocessing, wanted, parts)  # before features are computed
    labelled, scores = opened.scored(labelled, workers=workers)
    clips = Labelled(scores, reference_events(labelled), labelled.durations, opened.system.labels, config.metrics)
    found = find_best(clips, config.postprocessing, objective=wanted, what=parts, grid=grid)
    about = opened.about(labelled)
    record = {
        "split": chosen,
        "fingerprint": about["fingerprint"],
        "for": wanted.name,
        "what": list(what),
        "grid": dict(found.grid),
        "before": found.before,
        "after": found.after,
        "kept": [own.label for own in found.classes if own.kept],
        "metrics": about["metrics"],
        "run": about["run"],
        "from": about["postprocessing"],
        "avsed": avsed.__version__,
        "clips": " ".join(mark_clips(labelled)),
    }
    preset = Preset(name, found.config, record)
    preset.write(path)
    return Tuned(preset, found, path)


def refuse_test(opened: Opened, split: Split) -> None:
    """Raise ConfigError if a split is the test split, or holds clips of it: numbers on what was tuned for are too good.

    A split is the test split by its name in the run's own configuration or in that of the command, by its fingerprint, by a clip's
    name and labels, or by its recording.
    """
    own = load_config(opened.run.config_file).data.test
    tests = {name for name in (own, opened.system.config.data.test) if name is not None}
    way = "post-processing is tuned on other clips than those it is tested on; give --split validation, or another one"
    if split.name in tests:
        raise ConfigError(f"{split.name} is the test split: {way}")
    for name in sorted(tests & set(opened.data.splits)):
        test = opened.data.split(name)
        if fingerprint(split) == fingerprint(test):
            raise ConfigError(f"{split.name} holds the clips of {name}, the test split: {way}")
        shared = sorted(_marks(split).keys() & _marks(test).keys(), key=str)
        if shared:
            names = sorted({_marks(split)[mark] for mark in shared})
            more = ", …" if len(names) > SHOWN else ""
            raise ConfigError(
                f"{len(names)} clips of {split.name} are in {name}, the test split, too: {', '.join(names[:SHOWN])}{more}; {way}"
            )


def _marks(split: Split) -> Mapping[object, str]:
    """What tells a clip, whatever its split is called: its recording, and its name with its events."""
    marks: dict[object, str] = {str(clip.path.resolve()): clip.name for clip in split.clips}
    return marks | {mark: mark[0] for mark in named_events(split)}


def _length(text: str) -> int | str:
    """A median filter's length as it is written in an option."""
    value: int | str = int(text) if text.strip().isdigit() else text.strip()
    own = make_postprocessing({"median_filter": value}, source=f"--medians {text}").median_filter
    assert not isinstance(own, dict)
    return own
