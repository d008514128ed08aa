"""``--scenario latency``: seconds by stage, cold start, memory, and how far from the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.scenarios.latency.advice import latency_advice, placement_doubts
from yolox_deploy.benchmarks.measure.cold_start import ColdStart, cold_starts
from yolox_deploy.benchmarks.measure.costs import Cost, cost_of
from yolox_deploy.benchmarks.machine.environment import machine
from yolox_deploy.benchmarks.machine.exchange import exchange_seconds
from yolox_deploy.benchmarks.scenarios.latency.tables import latency_tables
from yolox_deploy.benchmarks.machine.limits import Limit, measure_limit
from yolox_deploy.benchmarks.measure.loop import STAGES, HarnessCost, Series, harness_cost
from yolox_deploy.benchmarks.measure.loop import measure as measure_series
from yolox_deploy.benchmarks.scenarios.base import Context, Table
from yolox_deploy.benchmarks.report.schema import record
from yolox_deploy.benchmarks.measure.statistics import require_scipy_stats
from yolox_deploy.benchmarks.measure.systems import System, SystemInfo
from yolox_deploy.errors import InputFileError, UsageError
from yolox_deploy.processors import allowed_cores

NUMBERS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
AMOUNT = {"type": "number", "minimum": 0}


def _one_each(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


SCHEMA = record(
    cores=AMOUNT,
    instruction_sets={"type": "array", "items": {"type": "string"}},
    series=_one_each(
        record(
            rounds=NUMBERS,
            **{name: {"anyOf": [NUMBERS, {"type": "null"}]} for name in STAGES},
            total=NUMBERS,
        )
    ),
    cold_starts=_one_each(
        _one_each(
            record(
                import_s=AMOUNT,
                load_s=AMOUNT,
                first_s=AMOUNT,
                peak_bytes={"type": "integer"},
                gpu_bytes={"type": ["integer", "null"]},
            )
        )
    ),
    costs=_one_each(
        {
            "anyOf": [
                {"type": "null"},
                record(
                    gflops=AMOUNT,
                    weights={"type": "integer"},
                    activations={"type": "integer"},
                    source={"type": "string"},
                ),
            ]
        }
    ),
    limits=_one_each(
        record(
            device={"type": "string"},
            precision={"type": "string"},
            threads={"type": ["integer", "null"]},
            gflops=AMOUNT,
            gbytes=AMOUNT,
            library={"type": "string"},
        )
    ),
    harness=record(inside=AMOUNT, between=AMOUNT),
    exchange={"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}},
)


@dataclass(frozen=True)
class LatencyResult:
    """One entry a system in every list but ``limits``; ``cores`` is what the process may use.

    ``exchange`` holds seconds (see :mod:`~yolox_deploy.benchmarks.machine.exchange`) before the first round
    and after each; it is empty where they cannot be measured.
    """

    cores: float
    instruction_sets: Sequence[str]
    series: Sequence[Series]
    cold_starts: Sequence[Sequence[ColdStart]]
    costs: Sequence[Cost | None]
    limits: Sequence[Limit]
    harness: HarnessCost
    exchange: Sequence[float] = ()

    def limit_of(self, system: SystemInfo) -> Limit | None:
        """Return the limit that was measured for a system's precision, threads and device."""
        key = (system.device, system.precision, system.threads)
        return next((x for x in self.limits if (x.device, x.precision, x.threads) == key), None)

    def to_json(self) -> dict[str, Any]:
        """Return every measurement."""
        return {
            "cores": self.cores,
            "instruction_sets": list(self.instruction_sets),
            "series": [series.to_json() for series in self.series],
            "cold_starts": [[start.to_json() for start in starts] for starts in self.cold_starts],
            "costs": [cost and cost.to_json() for cost in self.costs],
            "limits": [limit.to_json() for limit in self.limits],
            "harness": asdict(self.harness),
            "exchange": list(self.exchange),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> LatencyResult:
        """Return what :meth:`to_json` gave; raises :class:`InputFileError` for uneven lists."""
        lists = [content[key] for key in ("series", "cold_starts", "costs")]
        try:
            series = [Series.from_json(entry) for entry in content["series"]]
        except ValueError as error:
            raise InputFileError(f"the report is damaged: {error}") from error
        exchange = content["exchange"]
        rounds = max((int(one.rounds.max()) for one in series), default=0) + 1
        if len({len(entries) for entries in lists}) != 1 or len(exchange) not in (0, rounds + 1):
            raise InputFileError("the report is damaged: its lists differ in length")
        return cls(
            content["cores"],
            content["instruction_sets"],
            series,
            [[ColdStart(**start) for start in starts] for starts in content["cold_starts"]],
            [cost and Cost(**cost) for cost in content["costs"]],
            [Limit(**limit) for limit in content["limits"]],
            HarnessCost(**content["harness"]),
            exchange,
        )

    def tables(self, systems: Sequence[SystemInfo]) -> list[Table]:
        """Return the report's tables."""
        return latency_tables(self, systems)

    def advice(self, systems: Sequence[SystemInfo]) -> list[str]:
        """Return sentences that the numbers carry."""
        return latency_advice(self, systems)

    def doubts(self, systems: Sequence[SystemInfo]) -> list[str]:
        """Return what it cost where the host moved the processors during the run."""
        return placement_doubts(self, systems)

    def plot(self, systems: Sequence[SystemInfo], path: Path) -> None:
        """Draw the distribution of every stage."""
        from yolox_deploy.benchmarks.scenarios.latency.chart import plot_stages

        plot_stages(self, systems, path)


RESULT = LatencyResult


def add_arguments(group: Any) -> None:
    """Add what only this scenario knows."""
    group.add_argument(
        "--cold-starts",
        type=int,
        default=3,
        metavar="N",
        help="fresh processes to start of each, for cold start and memory; 0 for none (3)",
    )
    group.add_argument(
        "--no-limit", action="store_true", help="do not measure what the machine can do at all"
    )


def measure(context: Context) -> LatencyResult:
    """Measure every system; see the modules for each part."""
    count = context.arguments.cold_starts
    if not 0 <= count <= 1000:
        raise UsageError(f"--cold-starts must lie in 0..1000, got {count}")
    # Needed for the report, and missed before ten minutes of measuring rather than after.
    require_scipy_stats()
    systems = context.systems
    starts: list[list[ColdStart]] = []
    for system in systems:
        if count:
            context.begin(f"cold start of {system.info.label}")
        starts.append(cold_starts(system, count))
    turns = f"{len(systems)} systems in turn, " if len(systems) > 1 else ""
    context.begin(f"measuring, {turns}at least {context.seconds * len(systems):.0f} s")
    exchange = [exchange_seconds()]

    def advance(done: int, of: int) -> None:
        exchange.append(exchange_seconds())
        context.advance(done, of)

    series = measure_series(systems, context.seconds, context.min_count, advance)
    known = [seconds for seconds in exchange if seconds is not None]
    return LatencyResult(
        allowed_cores(),
        machine().get("instruction sets", "").split(),
        series,
        starts,
        [_cost(system) for system in systems],
        [] if context.arguments.no_limit else _limits(context),
        harness_cost(systems[0].pictures),
        known if len(known) == len(exchange) else [],
    )


def _cost(system: System) -> Cost | None:
    return cost_of(system.artifact, system.request.path, system.detector.spec, system.batch)


def _limits(context: Context) -> list[Limit]:
    keys = dict.fromkeys((s.info.device, s.info.precision, s.info.threads) for s in context.systems)
    limits = []
    for device, precision, threads in keys:
        context.begin(f"the limit of {device} in {precision}")
        limits.append(measure_limit(device, precision, threads))
    return limits
