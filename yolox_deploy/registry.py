"""Tables of what can be chosen by name, which other packages can extend through entry points.

Backends, targets, tasks, heads, tails, sinks and scenarios are rows of such tables.  Another
package adds a row in its ``pyproject.toml``, without a change in this one::

    [project.entry-points."yolox_deploy.backends"]
    my_engine = "my_package:BACKEND"
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar

from yolox_deploy.errors import ExtensionWarning, UsageError, suggest


class Row(Protocol):
    """A row of a table: anything that has a name."""

    @property
    def name(self) -> str:
        """The name that the row is chosen by."""
        ...


AnyRow = TypeVar("AnyRow", bound=Row)


class Registry(Mapping[str, AnyRow]):
    """Rows by name, in order: those of this package, then those of entry points.

    ``kind`` is what a row is called in messages, ``group`` the group of entry points.  An entry
    point gives a row, or a class that makes the row without arguments.  Entry points are loaded
    when the table is first looked at.  One that cannot be loaded, or whose name is taken, is left
    out with an :class:`~yolox_deploy.errors.ExtensionWarning`.
    """

    def __init__(self, kind: str, group: str, rows: Iterable[AnyRow]) -> None:
        self.kind = kind
        self.group = group
        self._rows: dict[str, AnyRow] = {row.name: row for row in rows}
        self._complete = False

    def __getitem__(self, name: str) -> AnyRow:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def choose(self, name: str, *others: str) -> AnyRow:
        """Return the row called ``name``; ``others`` are words that a message names as well.

        Raises :class:`UsageError` for any other name.
        """
        if name not in self:
            known = (*others, *self)
            raise UsageError(
                f"unknown {self.kind} {name!r}: expected {', '.join(known)}" + suggest(name, known)
            )
        return self[name]

    def _all(self) -> dict[str, AnyRow]:
        if not self._complete:
            # First, because a row's module may look at this table while it is loaded.
            self._complete = True
            for point in entry_points(group=self.group):
                self._add(point)
        return self._rows

    def _add(self, point: EntryPoint) -> None:
        problem = ""
        try:
            row: Any = point.load()
            row = row() if isinstance(row, type) else row
            if self._rows.setdefault(row.name, row) is not row:
                problem = f": there is a {self.kind} {row.name!r} already"
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            problem = f", it cannot be loaded ({reason})"
        if problem:
            package = point.dist.name if point.dist else point.value
            warnings.warn(
                f"the {self.kind} {point.name!r} of the package {package} was left out{problem}",
                ExtensionWarning,
                stacklevel=5,
            )


def resolve(place: str) -> Any:
    """Return what ``"package.module:attribute"`` names, importing the module.

    Raises ``ImportError`` or ``AttributeError`` where there is no such thing.
    """
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
