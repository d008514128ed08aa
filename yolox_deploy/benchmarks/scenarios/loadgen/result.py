"""What MLPerf LoadGen found, kept as JSON and shown: verdicts, latencies, rates, AP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.scenarios.charts import chart
from yolox_deploy.benchmarks.scenarios.base import Table
from yolox_deploy.benchmarks.report.schema import TEXT, record
from yolox_deploy.benchmarks.measure.systems import SystemInfo

# The percentiles that LoadGen writes down, beside minimum, mean and maximum.
PERCENTS = (50.0, 90.0, 95.0, 97.0, 99.0, 99.9)


@dataclass(frozen=True)
class Trial:
    """One short run of the search: whether the bound held at ``rate`` queries a second."""

    rate: float
    seconds: float
    held: bool


@dataclass(frozen=True)
class Verdict:
    """One system in one scenario.

    ``seconds`` are latencies by name (``min``, ``mean``, ``50.0`` ... ``99.9``, ``max``), of whole
    queries in multi-stream.  ``rate`` is in pictures a second, in server the arrivals that were
    asked for.  ``estimate`` is LoadGen's early-stopping estimate of the ``percent`` th percentile
    in seconds, ``bound`` server's latency bound.  ``logs`` is the folder of LoadGen's own files.
    """

    label: str
    valid: bool
    why_not: str
    early_stopping: str
    queries: int
    pictures_per_query: int
    percent: float
    seconds: Mapping[str, float]
    rate: float
    estimate: float | None
    bound: float | None
    logs: str
    search: Sequence[Trial] = ()
    ap: Mapping[str, float] | None = None

    @property
    def verdict(self) -> str:
        """LoadGen's word."""
        return "VALID" if self.valid else "INVALID"

    @property
    def at_percent(self) -> float:
        """Seconds at the scenario's percentile."""
        return self.seconds[str(self.percent)]


@dataclass(frozen=True)
class LoadgenResult:
    """All systems in one scenario."""

    scenario: str
    version: str
    thresholds: str
    tests: Sequence[Verdict] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> LoadgenResult:
        """Return what :meth:`to_json` gave."""
        tests = [
            Verdict(**{**test, "search": tuple(Trial(**trial) for trial in test["search"])})
            for test in content["tests"]
        ]
        return cls(content["scenario"], content["version"], content["thresholds"], tuple(tests))

    def tables(self, systems: Sequence[SystemInfo]) -> list[Table]:
        """Return verdicts and latencies, and where there are any the search, reasons, AP."""
        tables = [self._verdicts()]
        wrong = [[t.label, t.why_not] for t in self.tests if not t.valid]
        if wrong:
            tables.append(Table("Why not valid", ("what", "reason"), wrong))
        tables += [self._search(t) for t in self.tests if t.search]
        if any(t.ap for t in self.tests):
            tables.append(self._accuracy())
        return tables

    def _verdicts(self) -> Table:
        headers = (
            *("what", "LoadGen says", "result", "p50 ms", "p90 ms", "p99 ms", "max ms"),
            *("queries", "early-stopping estimate"),
        )
        rows = [
            [
                t.label,
                t.verdict,
                RESULTS[self.scenario].format(
                    rate=t.rate,
                    percent=t.percent,
                    ms=t.at_percent * 1e3,
                    count=t.pictures_per_query,
                    bound=(t.bound or 0) * 1e3,
                ),
                *(f"{t.seconds[key] * 1e3:.2f}" for key in ("50.0", "90.0", "99.0", "max")),
                str(t.queries),
                "-" if t.estimate is None else f"p{t.percent:g} {t.estimate * 1e3:.2f} ms",
            ]
            for t in self.tests
        ]
        logs = "; ".join(f"{t.label}: {t.logs}" for t in self.tests)
        note = f"{self.thresholds}. {LATENCIES[self.scenario]} LoadGen's logs: {logs}"
        return Table(f"MLPerf LoadGen {self.version}", headers, rows, note)

    def _search(self, test: Verdict) -> Table:
        rows = [
            [f"{t.rate:.1f}", f"{t.seconds * 1e3:.2f}", "yes" if t.held else "no"]
            for t in test.search
        ]
        headers = ("queries/s", f"p{test.percent:g} ms", "within the bound")
        return Table(f"Search for the highest rate: {test.label}", headers, rows)

    def _accuracy(self) -> Table:
        keys = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
        rows = [[t.label, *(f"{t.ap[key]:.4f}" for key in keys)] for t in self.tests if t.ap]
        headers = ("what", "AP", "AP50", "AP75", "APs", "APm", "APl")
        return Table("Accuracy mode, the same system under test", headers, rows)

    def advice(self, systems: Sequence[SystemInfo]) -> list[str]:
        """Return what the verdicts ask for."""
        return [
            f"{t.label} is not valid: {t.why_not}. A rerun on a quiet machine, a longer --duration "
            "or a larger --min-count may mend it"
            for t in self.tests
            if not t.valid
        ]

    def doubts(self, systems: Sequence[SystemInfo]) -> list[str]:
        """Return none: the machine's are all there are."""
        return []

    def plot(self, systems: Sequence[SystemInfo], path: Path) -> None:
        """Draw the percentiles of latency of every system."""
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


LATENCIES = {
    "single-stream": "Latencies are of single pictures.",
    "multi-stream": "Latencies are of whole queries.",
    "server": "Latencies count from a query's arrival, waiting included.",
    "offline": "Latencies count from the start, when all pictures are handed over.",
}
RESULTS = {
    "single-stream": "p{percent:g} {ms:.2f} ms",
    "multi-stream": "p{percent:g} {ms:.2f} ms for {count} pictures",
    "server": "{rate:.1f} queries/s, p{percent:g} {ms:.2f} ms, bound {bound:g} ms",
    "offline": "{rate:.1f} pictures/s",
}

_NUMBER = {"type": "number", "minimum": 0}
_OPTIONAL = {"type": ["number", "null"], "minimum": 0}
_NAMES = ["min", "mean", *map(str, PERCENTS), "max"]
_SHARES = dict.fromkeys(("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"), _NUMBER)
SCHEMA = record(
    scenario={"enum": list(RESULTS)},
    version=TEXT,
    thresholds=TEXT,
    tests={
        "type": "array",
        "items": record(
            label=TEXT,
            valid={"type": "boolean"},
            why_not=TEXT,
            early_stopping=TEXT,
            queries={"type": "integer", "minimum": 0},
            pictures_per_query={"type": "integer", "minimum": 1},
            percent={"enum": list(PERCENTS)},
            seconds=record(**dict.fromkeys(_NAMES, _NUMBER)),
            rate=_NUMBER,
            estimate=_OPTIONAL,
            bound=_OPTIONAL,
            logs=TEXT,
            search={
                "type": "array",
                "items": record(rate=_NUMBER, seconds=_NUMBER, held={"type": "boolean"}),
            },
            ap={"oneOf": [{"type": "null"}, record(**_SHARES)]},
        ),
    },
)
