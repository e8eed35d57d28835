"""What a training and its evaluation left in the run's folder, read for a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsed.annotations import Durations, Events
from avsed.config import Config, flatten, load_config
from avsed.data.folder import Split, open_data
from avsed.errors import AvsedError, CheckpointError
from avsed.run import Run
from avsed.scores import Scores, read_scores
from avsed.tables import read_durations, read_events

# What may differ between trainings of one setting.
OWN = ("seed", "device", "threads", "data.root", "training.memory", "training.checkpoint_minutes")


@dataclass(frozen=True)
class Evaluated:
    """A run that was scored on a split.

    name : what the report calls it
    about : ``run.json``; results : ``results/SPLIT.json``
    scores : of each clip; events, reference : what the system found, and what there is; durations : seconds of each clip
    log : records of the training
    """

    name: str
    folder: Path
    config: Config
    about: Mapping[str, Any]
    results: Mapping[str, Any]
    scores: Mapping[str, Scores]
    events: Events
    reference: Events
    durations: Durations
    log: Sequence[Mapping[str, Any]]

    @property
    def split(self) -> str:
        return str(self.results["split"])

    @property
    def labels(self) -> tuple[str, ...]:
        return next(iter(self.scores.values())).classes

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Clips (their number), sha256, left_out (their names) of the split."""
        return dict(self.results["fingerprint"])


@dataclass(frozen=True)
class Setting:
    """Trainings that differ in nothing but the seed (and in where they ran). title : what the report calls them"""

    title: str
    runs: tuple[Evaluated, ...]


def load_runs(folders: Sequence[str | Path], *, split: str | None = None) -> list[Evaluated]:
    """Read runs for one report.

    split : by default each run's test split

    Raises CheckpointError for a folder that is no run, is not evaluated (naming the command), or whose classes or clips are not those of
    the first; other errors of the family for damaged files.
    """
    if not folders:
        raise CheckpointError("a report needs the folder of at least one run")
    names = _names([Path(folder) for folder in folders])
    runs = [load_run(folder, split=split, name=name) for folder, name in zip(folders, names, strict=True)]
    first = runs[0]
    for run in runs[1:]:
        if run.split != first.split or run.labels != first.labels:
            raise CheckpointError(
                f"{run.folder}: was scored on {_of(run)}, {first.folder} on {_of(first)}; one report needs one split and the same classes"
            )
        if run.fingerprint["sha256"] != first.fingerprint["sha256"]:
            raise CheckpointError(
                f"{run.folder}: was scored on other clips or labels of split {run.split!r} ({run.fingerprint['clips']} clips) than "
                f"{first.folder} ({first.fingerprint['clips']} clips), so that their scores cannot be compared; run 'avsed evaluate' "
                "for both on the same data"
            )
    return runs


def load_run(folder: str | Path, *, split: str | None = None, name: str | None = None) -> Evaluated:
    """Read one run; see `load_runs`."""
    run = Run(folder)
    if not run.config_file.is_file():
        raise CheckpointError(f"{run.folder}: not the folder of a training (no config.yaml in it)")
    config = load_config(run.config_file)
    chosen = split or config.data.test
    if chosen is None:
        raise CheckpointError(f"{run.folder}: its configuration names no test split: give --split")
    command = f"avsed evaluate {run.folder}" + (f" --split {split}" if split else "")
    for file in (run.results(chosen), run.scores(chosen), run.events(chosen)):
        if not file.is_file():
            raise CheckpointError(f"{run.folder}: not evaluated on split {chosen!r} (no {file}); run '{command}'")
    results = _json(run.results(chosen))
    try:
        scores = {one.clip: one for one in read_scores(run.scores(chosen))}
        _ = results["split"], results["fingerprint"]["sha256"], results["fingerprint"]["clips"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{run.results(chosen)}: not what 'avsed evaluate' writes (no {error}); run '{command}'"
        ) from error
    reference, durations = _reference(run, config, chosen, tuple(next(iter(scores.values())).classes), command)
    lacking = [clip for clip in scores if clip not in reference]
    if lacking:
        raise CheckpointError(f"{run.folder}: {lacking[0]} was scored but has no reference; run '{command}'")
    found = read_events(run.events(chosen), duplicates="keep", problems=[])
    return Evaluated(
        name=name or run.folder.name,
        folder=run.folder,
        config=config,
        about=run.about(),
        results=results,
        scores=scores,
        events={clip: found.get(clip, []) for clip in scores},
        reference={clip: reference[clip] for clip in scores},
        durations={clip: durations.get(clip, float(one.boundaries[-1])) for clip, one in scores.items()},
        log=_log(run.log),
    )


def settings_of(runs: Sequence[Evaluated]) -> list[Setting]:
    """Put trainings together that differ in nothing but the seed, in the order of the first of each."""
    groups: dict[str, list[Evaluated]] = {}
    for run in runs:
        values = flatten(run.config.model_dump(mode="json"))
        kept = {key: value for key, value in values.items() if key not in OWN}
        groups.setdefault(json.dumps([kept, run.results.get("metrics")], sort_keys=True), []).append(run)
    inputs = ["+".join(own[0].config.inputs) for own in groups.values()]
    settings = []
    for title, own in zip(inputs, groups.values(), strict=True):
        if len(own) == 1:
            settings.append(Setting(own[0].name, (own[0],)))
        else:
            told = title if inputs.count(title) == 1 else ", ".join(run.name for run in own)
            settings.append(Setting(f"{told} ({len(own)} trainings)", tuple(own)))
    return settings


def open_split(run: Evaluated) -> Split:
    """The split of the run's data set, with its recordings.

    Raises AvsedError if the data set is not there or not as it should be.
    """
    data = run.config.data
    if data.root is None:
        raise CheckpointError(f"{run.folder}: its configuration names no data set")
    return open_data(data.root, splits=data.splits, labels=run.labels, missing="drop").split(run.split)


def _reference(
    run: Run, config: Config, split: str, labels: Sequence[str], command: str
) -> tuple[Events, Mapping[str, float]]:
    """The reference and durations kept beside the results, or else those of the data set."""
    events, durations = (run.results(split).with_name(f"{split}.{what}.tsv") for what in ("reference", "durations"))
    if events.is_file():
        return read_events(events, problems=[]), read_durations(durations) if durations.is_file() else {}
    data = config.data
    try:
        if data.root is None:
            raise CheckpointError("no data set is named")
        found = open_data(data.root, splits=data.splits, labels=labels, missing="report").split(split)
    except AvsedError as error:
        raise CheckpointError(
            f"{run.folder}: its reference events are neither in {events} nor in the data set ({error}); run '{command}'"
        ) from error
    return found.events or {}, found.durations


def _names(folders: Sequence[Path]) -> list[str]:
    """Names of folders, as short as tells them apart."""
    for depth in range(1, 1 + max(len(folder.absolute().parts) for folder in folders)):
        names = ["/".join(folder.absolute().parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    twice = next(folder for folder in folders if list(folders).count(folder) > 1)
    raise CheckpointError(f"{twice}: given twice")


def _of(run: Evaluated) -> str:
    return f"split {run.split!r} with {len(run.labels)} classes"


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{file}: not readable as JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: expected an object of results, found {type(value).__name__}")
    return value


def _log(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    records = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            _ = record["step"] + 0, record["kind"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{file}:{number}: not a line of a training's log") from error
        records.append(record)
    return records
