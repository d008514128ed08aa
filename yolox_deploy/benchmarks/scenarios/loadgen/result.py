"""What MLPerf LoadGen found, stored as JSON and shown: verdicts, latencies, rates, AP."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.scenarios.base import AP_HEADERS, ApFigures, Result, Table
from yolox_deploy.benchmarks.scenarios.charts import chart
from yolox_deploy.data.ap import figure_text
from yolox_deploy.records import Amount, Count, Record, Side, Words

# The percentiles that LoadGen writes down, beside minimum, mean and maximum.
PERCENTS = (50.0, 90.0, 95.0, 97.0, 99.0, 99.9)
LATENCY_NAMES = ["min", "mean", *map(str, PERCENTS), "max"]
# By scenario: its result in one cell, and what its latencies are.
RESULTS = {
    "single-stream": "p{percent:g} {ms:.2f} ms",
    "multi-stream": "p{percent:g} {ms:.2f} ms for {count} pictures",
    "server": "{rate:.1f} queries/s, p{percent:g} {ms:.2f} ms, bound {bound:g} ms",
    "offline": "{rate:.1f} pictures/s",
}
LATENCIES = {
    "single-stream": "Latencies are those of single pictures.",
    "multi-stream": "Latencies are those of whole queries.",
    "server": "Latencies count from the arrival of a query, and include its waiting.",
    "offline": "Latencies count from the start, when all pictures are handed over.",
}


@dataclass(frozen=True)
class Trial(Record):
    """One short test of the search: whether the bound held at ``rate`` queries per second."""

    rate: Amount
    seconds: Amount
    held: bool


@dataclass(frozen=True)
class LoadgenTest(Record):
    """LoadGen's test of one system.

    ``seconds`` are latencies by name (``min``, ``mean``, ``50.0`` ... ``99.9``, ``max``), in
    multi-stream those of whole queries.  ``rate`` is in pictures per second, in server the rate of
    arrivals that was asked for.  ``estimate`` is LoadGen's early-stopping estimate of the
    ``percent`` th percentile in seconds, ``bound`` server's latency bound.  ``logs`` is the folder
    of LoadGen's own files.
    """

    label: str
    valid: bool
    why_not: str
    queries: Count
    pictures_per_query: Side
    percent: Annotated[float, Words(enum=list(PERCENTS))]
    seconds: Annotated[Mapping[str, Amount], Words(required=LATENCY_NAMES)]
    rate: Amount
    estimate: Amount | None
    bound: Amount | None
    logs: str
    search: Sequence[Trial]
    ap: ApFigures | None

    @property
    def verdict(self) -> str:
        """LoadGen's word."""
        return "VALID" if self.valid else "INVALID"

    @property
    def at_percent(self) -> float:
        """Seconds at the scenario's percentile."""
        return self.seconds[str(self.percent)]

    def result(self, scenario: str) -> str:
        """Return the result in one cell of a table."""
        return RESULTS[scenario].format(
            rate=self.rate,
            percent=self.percent,
            ms=self.at_percent * 1e3,
            count=self.pictures_per_query,
            bound=(self.bound or 0) * 1e3,
        )


@dataclass(frozen=True)
class LoadgenResult(Result):
    """The tests of all systems in one scenario."""

    PER_SYSTEM = ("tests",)

    scenario: Annotated[str, Words(enum=list(RESULTS))]
    version: str
    thresholds: str
    tests: Sequence[LoadgenTest]

    def tables(self, systems: Sequence[SystemInfo]) -> list[Table]:
        reasons = [[t.label, t.why_not] for t in self.tests if not t.valid]
        ap = [
            [t.label, *(figure_text(t.ap[key]) for key in AP_HEADERS)]
            for t in self.tests
            if t.ap is not None
        ]
        tables = [
            self._verdicts(),
            self._latencies(),
            Table("Why not valid", ("system", "reason"), reasons),
            *(_search(t) for t in self.tests),
            Table("Accuracy mode of the same tests", ("system", *AP_HEADERS.values()), ap),
        ]
        return [table for table in tables if table.rows]

    def _verdicts(self) -> Table:
        cells = [
            {
                "system": t.label,
                "LoadGen says": t.verdict,
                "result": t.result(self.scenario),
            }
            for t in self.tests
        ]
        logs = os.path.commonpath([t.logs for t in self.tests])
        note = f"Thresholds: {self.thresholds}. LoadGen's logs: {logs}"
        return Table.of(f"MLPerf LoadGen {self.version}", cells, note)

    def _latencies(self) -> Table:
        shown = {"p50 ms": "50.0", "p90 ms": "90.0", "p99 ms": "99.0", "max ms": "max"}
        cells = [
            {
                "system": t.label,
                **{name: f"{t.seconds[key] * 1e3:.2f}" for name, key in shown.items()},
                "queries": str(t.queries),
                "early-stopping estimate": "-"
                if t.estimate is None
                else f"p{t.percent:g} {t.estimate * 1e3:.2f} ms",
            }
            for t in self.tests
        ]
        return Table.of("Latencies", cells, LATENCIES[self.scenario])

    def advice(self, systems: Sequence[SystemInfo]) -> list[str]:
        return [
            f"{t.label} is not valid: {t.why_not}. Measure again on a quiet machine, or with a "
            "longer --duration or a larger --min-count"
            for t in self.tests
            if not t.valid
        ]

    def plot(self, systems: Sequence[SystemInfo], path: Path) -> None:
        with chart(path) as axes:
            for test in self.tests:
                values = [test.seconds[str(p)] * 1e3 for p in PERCENTS]
                label = f"{test.label} ({test.verdict})"
                axes.plot([f"p{p:g}" for p in PERCENTS], values, marker="o", label=label)
            bound = self.tests[0].bound if self.tests else None
            if bound:
                axes.axhline(bound * 1e3, color="grey", linestyle="--", label="bound")
            axes.set_ylabel("latency, ms")
            axes.set_ylim(bottom=0)
            axes.set_title(f"MLPerf {self.scenario}")
            axes.legend()


def _search(test: LoadgenTest) -> Table:
    cells = [
        {
            "queries/s": f"{t.rate:.1f}",
            f"p{test.percent:g} ms": f"{t.seconds * 1e3:.2f}",
            "within the bound": "yes" if t.held else "no",
        }
        for t in test.search
    ]
    return Table.of(f"Search for the highest rate: {test.label}", cells)
