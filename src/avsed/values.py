"""Nested values of a configuration before they are checked: from YAML files and ``--set KEY=VALUE``; and with dotted keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from avsed.errors import ConfigError


def read_values(path: str | Path | None, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], str]:
    """The nested values of a YAML file, and what errors call it together with the overrides, which are not applied."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot read the configuration: {error}") from error
        read = _parse(text, str(path))
        if read is not None and not isinstance(read, dict):
            raise ConfigError(f"{path}: expected sections such as 'training:', found a {type(read).__name__}")
        values = read or {}
    given = "the options given" if overrides else "the defaults"
    source = given if path is None else f"{path} with {given}" if overrides else str(path)
    return values, source


def override_value(values: dict[str, Any], override: str) -> None:
    """Put ``KEY=VALUE``, with a dotted key and a YAML value, into nested values. Raises ConfigError, naming the override."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: expected KEY=VALUE, such as --set training.steps=500")
    value = _parse(text, f"--set {override}")
    *sections, last = key.strip().split(".")
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {section!r} is a value, not a section")
    values[last] = value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def section_of(setting: str) -> str:
    """The section that an override ``KEY=VALUE`` is of."""
    return setting.partition("=")[0].split(".")[0].strip()


def check_sections(settings: Sequence[str], known: Sequence[str], why: str) -> None:
    """Raise ConfigError, telling why, for an override of another section than those that are known here: it would do nothing."""
    odd = next((setting for setting in settings if section_of(setting) not in known), None)
    if odd is not None:
        raise ConfigError(f"--set {odd}: {why}; only {', '.join(known[:-1])} and {known[-1]} change")


def _parse(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{source}{place}: not valid YAML: {said}") from error
    except Exception as error:
        # What Python says of a date or a tagged value (2018-13-45, !!int x) passes through PyYAML.
        raise ConfigError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
