"""What a study is: settings, trainings of each, and which of them count; from a configuration with a section ``study``.

::

    study:
      settings: [spectral, spectral+auditory]        of the paper's seven; all of them by default; or by name what is changed:
      settings: {spectral: , pooled: {inputs: auditory, extractors.efficientat.embedding: pooled}}
      seeds: 20                                      trainings of each: seed, seed + 1, …; a setting may have its own (seeds: 4)
      keep: 0.25                                     how many of them count, or which part
      select:                                        the number that chooses; null: each column's own
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from avsed import console
from avsed.config import LAST_SEED, PASSING, STUDY, Config, Section, make, make_config
from avsed.errors import CheckpointError, ConfigError, nearest
from avsed.files import write_text
from avsed.numbers import NUMBERS
from avsed.run import Run
from avsed.study.paper import SETTINGS, canonical
from avsed.study.records import RECORDS
from avsed.study.units import RUNS, Unit
from avsed.values import flatten, read_values

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_.-]*")
SAME = ("seed", "metrics", "device", "threads", "study", "data.validation", "data.test")
"""Keys that no setting may change: what is to be compared must be measured alike."""
SEEDS = "seeds"
"""Of a setting, what is no key of a configuration: how many trainings it has, if not as many as the others."""


class StudyConfig(Section):
    """The section ``study``."""

    settings: dict[str, dict[str, Any]] = Field(
        default_factory=lambda: {name: {"inputs": name} for name in SETTINGS},
        description="by name, what each changes; the paper's own names change inputs",
    )
    seeds: int = Field(20, ge=1, description="trainings of each setting, with seeds from the configuration's seed on")
    keep: int | float = Field(
        0.25, description="trainings that count, the best on validation: their number, or as a fraction their part"
    )
    select: str | None = Field(
        None, description="the number that chooses them for all columns; null: each column's own"
    )

    @field_validator("settings", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """A list of the paper's names, or a mapping; nothing for a name of the paper's changes its inputs."""
        if value is None:
            value = SETTINGS
        if isinstance(value, (list, tuple, str)):
            words = value.replace(",", " ").split() if isinstance(value, str) else value
            value = dict.fromkeys(map(str, words))
        if not isinstance(value, Mapping) or not value:
            raise ValueError("expected names of the paper's settings, or by name what each changes")
        found: dict[str, Any] = {}
        for given, changes in value.items():
            known = canonical(str(given))
            name = known or str(given)
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} would name a folder: use letters, digits and + _ . -")
            if name in found:
                raise ValueError(f"{name!r} is there twice")
            if changes is None and known is None:
                raise ValueError(
                    f"{name!r} is none of the paper's{nearest(name, SETTINGS)} ({', '.join(SETTINGS)}) and says nothing that it changes"
                )
            if changes is not None and not isinstance(changes, Mapping):
                raise ValueError(f"{name}: expected keys and values that it changes, got {changes!r}")
            own = {} if known is None else {"inputs": known}
            found[name] = own | {str(key): value for key, value in (changes or {}).items()}
            count = found[name].get(SEEDS, 1)
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ValueError(f"{name}: expected a number of trainings (1, 2, …) for {SEEDS}, got {count!r}")
            for key in flatten(found[name]):
                if key in SAME or key.split(".")[0] in SAME:
                    raise ValueError(f"{name}: {key} is the same for all settings; set it outside")
        return found

    @field_validator("keep", mode="plain")
    @classmethod
    def _part(cls, value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not whole and not (isinstance(value, float) and 0 < value <= 1):
            raise ValueError("expected a number of trainings (1, 2, …), or a part of them (0.5 for the better half)")
        return value

    @field_validator("select")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        known = [
            number.key for number in NUMBERS if number.measure != "tags_from_events"
        ]  # a run has clip probabilities
        if value is not None and value not in known:
            raise ValueError(f"no number is called {value!r}{nearest(value, known)}; known are {', '.join(known)}")
        return value

    def kept(self, trainings: int, planned: int) -> int:
        """How many of so many trainings count; of fewer than there will be, the same part of them. At least one.

        keep : a part is rounded down: 0.25 of 20 is 5, of 10 it is 2
        """
        part = self.keep if isinstance(self.keep, float) else min(1.0, self.keep / planned)
        return max(1, int(part * trainings + 1e-9))


class StudyFile(Config):
    """An ordinary configuration with the section ``study``."""

    study: StudyConfig = StudyConfig()


@dataclass(frozen=True)
class Plan:
    """A study: what all trainings have in common, what each setting changes, which trainings there are to be.

    folder : of the study; base : with absolute paths; settings : the configuration of each, by name, in the table's order
    changes : what each setting changes; wanted : settings to be trained now, the others are only shown
    """

    folder: Path
    base: Config
    study: StudyConfig
    settings: Mapping[str, Config]
    changes: Mapping[str, Mapping[str, Any]]
    wanted: tuple[str, ...]

    def seeds_of(self, setting: str) -> range:
        return range(self.base.seed, self.base.seed + self.changes[setting].get(SEEDS, self.study.seeds))

    def units_of(self, setting: str) -> list[Unit]:
        """The trainings of a setting, by seed."""
        config = self.settings[setting]
        return [
            Unit(self.folder / RUNS, setting, config.model_copy(update={"seed": seed}))
            for seed in self.seeds_of(setting)
        ]

    @property
    def units(self) -> list[Unit]:
        """The trainings that are to be there: the first of every setting, then the second of every setting, and so on.

        So the table has something of everything early, and the rate so far says when the whole will end.
        """
        rounds = zip_longest(*(self.units_of(name) for name in self.wanted))
        return [unit for some in rounds for unit in some if unit is not None]

    def check(self) -> None:
        """See that trainings in the folder are of this study.

        Raises CheckpointError, naming the differing keys.
        """
        for name in self.settings:
            for unit in self.units_of(name):
                unit.check()

    def keep(self) -> None:
        """Write what the study is into its folder, with the settings that another command has begun there meanwhile."""
        known = _read(self.folder)
        settings = {**({} if known is None else known.study.settings), **self.changes}
        told = self.base.model_dump(mode="json") | {STUDY: self.study.model_dump() | {"settings": settings}}
        text = StudyFile.model_validate(told).to_yaml()
        file = study_file(self.folder)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            write_text(file, text)


def study_file(folder: Path) -> Path:
    """What a study's folder says of itself: a configuration that 'avsed study' takes."""
    return folder / "study.yaml"


def make_plan(
    config: str | Path, *, out: str | Path, overrides: Sequence[str] = (), settings: Sequence[str] = ()
) -> Plan:
    """The study that a configuration describes, together with what its folder holds already.

    config : YAML with or without a section ``study``
    overrides : ``KEY=VALUE``, such as ``study.seeds=5``
    settings : names of those to be trained now, of the configuration's or the paper's; by default all of the configuration's

    Raises ConfigError, naming the key, if something is not as it should be; CheckpointError, naming the differing keys, if the
    folder holds trainings of another configuration.
    """
    values, source = read_values(config, overrides)
    if values.get(STUDY, 0) is None:
        values[STUDY] = {}
    whole = make(StudyFile, values, source=source, overrides=overrides)
    study, base = whole.study, _base(whole).located()
    if study.select == "psds" and base.metrics.psds is None:
        raise ConfigError(
            f"{source}: study.select is psds, which is measured only with metrics.psds; give that, or another number"
        )
    changes: dict[str, Mapping[str, Any]] = dict(study.settings)
    wanted = [_chosen(word, changes) for word in settings] or list(changes)
    for name in wanted:
        changes.setdefault(name, {"inputs": name})
    configs = {name: _changed(base, name, own, source) for name, own in changes.items()}
    folder = Path(out).absolute()
    for name, (own, known) in _stored(folder).items():  # of earlier calls
        if name in configs:
            _same(folder, name, known, configs[name])
        else:
            changes[name], configs[name] = own, known
            shared = _changed(base, name, own, str(study_file(folder)))
            _same(folder, name, known, shared)
    if any(word.partition("=")[0].strip() == f"{STUDY}.seeds" for word in overrides):  # said now, and of all
        changes = {name: {key: own[key] for key in own if key != SEEDS} for name, own in changes.items()}
    for name, own in changes.items():
        count = own.get(SEEDS, study.seeds)
        if isinstance(study.keep, int) and study.keep > count:
            raise ConfigError(f"{source}: study.keep is {study.keep}, but study.seeds of {name} is {count}")
        if base.seed + count > LAST_SEED + 1:
            raise ConfigError(
                f"{source}: {count} trainings from seed {base.seed} on need seeds above {LAST_SEED}; lower seed"
            )
    order = [*(name for name in SETTINGS if name in configs), *(name for name in configs if name not in SETTINGS)]
    plan = Plan(
        folder,
        base,
        study,
        {name: configs[name] for name in order},
        {name: changes[name] for name in order},
        tuple(dict.fromkeys(name for name in order if name in wanted)),
    )
    plan.check()
    for name in sorted(_begun(folder) - configs.keys()):
        console.warn(
            f"{folder}: holds trainings of {name}, a setting that {source} does not describe; they are not shown"
        )
    return plan


def _base(whole: StudyFile) -> Config:
    return Config.model_validate(whole.model_dump(mode="json", exclude={STUDY}))


def _changed(base: Config, name: str, changes: Mapping[str, Any], source: str) -> Config:
    """The configuration of a setting. Raises ConfigError that names it."""
    own = {key: value for key, value in changes.items() if key != SEEDS}
    given = [f"{key}={json.dumps(value, default=str)}" for key, value in flatten(own).items()]
    return make_config(
        base.model_dump(mode="json"), source=f"{source}: study.settings.{name}", overrides=given
    ).located()


def _chosen(word: str, known: Mapping[str, Any]) -> str:
    name = canonical(word) or word
    if name not in known and name not in SETTINGS:
        every = list(dict.fromkeys([*known, *SETTINGS]))
        raise ConfigError(f"--settings {word}: unknown{nearest(word, every)}; known are {', '.join(every)}")
    return name


def _stored(folder: Path) -> dict[str, tuple[Mapping[str, Any], Config]]:
    """What each setting with trainings in the folder changes, and its configuration, as an earlier call left them."""
    file, whole = study_file(folder), _read(folder)
    if whole is None:
        if folder.is_dir() and any(folder.iterdir()) and not any((folder / own).is_dir() for own in (RUNS, RECORDS)):
            raise CheckpointError(f"{folder}: neither empty nor a study of avsed (no {file.name}); give another --out")
        return {}
    base, changes = _base(whole), whole.study.settings
    begun = _begun(folder)
    return {name: (own, _changed(base, name, own, str(file))) for name, own in changes.items() if name in begun}


def _begun(folder: Path) -> set[str]:
    """Settings with trainings in the folder."""
    begun = {run.parent.parent.name for run in folder.glob(f"{RUNS}/*/*/config.yaml") if Run(run.parent).started}
    return begun | {record.parent.name for record in folder.glob(f"{RECORDS}/*/*.safetensors")}


def _read(folder: Path) -> StudyFile | None:
    """What the folder says of itself, None if it says nothing. Raises CheckpointError if that is damaged."""
    file = study_file(folder)
    if not file.is_file():
        return None
    try:
        values, source = read_values(file)
        if not values:
            raise ConfigError(f"{file}: empty")
        return make(StudyFile, values, source=source)
    except ConfigError as error:
        raise CheckpointError(f"{error}; the file is damaged: delete it, the next command writes it again") from error


def _same(folder: Path, name: str, known: Config, config: Config) -> None:
    changed = known.differences(config, passing=(*PASSING, "seed"))
    if changed:
        raise CheckpointError(
            f"{folder}: its trainings of {name} have another configuration ({'; '.join(changed)}); give the same one to go on, "
            "or another --out"
        )
