"""Dataclasses that are stored as JSON: the fields and their types say how.

A :class:`Record` is written, described by a JSON schema and read back from its fields alone, so
nothing has to be declared twice.  Words of the schema that no Python type has are added with
``Annotated`` and :class:`Words`::

    @dataclass(frozen=True)
    class Trial(Record):
        rate: Amount
        held: bool

A field with a default value may be missing in a stored file, and a stored field that the class does
not have is ignored: so files of older versions can still be read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin, get_type_hints

Schema = dict[str, Any]


class Words:
    """Further words of a field's schema."""

    def __init__(self, **words: Any) -> None:
        self.words = words


Amount = Annotated[float, Words(minimum=0)]
Share = Annotated[float, Words(minimum=0, maximum=1)]
Count = Annotated[int, Words(minimum=0)]
Side = Annotated[int, Words(minimum=1, maximum=1_000_000)]

PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string", NoneType: "null"}
# X | None is one of these, depending on X.
OPTIONAL = (Union, UnionType)


class Record:
    """The base class of such a dataclass."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {name: _stored(getattr(self, name)) for name in _hints(type(self))}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what :meth:`to_json` gave; the content was checked against the schema."""
        hints = _hints(cls)
        return cls(**{name: _read(hints[name], content[name]) for name in hints if name in content})

    @classmethod
    def schema(cls) -> Schema:
        """Return the JSON schema of what :meth:`to_json` gives."""
        missing = dataclasses.MISSING
        required = [
            field.name
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
            if field.default is missing and field.default_factory is missing
        ]
        properties = {name: _schema(hint) for name, hint in _hints(cls).items()}
        return {"type": "object", "properties": properties, "required": required}


def _hints(cls: Any) -> dict[str, Any]:
    """Return the type of each field, by name."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _stored(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, Mapping):
        return {key: _stored(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_stored(inner) for inner in value]
    return value


def _read(hint: Any, value: Any) -> Any:
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return _read(inner[0], value)
    if kind in OPTIONAL:
        return None if value is None else _read(inner[0], value)
    if kind is Sequence:
        return tuple(_read(inner[0], item) for item in value)
    if kind is Mapping:
        return {key: _read(inner[1], item) for key, item in value.items()}
    return hint.from_json(value) if _is_record(hint) else value


def _schema(hint: Any) -> Schema:
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return {**_schema(inner[0]), **inner[1].words}
    if kind in OPTIONAL:
        return {"anyOf": [_schema(choice) for choice in inner]}
    if kind is Sequence:
        return {"type": "array", "items": _schema(inner[0])}
    if kind is Mapping:
        return {"type": "object", "additionalProperties": _schema(inner[1])}
    if hint is Any:
        return {}
    return hint.schema() if _is_record(hint) else {"type": PLAIN[hint]}


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Record)
