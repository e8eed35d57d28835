"""The commands as Python functions: each takes plain values and returns an object with `to_dict` and `render`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from avsed import console
from avsed.config import Config, load_config
from avsed.errors import ConfigError
from avsed.features.options import LOGMEL
from avsed.postprocessing.files import find_preset, mark_clips, read_preset
from avsed.run import Run
from avsed.values import check_sections, section_of

if TYPE_CHECKING:
    from avsed.data.check import CheckReport
    from avsed.evaluation import Evaluation
    from avsed.extracted import Extracted
    from avsed.predictions import Predictions
    from avsed.report.making import Report
    from avsed.training.train import Trained


def configure(
    data: str | Path,
    *,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    seed: int | None = None,
    device: str | None = None,
    inputs: str | None = None,
    missing: str | None = None,
) -> Config:
    """The configuration of a command: a file, or the defaults, with the data set's folder and overrides.

    data : folder of a data set, or a configuration that names one
    settings : ``KEY=VALUE`` overrides
    inputs, missing : ``inputs`` (as ``spectral+visual``) and ``fusion.missing``

    Raises ConfigError if there is no such folder or file, or a value does not fit.
    """
    path = Path(data)
    given = list(settings)
    if path.suffix in (".yaml", ".yml"):
        if config is not None:
            raise ConfigError(
                f"two configurations: {path} and --config {config}; give the data set's folder and one of them"
            )
        config = path
    elif path.is_dir():
        given.append(f"data.root={quoted(path)}")
    else:
        raise ConfigError(f"{path}: no such folder; give the folder of a data set, or a configuration (.yaml)")
    if seed is not None:
        given.append(f"seed={seed}")
    if device is not None:
        given.append(f"device={device}")
    if inputs is not None:
        given.append(f"inputs={quoted(inputs)}")
    if missing is not None:
        given.append(f"fusion.missing={quoted(missing)}")
    return load_config(config, given)


def check(data: str | Path, *, settings: Sequence[str] = ()) -> CheckReport:
    """Say what a data set holds and what is wrong with it; see `avsed.data.check.check_data`."""
    from avsed.data.check import check_data

    config = configure(data, settings=settings).data
    if config.root is None:
        raise ConfigError(f"{data}: names no data set; set data.root")
    with console.bar("recordings", 0) as bar:
        return check_data(
            config.root,
            splits=config.splits,
            labels=config.labels,
            progress=lambda done, total: bar.update(done, total=total),
        )


def extract(
    data: str | Path,
    *,
    features: Sequence[str] = (),
    settings: Sequence[str] = (),
    workers: int | None = None,
    scheduler: str | None = None,
    device: str | None = None,
) -> Extracted:
    """Compute features of all clips of a data set in one decoding pass, and keep them in the cache.

    features : extractors by name, or spectral, auditory and visual as in the configuration's ``inputs``; by default what
        the model of the configuration takes
    scheduler : a Dask cluster that extracts in place of this machine; see `avsed.cluster.connected`
    device : where pretrained networks run, here or on the cluster's workers

    Missing recordings and errors of the tables are listed and stop nothing; with ``data.missing: drop`` the clips without a
    recording are left out.
    """
    from avsed.data.features import extract_split, extract_split_on
    from avsed.data.folder import open_data
    from avsed.extracted import Extracted
    from avsed.features.extractors import make_extractors

    if workers is not None and scheduler is not None:
        raise ConfigError("--workers and --scheduler: give one of them; a cluster has its own workers")
    config = configure(data, settings=settings, device=device, inputs="+".join(features).replace(",", "+") or None)
    names = config.streams
    if config.data.root is None:
        raise ConfigError(f"{data}: names no data set; set data.root")
    missing: Literal["drop", "report"] = "drop" if config.data.missing == "drop" else "report"
    extractors = make_extractors(names, config)
    found = open_data(config.data.root, splits=config.data.splits, labels=config.data.labels, missing=missing)
    lacking = config.fusion.missing != "error"
    if scheduler is not None:
        from avsed.cluster import connected

        with connected(scheduler) as cluster:
            done = {name: extract_split_on(cluster, split, names, config) for name, split in found.splits.items()}
        devices = sorted({device for result in done.values() for device in result.devices})
        return Extracted(done, names, found.problems, streams_may_lack=lacking, device=", ".join(devices) or None)
    where = told = None
    if names != (LOGMEL,):  # PyTorch takes a second to be imported
        from avsed.device import choose_device, describe, set_threads

        set_threads(config.threads)
        where = choose_device(config.device)
        console.note(f"device: {(told := describe(where))}")
    return Extracted(
        {name: extract_split(split, extractors, workers=workers, device=where) for name, split in found.splits.items()},
        names,
        found.problems,
        streams_may_lack=lacking,
        device=told,
    )


def train(
    data: str | Path,
    *,
    out: str | Path,
    config: str | Path | None = None,
    seed: int | None = None,
    device: str | None = None,
    inputs: str | None = None,
    missing: str | None = None,
    settings: Sequence[str] = (),
    workers: int | None = None,
) -> Trained:
    """Train by mean teacher, with all processes if torchrun has started several; see `avsed.training.train.train`."""
    from avsed.training.distributed import together
    from avsed.training.train import train as run_train

    chosen = configure(data, config=config, settings=settings, seed=seed, device=device, inputs=inputs, missing=missing)
    with together(chosen.device):
        return run_train(chosen, out, workers=workers)


def evaluate(
    run: str | Path,
    *,
    data: str | Path | None = None,
    split: str | None = None,
    postprocessing: str | None = None,
    device: str | None = None,
    workers: int | None = None,
    missing: str | None = None,
    settings: Sequence[str] = (),
) -> Evaluation:
    """Score a trained system on a strongly labelled split; scores, events and results are kept in the run.

    postprocessing : a name that `avsed.tuned.tune` gave, or a file like those that it writes, in place of the run's own
    missing : ``drop`` leaves clips out that lack a stream which the system takes
    settings : overrides of ``postprocessing``, ``metrics`` and ``data`` for this evaluation
    """
    from avsed.opened import open_run
    from avsed.stored import write_stored
    from avsed.training.preparation import reference_events
    from avsed.training.train import evaluate_on

    opened = open_run(run, data=data, given=settings, device=device, missing=missing)
    preset = None
    if postprocessing is not None:
        preset = find_preset(postprocessing, opened.run.presets)
        opened = opened.with_preset(preset, settings)
    chosen = split or opened.system.config.data.test
    if chosen is None:
        raise ConfigError("the configuration names no test split: give --split")
    labelled, scores = opened.scored(opened.data.split(chosen), workers=workers)
    about = opened.about(labelled)
    if preset is not None:
        about["preset"] = preset.about(mark_clips(labelled))
    evaluation, events = evaluate_on(opened.system, labelled, scores, about)
    name = chosen if preset is None else f"{chosen}.{preset.name}"
    reference, durations = reference_events(labelled), labelled.durations
    write_stored(
        opened.run, evaluation, name=name, scores=scores, events=events, reference=reference, durations=durations
    )
    return evaluation


def score(
    reference: str | Path,
    estimate: str | Path,
    *,
    durations: str | Path | None = None,
    missing_clips: str = "error",
    match: str = "exact",
    postprocessing: str | Path | None = None,
    settings: Sequence[str] = (),
) -> Evaluation:
    """Compare the output of any system with reference annotations, in every form that `avsed.exchange.estimate_files.read_estimate` tells.

    missing_clips : ``drop`` leaves clips without scores out, which are an error otherwise; clips that an event list lacks have no events
    match : clips are the same if their names are (``exact``), their names without folders (``name``), or without endings, too (``stem``)
    postprocessing : file of post-processing, as 'avsed tune' writes it; by default frame scores are taken as they are, without a filter

    An event that stands twice in the reference counts once, in the estimate twice: a system answers for all that it says.
    """
    from avsed.exchange.scoring import UNTOUCHED
    from avsed.exchange.scoring import score as run_score

    check_sections(settings, ("postprocessing", "metrics", "data"), "nothing is trained or extracted here")
    config = load_config(None, [f"postprocessing.median_filter={UNTOUCHED.median_filter}", *settings])
    if postprocessing is not None:
        if any(section_of(setting) == "postprocessing" for setting in settings):
            raise ConfigError("--postprocessing and --set postprocessing.…: give one of them")
        config = config.model_copy(update={"postprocessing": read_preset(Path(postprocessing)).config})
    return run_score(reference, estimate, durations=durations, missing_clips=missing_clips, match=match, config=config)


def report(
    runs: Sequence[str | Path], *, out: str | Path, split: str | None = None, clips: Sequence[str] = ()
) -> Report:
    """Write one page about evaluated trainings; see `avsed.report.making.make_report`."""
    from avsed.report.making import CLIPS, make_report

    return make_report(runs, out, split=split, clips=clips or CLIPS)


def predict(
    run: str | Path,
    files: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    keep_scores: bool = False,
    threshold: float | None = None,
    postprocessing: str | None = None,
    device: str | None = None,
) -> Predictions:
    """Tags and events of recordings; one that cannot be read is listed and stops nothing. One that is given twice counts once.

    out : folder for ``events.tsv``, ``tags.tsv`` and ``predictions.json`` (and ``scores.safetensors`` with ``keep_scores``); what
        has been found is written there now and then, and when an error or Ctrl-C ends the work
    threshold : for all classes, in place of those of the configuration
    postprocessing : a name that `avsed.tuned.tune` gave, or a file like those that it writes, in place of the run's own
    """
    from avsed.detector import Detector
    from avsed.predictions import predict_all

    if keep_scores and out is None:
        raise ConfigError("--scores needs --out, the folder to keep them in")
    preset = None if postprocessing is None else find_preset(postprocessing, Run(run).presets)
    detector = Detector.load(run, device=device or "auto", postprocessing=None if preset is None else preset.config)
    if threshold is not None:
        detector.postprocessing = detector.postprocessing.at(threshold)
    return predict_all(detector, files, out=None if out is None else Path(out), keep_scores=keep_scores)


def quoted(value: str | Path) -> str:
    """A path or word as a YAML string, whatever it holds."""
    return "'" + str(value).replace("'", "''") + "'"
