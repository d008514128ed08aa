"""``--scenario latency``: seconds by stage, cold start, memory, and the share of the limit."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.machine.environment import machine
from yolox_deploy.benchmarks.machine.limits import measure_limit
from yolox_deploy.benchmarks.measure.cold_start import ColdStart, cold_starts
from yolox_deploy.benchmarks.measure.loop import harness_cost
from yolox_deploy.benchmarks.measure.loop import measure as measure_series
from yolox_deploy.benchmarks.measure.statistics import require_scipy_stats
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.scenarios.base import Context, Result, Table, whole_number
from yolox_deploy.benchmarks.scenarios.latency.advice import latency_advice, scatter_advice
from yolox_deploy.benchmarks.scenarios.latency.figures import LatencyFigures, plot_stages
from yolox_deploy.benchmarks.scenarios.latency.tables import latency_tables
from yolox_deploy.errors import UsageError
from yolox_deploy.export.costs import cost_of
from yolox_deploy.processors import allowed_cores


@dataclass(frozen=True)
class LatencyResult(LatencyFigures, Result):
    """The figures, and how they are shown."""

    PER_SYSTEM = ("series", "cold_starts", "costs")

    def tables(self, systems: Sequence[SystemInfo]) -> list[Table]:
        return latency_tables(self, systems)

    def advice(self, systems: Sequence[SystemInfo]) -> list[str]:
        return latency_advice(self, systems)

    def quiet_advice(self, systems: Sequence[SystemInfo]) -> list[str]:
        return scatter_advice(self, systems)

    def plot(self, systems: Sequence[SystemInfo], path: Path) -> None:
        plot_stages(self, systems, path)


RESULT = LatencyResult


def add_arguments(group: Any) -> None:
    """Add the options of this scenario."""
    group.add_argument(
        "--cold-starts",
        type=whole_number(0, 1000),
        default=3,
        metavar="N",
        help="number of fresh processes per system, for cold start and peak memory (default: 3)",
    )
    group.add_argument(
        "--no-limit", action="store_true", help="do not measure what the machine can do at most"
    )


def check(arguments: argparse.Namespace) -> None:
    """Raise :class:`UsageError` for options that cannot be measured."""
    if arguments.data:
        raise UsageError("--data is for MLPerf and for streaming; yolox-eval measures AP alone")
    # The report needs it: better to miss it now than after ten minutes of measuring.
    require_scipy_stats()


def measure(context: Context) -> LatencyResult:
    """Measure every system; the modules imported here describe each part."""
    systems, arguments = context.systems, context.arguments
    starts: list[list[ColdStart]] = []
    for system in systems:
        if arguments.cold_starts:
            context.begin(f"cold start of {system.info.label}")
        starts.append(cold_starts(system, arguments.cold_starts))
    series = measure_series(
        *(systems, context.seconds, context.min_count, context.begin),
        lambda done, total, number: context.advance(done, total, systems[number].info.label),
    )
    limits = []
    keys = dict.fromkeys((s.info.device, s.info.precision, s.info.threads) for s in systems)
    for device, precision, threads in () if arguments.no_limit else keys:
        context.begin(f"measuring the limit of {device} in {precision}")
        limits.append(measure_limit(device, precision, threads))
    return LatencyResult(
        cores=allowed_cores(),
        instruction_sets=machine().get("instruction sets", "").split(),
        series=series,
        cold_starts=starts,
        costs=[cost_of(s.artifact, s.request.path, s.detector.spec, s.batch) for s in systems],
        limits=limits,
        harness=harness_cost(systems[0].pictures),
        fps=arguments.fps,
    )
