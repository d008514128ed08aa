"""The tables of a latency report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from yolox_deploy.benchmarks.measure.loop import STAGES, Series
from yolox_deploy.benchmarks.published import ZOO, published
from yolox_deploy.benchmarks.scenarios.base import Table
from yolox_deploy.benchmarks.measure.statistics import CONFIDENCE, median_interval, summarize
from yolox_deploy.benchmarks.measure.systems import SystemInfo

if TYPE_CHECKING:
    from yolox_deploy.benchmarks.scenarios.latency.scenario import LatencyResult

NONE = "-"


def latency_tables(result: LatencyResult, systems: Sequence[SystemInfo]) -> list[Table]:
    """Return the tables: overview, stages, cold start, limit, published figures, harness."""
    tables = [_stages(result, systems), _end_to_end(result, systems), _details(result, systems)]
    if any(result.cold_starts):
        tables.append(_cold_starts(result, systems))
    if any(cost is not None for cost in result.costs):
        tables.append(_limit(result, systems))
    tables += _published(result, systems)
    tables.append(_harness(result))
    return tables


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds with three significant digits or more."""
    value = seconds * 1e3
    return (
        NONE if np.isnan(value) else f"{value:.{0 if value >= 1000 else 2 if value >= 1 else 3}f}"
    )


def stage_columns(series: Series) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Return seconds by stage, with what no stage accounts for and the whole."""
    columns = dict(zip(STAGES, series.stages.T, strict=True))
    return {**columns, "other": series.other, "end to end": series.total}


def _stages(result: LatencyResult, systems: Sequence[SystemInfo]) -> Table:
    rows = []
    for system, series in zip(systems, result.series, strict=True):
        columns = stage_columns(series)
        medians = [float(np.median(column)) for column in columns.values()]
        rows.append([system.label, *map(milliseconds, medians)])
    headers = ("median ms", *(name.replace("_", " ") for name in stage_columns(result.series[0])))
    note = (
        "Milliseconds a call (of --batch pictures). Other is what no stage accounts for; - is a "
        "stage that the engine does not have."
    )
    return Table("Stages", headers, rows, note)


def _end_to_end(result: LatencyResult, systems: Sequence[SystemInfo]) -> Table:
    rows = []
    for system, series in zip(systems, result.series, strict=True):
        found = summarize(series.total)
        interval = median_interval(series.total, series.rounds)
        rows.append(
            [
                system.label,
                milliseconds(found.minimum),
                milliseconds(found.p50),
                f"{milliseconds(interval.low)} .. {milliseconds(interval.high)}",
                *map(milliseconds, (found.p90, found.p95, found.p99, found.maximum, found.mean)),
                milliseconds(found.sd),
                f"{found.cv:.1%}",
                f"{system.batch / found.p50:.1f}",
                f"{system.batch / found.mean:.1f}",
                str(found.count),
            ]
        )
    headers = (
        *("end to end, ms", "min", "p50", f"p50, {CONFIDENCE:.0%} interval", "p90", "p95", "p99"),
        *("max", "mean", "sd", "cv", "FPS (p50)", "FPS (mean)", "calls"),
    )
    note = (
        "Picture in memory to detections, nothing left out. The interval resamples batches of "
        "rounds, because neighbouring times resemble each other."
    )
    return Table("End to end", headers, rows, note)


def _details(result: LatencyResult, systems: Sequence[SystemInfo]) -> Table:
    rows = []
    for system, series in zip(systems, result.series, strict=True):
        for name, column in stage_columns(series).items():
            if np.isnan(column).any() or name == "end to end":
                continue
            found = summarize(column)
            rows.append(
                [
                    system.label,
                    name.replace("_", " "),
                    *map(
                        milliseconds,
                        (found.minimum, found.p50, found.p90, found.p95, found.p99, found.maximum),
                    ),
                    *map(milliseconds, (found.mean, found.sd)),
                    f"{found.cv:.1%}",
                    f"{column.sum() / series.total.sum():.1%}",
                ]
            )
    headers = (
        *("stage by stage, ms", "stage", "min", "p50", "p90", "p95", "p99", "max", "mean", "sd"),
        *("cv", "share of all"),
    )
    return Table("Every stage", headers, rows)


def _cold_starts(result: LatencyResult, systems: Sequence[SystemInfo]) -> Table:
    rows = []
    for system, starts in zip(systems, result.cold_starts, strict=True):
        if not starts:
            continue
        total = [start.total_s for start in starts]
        gpu = [start.gpu_bytes for start in starts if start.gpu_bytes is not None]
        steps = [[getattr(s, name) for s in starts] for name in ("import_s", "load_s", "first_s")]
        rows.append(
            [
                system.label,
                *(f"{np.median(step) * 1e3:.0f}" for step in (*steps, total)),
                f"{max(total) * 1e3:.0f}",
                f"{max(start.peak_bytes for start in starts) / 2**20:.0f}",
                f"{max(gpu) / 2**20:.0f}" if gpu else NONE,
                str(len(starts)),
            ]
        )
    headers = (
        *("cold start, ms", "import", "load", "first inference", "sum", "worst"),
        *("peak memory MiB", "GPU memory MiB", "processes"),
    )
    note = "Medians over fresh processes, files in the system's cache; memory is the process' peak."
    return Table("Cold start", headers, rows, note)


def _limit(result: LatencyResult, systems: Sequence[SystemInfo]) -> Table:
    rows = []
    for i, (system, series) in enumerate(zip(systems, result.series, strict=True)):
        cost, limit = result.costs[i], result.limit_of(system)
        if cost is None:
            continue
        seconds = float(np.median(series.stages[:, STAGES.index("inference")]))
        speed = cost.gflops / seconds
        traffic = cost.gbytes(system.precision) / seconds
        rows.append(
            [
                system.label,
                f"{cost.gflops:.2f}",
                f"{cost.gbytes(system.precision) * 1e3:.1f}",
                f"{speed:.0f}",
                f"{limit.gflops:.0f}" if limit and limit.gflops else NONE,
                f"{speed / limit.gflops:.0%}" if limit and limit.gflops else NONE,
                f"{traffic:.1f}",
                f"{limit.gbytes:.1f}" if limit and limit.gbytes else NONE,
                f"{traffic / limit.gbytes:.0%}" if limit and limit.gbytes else NONE,
                limit.library if limit else NONE,
            ]
        )
    headers = (
        *("inference", "GFLOPs", "MB touched", "GFLOP/s", "machine's GFLOP/s", "share"),
        *("GB/s", "machine's GB/s", "share", "measured through"),
    )
    note = (
        "GFLOPs and bytes of the convolutions by the graph, as if every layer read and wrote "
        "memory; caches save some of it. The machine's: a large matrix product in the same "
        "precision, and a memory copy."
    )
    return Table("The limit", headers, rows, note)


def _published(result: LatencyResult, systems: Sequence[SystemInfo]) -> list[Table]:
    rows = []
    for system, series in zip(systems, result.series, strict=True):
        row = published(system.architecture, system.height, system.width)
        if row is None or row.v100_ms is None or system.batch != 1:
            continue
        ours = float(np.median(np.nansum(series.stages[:, 1:4], 1))) * 1e3
        rows.append(
            [system.label, f"{ours:.2f}", f"{row.v100_ms:.1f}", f"{ours / row.v100_ms:.2f}"]
        )
    headers = ("OTHER HARDWARE", "ours, inference ms", "published V100 ms", "ratio")
    note = f"Published: {ZOO}; ours on this machine, copies included, post-processing not."
    return [Table("Published figures (other hardware)", headers, rows, note)] if rows else []


def _harness(result: LatencyResult) -> Table:
    fastest = min(float(np.median(series.total)) for series in result.series)
    cost = result.harness
    rows = [
        ["inside each time", f"{cost.inside * 1e6:.2f}", f"{cost.inside / fastest:.3%}"],
        ["between two calls", f"{cost.between * 1e6:.2f}", f"{cost.between / fastest:.3%}"],
    ]
    return Table(
        "What measuring costs", ("harness", "us a call", "share of the fastest median"), rows
    )
