"""The result of ``yolox-plan``: stored as JSON, shown as tables, drawn as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolox_deploy.benchmarks.machine.environment import Environment
from yolox_deploy.benchmarks.measure.statistics import percentile_interval
from yolox_deploy.benchmarks.planning.candidates import Candidate, Demand
from yolox_deploy.benchmarks.planning.policy import Scheduler
from yolox_deploy.benchmarks.scenarios.base import Table
from yolox_deploy.benchmarks.scenarios.charts import chart
from yolox_deploy.data.ap import figure_text
from yolox_deploy.data.matches import ends
from yolox_deploy.errors import in_short
from yolox_deploy.files import write_document
from yolox_deploy.opening.plans import PLAN
from yolox_deploy.records import Amount, Count, Record, Schema, Share, Side

# What people with any kind of colour vision can tell apart: https://jfly.uni-koeln.de/color/
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class Row(Record):
    """What was measured of a candidate; times are milliseconds per picture.

    ``p99_interval`` is the 95 % confidence interval of ``p99_ms``, empty if it was dropped.  ``ap``
    is that on the first ``pictures`` (0: it was not measured), ``ap_interval`` its 95 % interval
    over draws of them.  ``dropped`` says why the candidate was dropped early, ``misses`` which
    demands it does not meet.  ``front`` is whether no other candidate beats it in both p99 and AP.
    """

    candidate: Candidate
    calls: Count
    p50_ms: Amount
    p99_ms: Amount
    p99_interval: Sequence[Amount]
    ap: Share | None
    ap_interval: Sequence[Share]
    pictures: Count
    memory_mb: Amount | None
    front: bool
    misses: Sequence[str]
    dropped: str


@dataclass(frozen=True)
class Promise(Record):
    """What MLPerf LoadGen says: ``verdict`` is VALID or INVALID, or "not run" and ``reason`` why.

    ``p99_ms`` is LoadGen's early-stopping estimate for a query of ``pictures`` pictures: it is 99 %
    sure that the 99th percentile is not above it.  ``held`` is whether the demand is.
    """

    verdict: str
    reason: str
    held: bool
    pictures: Side
    queries: Count
    p99_ms: Amount | None

    def __str__(self) -> str:
        if self.p99_ms is None:
            return f"LoadGen: {self.verdict}: {self.reason}"
        pictures = f" for {self.pictures} pictures" if self.pictures > 1 else ""
        text = f"LoadGen: {self.verdict}, p99 {self.p99_ms:.1f} ms{pictures}"
        return f"{text}: {self.reason}" if self.reason else f"{text}, {self.queries} queries"


@dataclass(frozen=True)
class Artifact(Record):
    """What ``Detector("plan.json")`` opens: a file beside it, and the SHA-256 of all its files."""

    path: str
    sha256: Mapping[str, str]
    backend: str
    device: str
    precision: str
    threads: int | None


@dataclass(frozen=True)
class Plan(Record):
    """Everything that was found.

    ``recommended`` and ``equal`` are places in ``rows``: the choice (``None``: nothing meets the
    demand), and what is as good as far as can be told.  ``reason`` says why, or what comes nearest.
    ``proof`` is the verdict on the choice as it was run here, ``artifact`` what was written.
    """

    command: str
    created: str
    demand: Demand
    data: str
    environment: Environment
    rows: Sequence[Row]
    recommended: Count | None
    equal: Sequence[Count]
    reason: str
    proof: str
    promise: Promise | None
    artifact: Artifact | None
    notes: Sequence[str]

    def write(self, path: Path) -> None:
        """Write the plan as JSON; raises :class:`OutputError`."""
        write_document(path, PLAN, self.to_json())

    @classmethod
    def schema(cls) -> Schema:
        """Return the JSON schema of the file."""
        plain = super().schema()
        plain["properties"] |= {"format": {"const": PLAN}, "version": {"const": 1}}
        return {**plain, "required": ["format", "version", *plain["required"]]}

    def front(self) -> Table:
        """Return the table of the front, and of what is as good as the choice."""
        shown = [i for i, row in enumerate(self.rows) if row.front or i in self.equal]
        cells = [
            {
                **self.rows[i].candidate.cells(),
                "p50 ms": f"{self.rows[i].p50_ms:.1f}",
                "p99 ms": f"{self.rows[i].p99_ms:.1f}",
                "AP": f"{self.rows[i].ap or 0:.3f}",
                "": self._mark(i),
            }
            for i in sorted(shown, key=lambda i: self.rows[i].p99_ms)
        ]
        return Table.of("Pareto front of p99 and AP", cells)

    def _mark(self, i: int) -> str:
        if i == self.recommended:
            return "chosen"
        return "equal" if i in self.equal else "misses" if self.rows[i].misses else ""

    def everything(self) -> Table:
        """Return the table of all candidates, with why each was dropped.

        Times of what was dropped are those of other rounds, so only their ratio means something.
        """
        cells = [
            {
                "candidate": str(row.candidate),
                "p99 ms": "-" if row.dropped else f"{row.p99_ms:.1f}",
                "AP": figure_text(row.ap),
                "why not": row.dropped or "; ".join(row.misses),
            }
            for row in sorted(self.rows, key=lambda row: (row.dropped != "", row.p99_ms))
        ]
        return Table.of("All candidates", cells)

    def sentences(self) -> list[str]:
        """Return what stands below the tables; that nothing meets the demand is an error line."""
        doubts = [f"doubtful, because {text}" for text in self.environment.doubts]
        if self.recommended is None:
            return doubts
        names = [str(self.rows[i].candidate) for i in self.equal]
        equal = f"equal, as far as can be told: {in_short(names)}" if names else ""
        proof = f"verification of the choice as it runs here: {self.proof}" if self.proof else ""
        promise = str(self.promise) if self.promise else ""
        return list(filter(None, (self.reason, equal, proof, promise, *doubts)))

    def plot(self, path: Path) -> None:
        """Draw AP against p99 of what was measured to the end.

        Raises :class:`UsageError` for a file that is no chart.
        """
        with chart(path) as axes:
            known = [row for row in self.rows if row.ap is not None and not row.dropped]
            engines = list(dict.fromkeys(row.candidate.backend for row in known))
            for row in known:
                colour = COLOURS[engines.index(row.candidate.backend) % len(COLOURS)]
                axes.scatter(row.p99_ms, row.ap, color=colour)
            front = sorted((r for r in known if r.front), key=lambda row: row.p99_ms)
            axes.step([r.p99_ms for r in front], [r.ap for r in front], "k-", where="post", lw=0.8)
            for row in front:
                text = " ".join([*row.candidate.cells().values()][:3])
                axes.annotate(
                    text, (row.p99_ms, row.ap), (4, 4), textcoords="offset points", size="small"
                )
            for number, engine in enumerate(engines):
                axes.scatter([], [], color=COLOURS[number % len(COLOURS)], label=engine)
            if self.demand.seconds is not None:
                axes.axvline(self.demand.seconds * 1e3, color="grey", ls="--", label="demanded")
            if self.demand.min_ap is not None:
                axes.axhline(self.demand.min_ap, color="grey", ls="--")
            axes.set_xlabel("99th percentile, ms per picture")
            axes.set_ylabel("AP")
            axes.set_xlim(left=0)
            axes.margins(x=0.15)
            axes.legend(frameon=False)
            axes.spines[["top", "right"]].set_visible(False)


def rows_of(scheduler: Scheduler) -> list[Row]:
    """Return what was measured of every candidate."""
    front = scheduler.front()
    rows = []
    for i, candidate in enumerate(scheduler.candidates):
        series, score = scheduler.series[i], scheduler.score(i)
        dropped, memory = scheduler.dropped.get(i, ""), scheduler.memory.get(i)
        ends_s = () if dropped else percentile_interval(series.total, series.rounds, 99)
        rows.append(
            Row(
                candidate=candidate,
                calls=len(series.total),
                p50_ms=series.median * 1e3,
                p99_ms=scheduler.p99(i) * 1e3,
                p99_interval=[seconds * 1e3 for seconds in ends_s],
                ap=score.ap if score else None,
                ap_interval=ends(score.draws) if score else (),
                pictures=score.pictures if score else 0,
                memory_mb=None if memory is None else memory / 1e6,
                front=i in front,
                misses=() if dropped else scheduler.misses(i),
                dropped=dropped,
            )
        )
    return rows
