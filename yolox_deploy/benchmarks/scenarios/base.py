"""The scenarios of ``yolox-bench``, and what each has to offer.

A scenario is a module with two functions and a result class::

    def add_arguments(group) -> None            # its own arguments, if any
    def measure(context: Context) -> Result     # for the systems that were opened
    RESULT: type[Result]                        # for reading a stored result
    SCHEMA: dict                                # JSON schema of what RESULT.to_json gives

Modules are imported when the command starts, so what is heavy is imported inside ``measure``.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from yolox_deploy.benchmarks.measure.systems import System, SystemInfo


@dataclass(frozen=True)
class Table:
    """A table of a report: cells are texts, a note stands below."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


class Result(Protocol):
    """What a scenario found.  Everything shown is made from what ``to_json`` keeps."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON can hold it (no NaN), in keeping with the schema."""
        ...

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return what :meth:`to_json` gave; the content was checked against the schema."""
        ...

    def tables(self, systems: Sequence[SystemInfo]) -> list[Table]:
        """Return the tables of the report, terminal and Markdown alike."""
        ...

    def advice(self, systems: Sequence[SystemInfo]) -> list[str]:
        """Return sentences that the numbers carry."""
        ...

    def doubts(self, systems: Sequence[SystemInfo]) -> list[str]:
        """Return sentences why the numbers may be wrong, beside those about the machine."""
        ...

    def plot(self, systems: Sequence[SystemInfo], path: Path) -> None:
        """Write a chart to ``path`` (the suffix says which format); raises ``OutputError``."""
        ...


@dataclass
class Context:
    """What a scenario gets: opened systems, its limits, its arguments, and whom to tell.

    ``begin`` is told each stage, ``advance`` how many steps of it are done, of how many.  Both draw
    at once and by no thread: call them between measurements only.
    """

    scenario: str
    systems: Sequence[System]
    seconds: float
    min_count: int
    arguments: argparse.Namespace
    begin: Callable[[str], None] = lambda stage: None
    advance: Callable[[int, int], None] = lambda done, of: None


class Module(Protocol):
    """A scenario's module."""

    RESULT: ClassVar[type[Result]]
    SCHEMA: ClassVar[dict[str, Any]]

    def add_arguments(self, group: Any) -> None:
        """Add the scenario's own arguments to an ``argparse`` group."""
        ...

    def measure(self, context: Context) -> Result:
        """Measure and return the result."""
        ...


@dataclass(frozen=True)
class Scenario:
    """One row: the name, what it answers, and the module that measures it."""

    name: str
    question: str
    module: str

    def load(self) -> Module:
        """Import the module."""
        found: Any = importlib.import_module(f"yolox_deploy.benchmarks.{self.module}")
        module: Module = found
        return module


SCENARIOS: dict[str, Scenario] = {
    row.name: row
    for row in (
        Scenario("latency", "how long does a picture take, stage by stage?", "scenarios.latency.scenario"),
        Scenario("single-stream", "MLPerf: one query after the other", "scenarios.loadgen.scenario"),
        Scenario("multi-stream", "MLPerf: queries of several pictures", "scenarios.loadgen.scenario"),
        Scenario("server", "MLPerf: random arrivals under a latency bound", "scenarios.loadgen.scenario"),
        Scenario("offline", "MLPerf: all pictures at once", "scenarios.loadgen.scenario"),
        Scenario("streaming", "AP when the world does not wait (sAP)", "scenarios.streaming.scenario"),
    )
}
