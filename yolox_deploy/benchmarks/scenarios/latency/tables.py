"""The tables of a latency report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolox_deploy.architectures import ZOO, published
from yolox_deploy.benchmarks.measure.loop import STAGES
from yolox_deploy.benchmarks.measure.statistics import CONFIDENCE, median_interval, summarize
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.scenarios.base import Table
from yolox_deploy.benchmarks.scenarios.latency.figures import LatencyFigures

UNKNOWN = "-"


def latency_tables(result: LatencyFigures, systems: Sequence[SystemInfo]) -> list[Table]:
    """Return the tables, without those that would have no row."""
    tables = (
        _stages(result, systems),
        _end_to_end(result, systems),
        _every_stage(result, systems),
        _cold_starts(result, systems),
        _limit(result, systems),
        _published(result, systems),
        _harness(result),
    )
    return [table for table in tables if table.rows]


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds with three significant digits or more."""
    value = seconds * 1e3
    if np.isnan(value):
        return UNKNOWN
    return f"{value:.{0 if value >= 1000 else 2 if value >= 1 else 3}f}"


def _stages(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    rows = [
        [system.label, *(milliseconds(float(np.median(c))) for c in series.columns().values())]
        for system, series in result.each(systems)
    ]
    names = (name.replace("_", " ") for name in result.series[0].columns())
    note = (
        "Milliseconds per call, which takes --batch pictures. Other: time that belongs to no "
        "stage. -: the engine does not have this stage."
    )
    return Table("Stages", ("median ms", *names), rows, note)


def _end_to_end(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    rows = []
    for system, series in result.each(systems):
        found = summarize(series.total)
        low, high = map(milliseconds, median_interval(series.total, series.rounds))
        rows.append(
            [
                system.label,
                *map(milliseconds, found[:2]),
                f"{low} .. {high}",
                *map(milliseconds, found[2:-1]),
                f"{found.cv:.1%}",
                f"{system.batch / found.p50:.1f}",
                f"{system.batch / found.mean:.1f}",
                str(len(series.total)),
            ]
        )
    headers = (
        *("end to end, ms", "min", "p50", f"p50, {CONFIDENCE:.0%} interval", "p90", "p95", "p99"),
        *("max", "mean", "sd", "cv", "FPS (p50)", "FPS (mean)", "calls"),
    )
    note = (
        "From the picture in memory to its detections; no call is left out. The confidence "
        "interval allows for the drift of the machine: batches of rounds are resampled."
    )
    return Table("End to end", headers, rows, note)


def _every_stage(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    rows = []
    for system, series in result.each(systems):
        for name, column in series.columns().items():
            if np.isnan(column).any() or name == "end to end":
                continue
            found = summarize(column)
            share = column.sum() / series.total.sum()
            cells = (*map(milliseconds, found[:-1]), f"{found.cv:.1%}", f"{share:.1%}")
            rows.append([system.label, name.replace("_", " "), *cells])
    headers = (
        *("stage by stage, ms", "stage", "min", "p50", "p90", "p95", "p99", "max", "mean", "sd"),
        *("cv", "share of all"),
    )
    return Table("Every stage", headers, rows)


def _cold_starts(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    rows = []
    for system, starts in zip(systems, result.cold_starts, strict=True):
        if not starts:
            continue
        steps = np.array([(s.import_s, s.load_s, s.first_s, s.total_s) for s in starts])
        gpu = [start.gpu_bytes for start in starts if start.gpu_bytes is not None]
        rows.append(
            [
                system.label,
                *(f"{seconds * 1e3:.0f}" for seconds in (*np.median(steps, 0), steps[:, 3].max())),
                f"{max(start.peak_bytes for start in starts) / 2**20:.0f}",
                f"{max(gpu) / 2**20:.0f}" if gpu else UNKNOWN,
                str(len(starts)),
            ]
        )
    headers = (
        *("cold start, ms", "import", "load", "first inference", "sum", "slowest sum"),
        *("peak memory MiB", "GPU memory MiB", "processes"),
    )
    note = (
        "Medians over fresh processes; the files were in the system's cache already. Memory is the "
        "most that the process held."
    )
    return Table("Cold start", headers, rows, note)


def _limit(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    rows = []
    for number, system in enumerate(systems):
        speed = result.speed(number, system)
        if speed is None:
            continue
        moved, limit = speed.cost.gbytes(system.precision), speed.limit
        traffic = moved / speed.seconds
        known = limit is not None and limit.gbytes > 0
        rows.append(
            [
                system.label,
                f"{speed.cost.gflops:.2f}",
                f"{moved * 1e3:.1f}",
                f"{speed.gflops:.0f}",
                f"{limit.gflops:.0f}" if limit and limit.gflops else UNKNOWN,
                UNKNOWN if speed.share is None else f"{speed.share:.0%}",
                f"{traffic:.1f}",
                f"{limit.gbytes:.1f}" if limit and known else UNKNOWN,
                f"{traffic / limit.gbytes:.0%}" if limit and known else UNKNOWN,
                limit.library if limit else UNKNOWN,
            ]
        )
    headers = (
        *("inference", "GFLOPs", "MB moved", "GFLOP/s", "machine's GFLOP/s", "share"),
        *("GB/s", "machine's GB/s", "share", "machine measured with"),
    )
    note = (
        "GFLOPs and MB are those of the convolutions in the model's graph, as if every layer read "
        "and wrote memory; caches avoid a part of that. The machine's figures come from a large "
        "matrix product in the same precision, and from a memory copy."
    )
    return Table("The limit", headers, rows, note)


def _published(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    rows = []
    copies = slice(STAGES.index("copy_in"), STAGES.index("copy_out") + 1)
    for system, series in result.each(systems):
        row = published(system.architecture, system.height, system.width)
        if row is None or row.v100_ms is None or system.batch != 1:
            continue
        ours = float(np.median(np.nansum(series.stages[:, copies], 1))) * 1e3
        cells = (f"{ours:.2f}", f"{row.v100_ms:.1f}", f"{ours / row.v100_ms:.2f}")
        rows.append([system.label, *cells])
    headers = ("OTHER HARDWARE", "ours, inference ms", "published V100 ms", "ratio")
    note = f"Published: {ZOO}. Ours: this machine, with copies, without post-processing."
    return Table("Published figures (other hardware)", headers, rows, note)


def _harness(result: LatencyFigures) -> Table:
    fastest = min(series.median for series in result.series)
    parts = (
        ("inside each time", result.harness.inside),
        ("between two calls", result.harness.between),
    )
    rows = [[name, f"{cost * 1e6:.2f}", f"{cost / fastest:.3%}"] for name, cost in parts]
    headers = ("measuring loop", "us per call", "share of the fastest median")
    return Table("What measuring costs", headers, rows)
