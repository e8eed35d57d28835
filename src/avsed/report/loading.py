"""What a training and its evaluation left in the run's folder, read for a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsed.annotations import Durations, Events
from avsed.config import Config
from avsed.data.folder import Split, open_data
from avsed.errors import CheckpointError
from avsed.scores import Scores
from avsed.stored import read_stored
from avsed.tables import read_events
from avsed.values import flatten

# What may differ between trainings of one setting.
OWN = ("seed", "device", "threads", "data.root", "training.memory", "training.checkpoint_minutes")
DECISIONS = "postprocessing."  # a preset of one name is tuned for each training by itself


@dataclass(frozen=True)
class Evaluated:
    """A run that was scored on a split.

    name : what the report calls it; folder : the run's; config : of the training, with the evaluation's post-processing and metrics
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

    folders : of runs, or results in them (``RUN/results/NAME.json``)
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
    stored = read_stored(folder, split=split)
    if not {"numbers", "fingerprint"} <= stored.about.keys():
        raise CheckpointError(
            f"{stored.file}: an older version of avsed made these results; run 'avsed evaluate {stored.run.folder} --split "
            f"{stored.split}' with this one"
        )
    scores = {one.clip: one for one in stored.scores}
    file = stored.file.with_suffix(".tsv")
    if not file.is_file():
        raise CheckpointError(f"{file}: not there; run 'avsed evaluate {stored.run.folder} --split {stored.split}'")
    found = read_events(file, duplicates="keep", problems=[])
    reference = {clip: stored.reference[clip] for clip in scores if clip in stored.reference}
    return Evaluated(
        name=name or stored.run.folder.name,
        folder=stored.run.folder,
        config=stored.config,
        about=stored.run.about(),
        results=stored.about,
        scores={clip: scores[clip] for clip in reference},
        events={clip: found.get(clip, []) for clip in reference},
        reference=reference,
        durations={clip: stored.durations.get(clip, float(scores[clip].boundaries[-1])) for clip in reference},
        log=_log(stored.run.log),
    )


def settings_of(runs: Sequence[Evaluated]) -> list[Setting]:
    """Put trainings together that differ in nothing but the seed, in the order of the first of each."""
    groups: dict[str, list[Evaluated]] = {}
    for run in runs:
        values = flatten(run.config.model_dump(mode="json"))
        preset = run.results.get("preset", {}).get("name")
        tuned = DECISIONS if preset is not None else "\0"
        kept = {key: value for key, value in values.items() if key not in OWN and not key.startswith(tuned)}
        groups.setdefault(json.dumps([preset, kept], sort_keys=True), []).append(run)
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


def _names(paths: Sequence[Path]) -> list[str]:
    """What runs are called, as short as tells them apart: by their folders; results in one by its name and theirs."""
    places = []
    for path in (path.absolute() for path in paths):
        run = path.parent.parent
        places.append(run.with_name(f"{run.name} {path.stem}") if path.suffix == ".json" else path)
    for depth in range(1, 1 + max(len(place.parts) for place in places)):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            return names
    twice = next(place for place in places if places.count(place) > 1)
    raise CheckpointError(f"{twice}: given twice")


def _of(run: Evaluated) -> str:
    return f"split {run.split!r} with {len(run.labels)} classes"


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
