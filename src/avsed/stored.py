"""Evaluations kept in a run, and read back with everything that was counted: no model runs again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsed.annotations import Durations, Events
from avsed.config import Config, load_config, make_config
from avsed.data.folder import events_fingerprint
from avsed.errors import CheckpointError
from avsed.evaluation import Evaluation, evaluate_scores
from avsed.files import read_json, write_json
from avsed.run import Run
from avsed.scores import Scores, read_scores, write_scores
from avsed.tables import read_durations, read_events, write_durations, write_events
from avsed.values import check_sections


@dataclass(frozen=True)
class Stored:
    """What was found on a split, and what it was compared with.

    file : the results (JSON); about : what they say; config : of the training, with the evaluation's post-processing and metrics
    """

    file: Path
    run: Run
    split: str
    about: Mapping[str, Any]
    config: Config
    scores: Sequence[Scores]
    reference: Events
    durations: Durations

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the scores' columns."""
        return self.scores[0].classes

    def evaluate(self, *, clips: Sequence[str] | None = None, all_thresholds: bool = True) -> Evaluation:
        """The evaluation anew. clips : their order; by default that of the reference; all_thresholds : see `evaluate_scores`"""
        reference = self.reference if clips is None else {clip: self.reference[clip] for clip in clips}
        return evaluate_scores(
            self.scores,
            reference,
            labels=self.labels,
            durations=self.durations,
            postprocessing=self.config.postprocessing,
            metrics=self.config.metrics,
            about={},
            all_thresholds=all_thresholds,
        )[0]


def write_stored(
    run: Run,
    evaluation: Evaluation,
    *,
    name: str,
    scores: Sequence[Scores],
    events: Events,
    reference: Events,
    durations: Durations,
) -> None:
    """Keep an evaluation, whose ``about`` names its split.

    name : of the results: the split's, or the split's and that of its post-processing. Scores and reference are kept once for a split,
        whatever is made of them
    events : what the system found
    """
    split = evaluation.about["split"]
    write_scores(run.scores(split), scores)
    write_events(run.reference(split), reference, decimals=None)
    write_durations(run.durations(split), durations, decimals=None)
    write_events(run.events(name), events)
    write_json(run.results(name), evaluation.to_dict())


def read_stored(path: str | Path, *, split: str | None = None, settings: Sequence[str] = ()) -> Stored:
    """Read back an evaluation.

    path : folder of a run, or the results of one of its evaluations (``RUN/results/NAME.json``)
    split : of a run's folder; by default the configuration's test split
    settings : overrides of ``postprocessing`` and ``metrics``, as of 'avsed evaluate'

    Raises ConfigError for other overrides; CheckpointError, naming the file and the command that makes it, if something is not there
    or damaged, or of other clips or labels than the results.
    """
    check_sections(settings, ("postprocessing", "metrics"), "scores and labels are those that were kept")
    given = Path(path)
    file = given if given.suffix == ".json" else None
    run = Run(given if file is None else given.parent.parent)
    if not run.config_file.is_file():
        raise CheckpointError(f"{path}: not the folder of a training, nor results in one (no {run.config_file})")
    config = load_config(run.config_file)
    file = file or run.results(split or config.data.test or "test")
    about = _read(file, run)
    name = about["split"]
    lacking = [p for p in (run.scores(name), run.reference(name), run.durations(name)) if not p.is_file()]
    if lacking:
        raise CheckpointError(
            f"{lacking[0]}: not there; run 'avsed evaluate {run.folder} --split {name}' with this version"
        )
    reference = read_events(run.reference(name), problems=[])
    if events_fingerprint(reference) != {key: about["fingerprint"].get(key) for key in ("clips", "sha256")}:
        raise CheckpointError(
            f"{file}: is of other clips or labels than {run.reference(name)}, which a later evaluation wrote; run 'avsed evaluate "
            f"{run.folder} --split {name}' again, with what these results were made with"
        )
    shaped = config.model_dump(mode="json") | {key: about[key] for key in ("postprocessing", "metrics")}
    return Stored(
        file,
        run,
        name,
        about,
        make_config(shaped, source=str(file), overrides=settings),
        read_scores(run.scores(name)),
        reference,
        read_durations(run.durations(name)),
    )


def _read(file: Path, run: Run) -> dict[str, Any]:
    again = f"run 'avsed evaluate {run.folder}'"
    if not file.is_file():
        raise CheckpointError(f"{file}: not there; {again} first")
    about = read_json(file, otherwise=f"{again} again")
    if not {"split", "postprocessing", "metrics", "fingerprint"} <= about.keys():
        raise CheckpointError(f"{file}: not the results of an evaluation; {again} again")
    return about
