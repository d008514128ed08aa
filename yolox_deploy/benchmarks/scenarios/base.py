"""What a scenario is made of: its row, what it is given, and the result that it returns."""

from __future__ import annotations

import argparse
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, cast

from yolox_deploy.benchmarks.measure.systems import System, SystemInfo
from yolox_deploy.errors import ExtensionError
from yolox_deploy.records import Record, Words

# COCO's AP figures (0..1), and what a table calls them.
AP_HEADERS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}
AP_HEADERS |= {"ap_small": "APs", "ap_medium": "APm", "ap_large": "APl"}
# None is the figure of a size that no object has.
SHARE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
ApFigures = Annotated[
    Mapping[str, Any], Words(required=list(AP_HEADERS), additionalProperties=SHARE)
]


def whole_number(least: int, most: int = 1_000_000) -> Callable[[str], int]:
    """Return the ``type`` of an option that takes a whole number from ``least`` to ``most``."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, got {text}") from None
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"must lie in {least}..{most}, got {number}")
        return number

    return read


@dataclass(frozen=True)
class Table:
    """A table of a report: every cell is text, the note stands below the table."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    @classmethod
    def of(cls, title: str, cells: Sequence[Mapping[str, str]], note: str = "") -> Table:
        """Return a table of rows that map each header to a cell."""
        return cls(title, list(*cells[:1]), [list(row.values()) for row in cells], note)


class Result(Record, ABC):
    """What a scenario found, a dataclass.

    Only its fields are stored, so tables, advice and charts must be made from the fields alone.
    ``PER_SYSTEM`` names the fields that have one entry for each system, in the same order.
    """

    PER_SYSTEM: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def tables(self, systems: Sequence[SystemInfo]) -> list[Table]:
        """Return the tables of the report; the first is what a terminal shows without ``--full``.

        It should be short: at most 80 columns with names of usual length.
        """

    def advice(self, systems: Sequence[SystemInfo]) -> list[str]:
        """Return sentences of advice that the numbers justify."""
        return []

    def quiet_advice(self, systems: Sequence[SystemInfo]) -> list[str]:
        """Return more of it, which is not given if other programs used the processors."""
        return []

    @abstractmethod
    def plot(self, systems: Sequence[SystemInfo], path: Path) -> None:
        """Write a chart to ``path`` with :func:`scenarios.charts.chart`."""


@dataclass
class Context:
    """What ``measure`` is given: the opened systems, how long to measure, and the options.

    ``begin`` is told the name of each stage, ``advance`` how much of the stage is done (steps, or
    seconds), how much there is, and perhaps what comes now.  Both draw on the terminal at once:
    call them only between measurements.
    """

    scenario: str
    systems: Sequence[System]
    seconds: float
    min_count: int
    arguments: argparse.Namespace
    begin: Callable[[str], None] = lambda stage: None
    advance: Callable[..., None] = lambda done, total, now="": None


class Module(Protocol):
    """The module of a scenario."""

    RESULT: ClassVar[type[Result]]

    def add_arguments(self, group: Any) -> None:
        """Add the scenario's own options to a group of ``argparse``."""

    def check(self, arguments: argparse.Namespace) -> None:
        """Raise :class:`UsageError` for options that cannot be measured."""

    def measure(self, context: Context) -> Result:
        """Measure the systems."""
        ...


@dataclass(frozen=True)
class Scenario:
    """A row of the table: a name, the question that the scenario answers, and its module."""

    name: str
    question: str
    module: str

    def load(self) -> Module:
        """Import the module; raises :class:`ExtensionError` if it lacks what a scenario needs."""
        try:
            module: Any = importlib.import_module(self.module)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ExtensionError(
                f"the scenario {self.name} cannot be used: its module {self.module} cannot be "
                f"imported ({reason})"
            ) from error
        result: Any = getattr(module, "RESULT", None)
        fits = isinstance(result, type) and issubclass(result, Result) and is_dataclass(result)
        names = ("RESULT", "add_arguments", "check", "measure")
        if lacking := [name for name in names if not hasattr(module, name)]:
            wrong = f"its module {self.module} lacks {', '.join(lacking)}"
        elif not fits:
            wrong = f"RESULT of {self.module} must be a dataclass and subclass of Result"
        elif lacking := sorted(result.__abstractmethods__):
            wrong = f"its class {result.__name__} lacks {', '.join(lacking)}"
        else:
            return cast(Module, module)
        raise ExtensionError(f"the scenario {self.name} cannot be used: {wrong}")
