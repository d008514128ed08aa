"""Make a module of a recorded TensorRT binding: a name that a version lacks raises.

The classes have the real methods with the real argument names, properties and enum numbers, and no
behaviour: `unittest.mock.create_autospec` makes objects of them that refuse wrong names, wrong
argument lists, and attributes that are not there.  What an engine computes, whether a value is
accepted, and how the library fails cannot be seen with them.
"""

from __future__ import annotations

import enum
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import create_autospec

RECORDS = {
    record.stem.rpartition("_")[2]: record for record in Path(__file__).parent.glob("*.json")
}
TENSORRT = [version for version, file in RECORDS.items() if "_rtx_" not in file.name]


def replay(version: str) -> ModuleType:
    """Return the recorded binding: enums, empty classes, the functions' and data types' names."""
    content = json.loads(RECORDS[version].read_text("utf-8"))
    module = ModuleType(RECORDS[version].stem.rpartition("_")[0])
    vars(module)["__version__"] = content["version"]
    rows = content["classes"]
    # A base comes before what inherits from it.
    for name in sorted(rows, key=lambda name: len(rows[name]["bases"])):
        bases = tuple(getattr(module, base) for base in rows[name]["bases"])
        setattr(module, name, type(name, bases, _members(rows[name])))
    for name, numbers in content["enums"].items():
        owner, _, inner = name.rpartition(".")
        holder = getattr(module, owner) if owner else module
        kind = _Enum(inner, numbers)  # type: ignore[call-overload]
        setattr(holder, inner, kind)
        if owner:
            # As pybind exports the values of inner enums.
            for member in kind:
                setattr(holder, member.name, member)
    for name, overloads in content["functions"].items():
        setattr(module, name, _function(name, overloads, own=False))
    for name, member in content["data_types"].items():
        setattr(module, name, module.DataType[member])
    return module


def instance(module: ModuleType, name: str, /, **behaviour: Any) -> Any:
    """Return an object of a recorded class: methods by function, properties by value."""
    found = create_autospec(getattr(module, name), instance=True, spec_set=True)
    for key, value in behaviour.items():
        member = getattr(found, key)
        if inspect.isfunction(value) or inspect.ismethod(value):
            member.side_effect = value
        elif callable(getattr(getattr(module, name), key)):
            member.return_value = value
        else:
            setattr(found, key, value)
    return found


class _Enum(enum.Enum):
    """Members that are numbers only when asked, as pybind's."""

    def __int__(self) -> int:
        return int(self.value)


def _members(row: dict[str, Any]) -> dict[str, Any]:
    members: dict[str, Any] = {
        name: _function(name, overloads, own=True) for name, overloads in row["methods"].items()
    }
    members |= {name: _property(name, kind) for name, kind in row["properties"].items()}
    return members


def _property(name: str, kind: str) -> property:
    def read(self: object) -> None:
        raise AssertionError(f"{name} was read, and a recording has no values: give the test one")

    def write(self: object, value: object) -> None:
        """Accept anything."""

    return property(read, write if "write" in kind else None)


def _function(name: str, overloads: list[str], *, own: bool) -> Any:
    """Return an empty function with the arguments that the overloads take together."""
    every = [[a for a in one.split(", ") if a] for one in overloads]
    known = [{a.rstrip("=") for a in one} for one in every]
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)] if own else []
    for argument in dict.fromkeys(a for one in every for a in one):
        plain = argument.rstrip("=")
        if plain.startswith("*"):
            kind = (
                inspect.Parameter.VAR_KEYWORD if "**" in plain else inspect.Parameter.VAR_POSITIONAL
            )
            parameters.append(inspect.Parameter(plain.lstrip("*"), kind))
            continue
        optional = argument.endswith("=") or not all(plain in one for one in known)
        # Arguments without a name of their own can only be given by position.
        unnamed = plain.startswith("arg") and plain[3:].isdigit()
        parameters.append(
            inspect.Parameter(
                plain,
                inspect.Parameter.POSITIONAL_ONLY
                if unnamed
                else inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=None if optional else inspect.Parameter.empty,
            )
        )
    # Python wants what is optional after what is not.
    parameters.sort(key=lambda p: (p.kind, p.default is not inspect.Parameter.empty))

    def empty(*arguments: object, **named: object) -> None:
        signature.bind(*arguments, **named)

    signature = inspect.Signature(parameters)
    empty.__name__ = name
    vars(empty)["__signature__"] = signature
    return empty
