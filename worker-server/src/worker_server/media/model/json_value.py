"""Turns the package's frozen dataclasses into JSON values and back."""

import dataclasses
import types
import typing
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any, Self


class JsonValue:
    """A mixin for dataclasses of numbers, strings, enums, fractions, paths and the like."""

    def to_json(self) -> dict[str, Any]:
        """Return what `json.dumps` takes; fractions become text, so that they stay exact."""
        return {name: _plain(getattr(self, name)) for name in _types(type(self))}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Parse what `to_json` returned.

        Raise KeyError for a missing field, ValueError for a wrong fraction or enum; the types of
        other values are not checked.
        """
        return cls(**{name: _typed(values[name], kind) for name, kind in _types(cls).items()})


def _types(cls: type) -> dict[str, Any]:
    annotations = typing.get_type_hints(cls)
    return {field.name: annotations[field.name] for field in dataclasses.fields(cls)}


def _plain(value: object) -> object:
    if isinstance(value, JsonValue):
        return value.to_json()
    return str(value) if isinstance(value, Fraction | Path) else value


def _typed(value: Any, kind: Any) -> object:  # noqa: ANN401 # JSON has no types
    if isinstance(kind, types.UnionType):  # X | None
        if value is None:
            return None
        kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
    if kind in (Fraction, Path):
        return kind(value)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(value)
    if isinstance(kind, type) and issubclass(kind, JsonValue):
        return kind.from_json(value)
    return value
