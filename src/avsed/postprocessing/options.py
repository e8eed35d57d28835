"""What can be chosen about the way from scores to tags and events; nothing here imports numpy.

Most keys hold one value for all classes, or one a class::

    postprocessing:
      threshold: {default: 0.5, Dog: 0.3}      # every class not named has the default
      median_filter: {default: 7, Rain: 1.2 s} # frames, or seconds of the scores' own frames

A class that is itself called ``default`` cannot be given a value of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from avsed.errors import ConfigError, nearest
from avsed.explaining import explain

DEFAULT = "default"
SECTION = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _number(least: float, most: float, *, above: bool = False, none: bool = False) -> Callable[[Any], Any]:
    """Read a number in [least, most], or in (least, most] if it must lie above; ``none`` : null is good, too."""
    edge = "more than" if above else "at least"
    wanted = f"expected a number of {edge} {least:g}" + (f" and at most {most:g}" if most < math.inf else "")

    def read(value: Any) -> float | None:
        if value is None and none:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(wanted)
        if not least <= value <= most or (above and value == least):
            raise ValueError(wanted)
        return float(value)

    return read


def _length(value: Any) -> int | str:
    """Read a filter's length: an odd number of frames, or seconds with their unit."""
    if isinstance(value, str):
        if seconds_of(value) is None:
            raise ValueError("expected an odd number of frames, or seconds such as '0.5 s'")
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("expected a whole number of frames, at least 1, or seconds such as '0.5 s'")
    if value % 2 == 0:
        raise ValueError("the median filter's length in frames must be odd")
    return value


def seconds_of(length: int | str) -> float | None:
    """0.5 of '0.5 s'; None of frames and of what is no length of time."""
    if not isinstance(length, str) or not length.endswith("s"):
        return None
    try:
        seconds = float(length[:-1])
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None


def _per_class(read: Callable[[Any], Any]) -> PlainValidator:
    """One value for all classes, or a mapping from labels (and ``default``) to values."""

    def check(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return read(value)
        if not value:
            raise ValueError("expected a value, or a mapping of labels to values, got an empty one")
        found = {}
        for label, own in value.items():
            if not isinstance(label, str):
                raise ValueError(f"a label must be text, got {label!r}; put it into quotes")
            try:
                found[label] = read(own)
            except ValueError as error:
                raise ValueError(f"for {label!r}: {error}, got {own!r}") from error
        return found

    return PlainValidator(check)


Share = Annotated[float | dict[str, float], _per_class(_number(0, 1))]
Shares = Annotated[float | dict[str, float | None] | None, _per_class(_number(0, 1, none=True))]
Seconds = Annotated[float | dict[str, float], _per_class(_number(0, math.inf))]
Span = Annotated[float | dict[str, float], _per_class(_number(0, math.inf, above=True))]
Difference = Annotated[float | dict[str, float | None] | None, _per_class(_number(0, math.inf, none=True))]
Ratio = Annotated[float | dict[str, float | None] | None, _per_class(_number(1, math.inf, none=True))]
Length = Annotated[int | str | dict[str, int | str], _per_class(_length)]


class BoxesConfig(BaseModel):
    """Sound event bounding boxes; see `avsed.postprocessing.boxes`."""

    model_config = SECTION

    step: Span = Field(0.5, description="length of the step filter, seconds")
    absolute: Difference = Field(
        1.0,
        description="boxes are joined if their highest scores exceed the lowest between them by less; null: whatever",
    )
    relative: Ratio = Field(2.0, description="and by less than this factor; null: whatever")


class PostprocessingConfig(BaseModel):
    """From scores to tags and events; the defaults are the paper's (Section 2.2)."""

    model_config = SECTION

    threshold: Share = Field(0.5, description="a probability of at least this much is a decision for the class")
    tag_threshold: Shares = Field(None, description="the same for clip tags; null: as for events")
    median_filter: Length = Field(7, description="odd number of frames, or seconds as '0.5 s'; 1 for none")
    hysteresis: Shares = Field(
        None, description="events extend as far as scores reach this lower threshold; null: none"
    )
    minimum_gap: Seconds = Field(0.0, description="shorter gaps between two events of a class are filled, seconds")
    minimum_duration: Seconds = Field(0.0, description="events that are shorter after that are dropped, seconds")
    boxes: BoxesConfig | None = Field(
        None, description="bounding boxes with a confidence, in place of the median filter and runs of frames"
    )

    @model_validator(mode="after")
    def _fits(self) -> PostprocessingConfig:
        if self.boxes is not None and self.hysteresis is not None:
            raise ValueError("hysteresis belongs to runs of frames: set it to null, or boxes")
        named = [self.threshold, self.hysteresis]
        for label in sorted({label for value in named if isinstance(value, dict) for label in value} | {DEFAULT}):
            high, low = (value.get(label, value.get(DEFAULT)) if isinstance(value, dict) else value for value in named)
            if high is not None and low is not None and low > high:
                whose = "" if label == DEFAULT else f" of {label}"
                raise ValueError(f"hysteresis is the lower threshold: {low:g}{whose} is above threshold {high:g}")
        return self

    @property
    def sweepable(self) -> bool:
        """Whether the events at every threshold are those of one set of candidates.

        Hysteresis, minimum gap and minimum duration shape the events *after* a threshold has been chosen, so that metrics
        over all thresholds (PSDS, best F1) are of systems without them.
        """
        after = self.hysteresis, self.minimum_gap, self.minimum_duration
        return not any(any(x.values()) if isinstance(x, dict) else x for x in after)

    def check_labels(self, labels: Sequence[str]) -> None:
        """Raise ConfigError if a value is for a class that there is not, or a class has no value; see `by_class`."""
        for name in type(self).model_fields:
            if name != "boxes":
                by_class(getattr(self, name), labels, key=name)
        for name in BoxesConfig.model_fields if self.boxes is not None else ():
            by_class(getattr(self.boxes, name), labels, key=f"boxes.{name}")

    def at(self, threshold: float) -> PostprocessingConfig:
        """The same with one threshold for all classes, events and tags.

        Raises ConfigError if it is below that of the hysteresis.
        """
        return make_postprocessing(
            self.model_dump() | {"threshold": threshold, "tag_threshold": None}, source=f"threshold {threshold:g}"
        )


def make_postprocessing(values: Any, *, source: str) -> PostprocessingConfig:
    """Check values and make the configuration of them.

    Raises ConfigError naming the source, the key and what was expected.
    """
    try:
        return PostprocessingConfig.model_validate(values)
    except ValidationError as error:
        told = "; ".join(explain(item, PostprocessingConfig) for item in error.errors())
        raise ConfigError(f"{source}: {told}") from error


def by_class(value: Any, labels: Sequence[str], *, key: str) -> list[Any]:
    """The value of each label, of one value or a mapping; ``key`` of ``postprocessing`` is named in errors.

    Raises ConfigError naming a label that there is not, with the nearest one, or one that has no value.
    """
    if not isinstance(value, Mapping):
        return [value] * len(labels)
    for label in value:
        if label != DEFAULT and label not in labels:
            raise ConfigError(
                f"postprocessing.{key}: no class is called {label!r}{nearest(label, labels)}; there are {', '.join(labels)}"
            )
    absent = [label for label in labels if label not in value]
    if absent and DEFAULT not in value:
        raise ConfigError(
            f"postprocessing.{key}: no value for {', '.join(absent)}; name them, or give a '{DEFAULT}' for classes not named"
        )
    return [value[label] if label in value else value[DEFAULT] for label in labels]
