"""Which classes a caller asked for, by name or by id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeGuard

import numpy as np

from yolox_deploy.errors import UsageError, suggest

Classes: TypeAlias = "int | str | Iterable[int | str]"


def as_list(classes: Classes | None) -> list[int | str] | None:
    """Return classes as a list: a single name or id means that one class; ``None`` stays ``None``.

    >>> as_list("person"), as_list(3), as_list(["cat", 5])
    (['person'], [3], ['cat', 5])

    Raises :class:`UsageError` for anything that is neither a name, an id nor a list of them.
    """
    if classes is None:
        return None
    if isinstance(classes, np.ndarray) and not classes.ndim:
        classes = classes.item()
    if isinstance(classes, str) or is_integer(classes):
        return [classes]
    # The elements of bytes are integers, which would pass for class ids.
    if not isinstance(classes, Iterable) or isinstance(classes, (bytes, bytearray)):
        raise UsageError(f"classes are names or ids, or a list of them, got {classes!r}")
    return list(classes)


def class_ids_of(classes: Classes, names: Sequence[str], count: int | None = None) -> list[int]:
    """Return the ids of classes given by name or id.

    ``names`` are the model's class names, ``count`` is the number of classes (default: as many as
    there are names; where there are no names, any id from 0 up is accepted).

    >>> class_ids_of(["dog", 0], ("cat", "dog"))
    [1, 0]

    Raises :class:`UsageError` for a class that there is not.
    """
    if count is None:
        count = len(names) or None
    return [_class_id(item, names, count) for item in as_list(classes) or ()]


def _class_id(item: object, names: Sequence[str], count: int | None) -> int:
    if isinstance(item, str):
        if item in names:
            return names.index(item)
        if not names:
            raise UsageError(f"there are no class names: give a class id instead of {item!r}")
        hint = suggest(item, names)
        if item.isdecimal() and len(item) < 10:
            hint = f"; for a class id give the number {int(item)}, not a text"
        elif "," in item:
            hint = "; give several classes as a list of names"
        raise UsageError(f"the model has no class {item!r}{hint}")
    if not is_integer(item) or item < 0 or (count is not None and item >= count):
        there = "0 or more" if count is None else f"in 0..{count - 1}"
        raise UsageError(f"class id {item!r} is not {there}")
    return int(item)


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number of Python or NumPy, and no truth value."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
