"""One typed configuration: the same names in YAML, on the command line (``--set training.steps=500``), in Python and in each run.

Every default is the paper's (see ``docs/paper.md``). Unknown keys are errors that name the nearest known one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from avsed.data.folder import SplitSource
from avsed.errors import ConfigError, nearest
from avsed.explaining import explain, fields
from avsed.features.logmel import LogMelParameters
from avsed.features.options import LOGMEL, MODALITIES, ExtractorsConfig
from avsed.files import write_text
from avsed.model.options import ModelConfig
from avsed.postprocessing.options import PostprocessingConfig
from avsed.sections import Section, Size
from avsed.training.options import TrainingConfig
from avsed.values import flatten, override_value, read_values

PAPER_SIZES = {True: {"audio": 16, "video": 4}, False: {"audio": 64, "video": 16}}
"""Sizes that pretrained features are reduced to, with and without spectral input beside them (paper, Section 4.3)."""

LAST_SEED = 2**31 - 1
STUDY = "study"
"""A section that only 'avsed study' reads (`avsed.study.plan`)."""
PASSING = ("device", "threads", "data.root", "data.sources")
"""Keys that say where a training runs, not what it is: they may change when it goes on."""


class DataConfig(Section):
    """Where the clips are and which parts of them play which role."""

    root: Path | None = Field(None, description="folder of the data set")
    splits: dict[str, SplitSource] | None = Field(None, description="tables and media, where the layout is another one")
    labels: tuple[str, ...] | None = Field(None, description="the classes; by default those of the training tables")
    missing: Literal["error", "drop"] = Field("error", description="what to do about clips whose media are missing")
    sources: tuple[str, ...] = Field(
        (), description="public data sets that the clips come from: marks networks that may have learned from them"
    )
    weak: str = Field("weak", description="split of the weakly labelled training clips")
    strong: str | None = Field(None, description="split of the training clips with events; see training.strong_batch")
    unlabelled: str | None = Field("unlabeled", description="split of the unlabelled training clips; null for none")
    validation: str | None = Field("validation", description="split scored during training; null for none")
    test: str | None = Field("test", description="split scored by 'avsed evaluate'; null for none")


class FusionConfig(Section):
    """What pretrained networks add to the spectral input, or stand in its place with (paper, Section 3).

    A stream is what one extractor makes of a recording. ``auditory`` and ``visual`` in ``inputs`` stand for the two
    extractors named here.
    """

    auditory: str = Field("vggish", description="the extractor that 'auditory' stands for")
    visual: str = Field("vgg16", description="the extractor that 'visual' stands for")
    sizes: dict[str, Size] = Field(
        default_factory=dict, description="values that each extractor's features are reduced to; default: the paper's"
    )
    dropout: float = Field(0.33, ge=0, lt=1, description="dropout rate of the reduced features")
    alignment: Literal["time", "index"] = Field(
        "time", description="which row a frame of the model sees: the nearest in time, or that of its number"
    )
    missing: Literal["error", "drop", "learned"] = Field(
        "error", description="what about clips without the sound or pictures that the model takes"
    )
    stream_dropout: float = Field(
        0.15, ge=0, lt=1, description="with missing: learned, how often a clip's stream is hidden in training"
    )

    @model_validator(mode="after")
    def _known(self) -> FusionConfig:
        for role, name, modality in (("auditory", self.auditory, "audio"), ("visual", self.visual, "video")):
            known = [key for key, kind in MODALITIES.items() if kind == modality and key != LOGMEL]
            if name not in known:
                raise ValueError(f"{role} must be one of {', '.join(known)}, got {name!r}")
        for name in self.sizes:
            if name not in MODALITIES or name == LOGMEL:
                raise ValueError(f"sizes: no pretrained extractor is called {name!r}{nearest(name, MODALITIES)}")
        return self


class PsdsConfig(Section):
    """A polyphonic sound detection score; see `avsed.metrics.psds`."""

    dtc: float = Field(gt=0, le=1, description="share of a detected event that must be covered")
    gtc: float = Field(gt=0, le=1, description="share of a reference event that must be covered")
    cttc: float | None = Field(
        None, gt=0, le=1, description="share of a false event that is a confusion; null: none is"
    )
    alpha_ct: float = Field(0.0, ge=0, le=1, description="weight of confusions")
    alpha_st: float = Field(0.0, ge=0, description="weight of the differences between classes")
    e_max: float = Field(100.0, gt=0, description="greatest rate of false events, per hour")

    @model_validator(mode="after")
    def _fits(self) -> PsdsConfig:
        if (self.cttc is None) != (self.alpha_ct == 0):
            raise ValueError("cttc and alpha_ct go together: a share and a weight, or null and 0")
        return self


class MetricsConfig(Section):
    """How events are compared (paper, Section 4.3; the collars as DCASE 2018 computes them)."""

    segment: float = Field(1.0, ge=0.001, description="length of a segment, seconds")
    onset_collar: float = Field(0.2, ge=0, description="tolerance of an onset, seconds")
    offset_collar: float = Field(0.2, ge=0, description="tolerance of an offset, seconds")
    offset_rate: float = Field(0.2, ge=0, description="tolerance of an offset as a share of the event's length")
    offset_tolerance: Literal["max", "min"] = Field("max", description="the larger or the smaller of the two applies")
    matching: Literal["optimal", "greedy"] = Field(
        "optimal", description="match as many events as possible, or each with the first that fits"
    )
    intersection_dtc: float = Field(0.5, gt=0, le=1, description="share of a detected event that must be covered")
    intersection_gtc: float = Field(0.5, gt=0, le=1, description="share of a reference event that must be covered")
    psds: PsdsConfig | None = Field(None, description="a PSDS of one's own, beside DCASE's scenarios 1 and 2")
    resamples: int = Field(1000, ge=0, description="bootstrap resamples of the clips behind intervals; 0 for none")
    confidence: float = Field(0.95, gt=0, lt=1, description="share of resamples in an interval")

    @property
    def collars(self) -> dict[str, Any]:
        """The options of `avsed.metrics.event_based` and `avsed.metrics.event_sweep` that say which events may match."""
        names = ("onset_collar", "offset_collar", "offset_rate", "offset_tolerance")
        return {name: getattr(self, name) for name in names}

    @property
    def shares(self) -> dict[str, Any]:
        """The options of `avsed.metrics.intersection_based` and `avsed.metrics.intersection_sweep`."""
        return {"dtc": self.intersection_dtc, "gtc": self.intersection_gtc}


class Config(Section):
    """Everything that shapes a training and its scores."""

    data: DataConfig = DataConfig()
    inputs: tuple[str, ...] = Field(
        ("spectral",), description="what the model takes: spectral, auditory, visual, or extractors by name"
    )
    features: LogMelParameters = LogMelParameters()
    extractors: ExtractorsConfig = ExtractorsConfig()
    fusion: FusionConfig = FusionConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    postprocessing: PostprocessingConfig = PostprocessingConfig()
    metrics: MetricsConfig = MetricsConfig()
    seed: int = Field(0, ge=0, le=LAST_SEED, description="seed of initial weights, order of clips and dropout")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int | None = Field(None, ge=1, description="threads of PyTorch on the CPU; null for all cores")

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, values: Any) -> Any:
        """A section without keys is null in YAML."""
        if not isinstance(values, Mapping):
            return values
        empty: dict[str, Any] = {
            name: {}
            for name, field in cls.model_fields.items()
            if values.get(name, 0) is None and fields(field.annotation)
        }
        return {**values, **empty}

    @field_validator("inputs", mode="before")
    @classmethod
    def _joined(cls, value: Any) -> Any:
        """``spectral+visual`` is a list of two."""
        return value.split("+") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _streams(self) -> Config:
        roles = ("spectral", "auditory", "visual")
        for name in self.inputs:
            if name not in roles and name not in MODALITIES:
                known = (*roles, *MODALITIES)
                raise ValueError(f"inputs: {name!r} is unknown{nearest(name, known)}; known are {', '.join(known)}")
        if not self.inputs or len(set(self.streams)) < len(self.inputs):
            raise ValueError(f"inputs: expected at least one, and each once, got {'+'.join(self.inputs) or 'none'}")
        return self

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the extractors that the model takes, the spectral one first, then the ears, then the eyes."""
        roles = {"spectral": LOGMEL, "auditory": self.fusion.auditory, "visual": self.fusion.visual}
        return tuple(sorted({roles.get(name, name) for name in self.inputs}, key=list(MODALITIES).index))

    @property
    def spectral(self) -> bool:
        """Whether the model takes log-mel spectra."""
        return LOGMEL in self.streams

    @property
    def reduced(self) -> dict[str, int]:
        """The pretrained streams, and how many values each is reduced to."""
        sizes = PAPER_SIZES[self.spectral]
        return {name: self.fusion.sizes.get(name, sizes[MODALITIES[name]]) for name in self.streams if name != LOGMEL}

    @model_validator(mode="after")
    def _bands(self) -> Config:
        if self.features.bands != self.model.band_pool:
            raise ValueError(
                f"features.bands is {self.features.bands}, but model.pools reduce {self.model.band_pool} bands to one"
            )
        return self

    @model_validator(mode="after")
    def _strong(self) -> Config:
        size = self.training.strong_batch
        if size and self.data.strong is None:
            raise ValueError(f"training.strong_batch is {size}, but data.strong names no split of clips with events")
        return self

    @model_validator(mode="after")
    def _apart(self) -> Config:
        for learned, scored in product(("weak", "strong", "unlabelled"), ("validation", "test")):
            name = getattr(self.data, learned)
            if name is not None and name == getattr(self.data, scored):
                raise ValueError(
                    f"data.{learned} and data.{scored} are both {name!r}: a training must not learn from what it is scored on"
                )
        return self

    @model_validator(mode="after")
    def _stretches(self) -> Config:
        filters, bands = self.training.augmentation.filters, self.features.bands
        if filters is not None and filters.bands[0] * filters.width > bands:
            raise ValueError(
                f"training.augmentation.filters: {filters.bands[0]} stretches of at least {filters.width} bands are more than "
                f"{bands} bands; lower bands or width"
            )
        return self

    def located(self) -> Config:
        """The same with absolute paths of the data set and of weights, which mean the same wherever they are read."""
        root = None if self.data.root is None else self.data.root.absolute()
        data = self.data.model_copy(update={"root": root})
        return self.model_copy(update={"data": data, "extractors": self.extractors.located()})

    def to_yaml(self) -> str:
        """The whole configuration, defaults included, as YAML that `load_config` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def save(self, path: str | Path) -> None:
        write_text(path, self.to_yaml())

    def differences(self, other: Config, *, passing: Collection[str] = ()) -> list[str]:
        """Dotted keys whose values differ, as ``training.steps: 500 -> 600``; passing : keys that may differ."""
        mine, theirs = flatten(self.model_dump(mode="json")), flatten(other.model_dump(mode="json"))
        keys = sorted((mine.keys() | theirs.keys()) - set(passing))
        return [f"{key}: {mine.get(key)} -> {theirs.get(key)}" for key in keys if mine.get(key) != theirs.get(key)]


C = TypeVar("C", bound=Config)


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file (or start from the defaults) and apply ``KEY=VALUE`` overrides with dotted keys and YAML values.

    The section ``study`` of a file is for 'avsed study' alone and is passed over.

    Raises ConfigError naming the file or the override, the key (with the nearest known one) and what was expected.
    """
    values, source = read_values(path, overrides)
    values.pop(STUDY, None)
    return make_config(values, source=source, overrides=overrides)


def make_config(values: Mapping[str, Any], *, source: str, overrides: Sequence[str] = ()) -> Config:
    """Check nested values and make the configuration of them; ``source`` is named in errors."""
    return make(Config, values, source=source, overrides=overrides)


def make(kind: type[C], values: Mapping[str, Any], *, source: str, overrides: Sequence[str] = ()) -> C:
    """The same for a configuration with further sections."""
    values = dict(values)
    for override in overrides:
        override_value(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(explain(item, kind) for item in error.errors())) from error
