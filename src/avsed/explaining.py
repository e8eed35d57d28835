"""What pydantic finds wrong with nested values, in words for the person who wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from avsed.errors import nearest


def explain(item: Any, kind: type[BaseModel]) -> str:
    """One item of a ValidationError's ``errors()`` for values of a kind: the dotted key, what was expected, what was found."""
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        *sections, key = item["loc"]
        known = _known_keys(sections, kind)
        return f"unknown key {where!r}{nearest(str(key), known)}; known here: {', '.join(known)}"
    message = item["msg"].removeprefix("Value error, ")
    if not where:
        return message
    # What a section as a whole gets wrong says itself what it got.
    got = "" if item["type"] == "value_error" and isinstance(item["input"], Mapping) else f", got {item['input']!r}"
    return f"{where}: {message[0].lower()}{message[1:]}{got}"


def fields(kind: Any) -> Mapping[str, Any]:
    """The keys of a section's type; none for other types."""
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return {}
    return {field.alias or name: field for name, field in kind.model_fields.items()}


def _known_keys(sections: Sequence[str | int], kind: Any) -> list[str]:
    for section in sections:
        if inside := fields(kind):
            kind = inside[str(section)].annotation if section in inside else None
        else:
            kind = get_args(kind)[1] if get_origin(kind) is dict else None
        if get_origin(kind) in (Union, UnionType):  # X | None
            kind = next(option for option in get_args(kind) if option is not NoneType)
    return list(fields(kind))
