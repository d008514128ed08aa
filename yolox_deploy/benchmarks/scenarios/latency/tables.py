"""The tables of a latency report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolox_deploy.architectures import ZOO, published
from yolox_deploy.benchmarks.measure.loop import STAGES, Series
from yolox_deploy.benchmarks.measure.statistics import CONFIDENCE, median_interval, summarize
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.scenarios.base import Table
from yolox_deploy.benchmarks.scenarios.latency.figures import LatencyFigures

UNKNOWN = "-"
FIGURES = ("min", "p50", "p90", "p95", "p99", "max", "mean", "sd")


def latency_tables(result: LatencyFigures, systems: Sequence[SystemInfo]) -> list[Table]:
    """Return the tables, without those that would have no row."""
    tables = [
        *(make(result, systems) for make in (_in_short, _stages, _end_to_end)),
        *(_every_stage(system, series) for system, series in result.each(systems)),
        *(make(result, systems) for make in (_cold_starts, _limit, _published)),
        _harness(result),
    ]
    return [table for table in tables if table.rows]


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds with three significant digits or more."""
    value = seconds * 1e3
    if np.isnan(value):
        return UNKNOWN
    return f"{value:.{0 if value >= 1000 else 2 if value >= 1 else 3}f}"


def _in_short(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    cells = []
    for system, series in result.each(systems):
        found = summarize(series.total)
        inference = float(np.median(series.columns()["inference"]))
        cells.append(
            {
                "milliseconds": system.label,
                "inference": milliseconds(inference),
                **{name: milliseconds(getattr(found, name)) for name in ("p50", "p95", "p99")},
                "FPS": f"{system.batch / found.p50:.1f}",
            }
        )
    note = (
        "p50, p95, p99: 50, 95 and 99 of 100 calls took no longer, from the picture in memory to "
        "its detections. Inference: the median of the engine alone. FPS: 1000/p50"
        + (", times the pictures per call." if any(s.batch > 1 for s in systems) else ".")
    )
    if result.fps:
        note += " The advice asks that 95 of 100 calls hold the rate (p95)."
    return Table.of("In short", cells, note)


def _stages(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    cells = []
    for system, series in result.each(systems):
        medians = {name: float(np.median(times)) for name, times in series.columns().items()}
        shown = {name.replace("_", " "): milliseconds(value) for name, value in medians.items()}
        cells.append({"median ms": system.label, **shown})
    note = (
        "Milliseconds per call, which takes --batch pictures. Other: time that belongs to no "
        "stage. -: the engine does not have this stage."
    )
    return Table.of("Stages", cells, note)


def _end_to_end(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    cells = []
    for system, series in result.each(systems):
        found = summarize(series.total)
        low, high = map(milliseconds, median_interval(series.total, series.rounds))
        times = dict(zip(FIGURES, map(milliseconds, found), strict=False))
        cells.append(
            {
                "end to end, ms": system.label,
                **{name: times.pop(name) for name in FIGURES[:2]},
                f"p50, {CONFIDENCE:.0%} interval": f"{low} .. {high}",
                **times,
                "cv": f"{found.cv:.1%}",
                "FPS (p50)": f"{system.batch / found.p50:.1f}",
                "FPS (mean)": f"{system.batch / found.mean:.1f}",
                "calls": str(len(series.total)),
            }
        )
    note = (
        "From the picture in memory to its detections; no call is left out. The confidence "
        "interval allows for the drift of the machine: batches of rounds are resampled."
    )
    return Table.of("End to end", cells, note)


def _every_stage(system: SystemInfo, series: Series) -> Table:
    cells = []
    for name, column in series.columns().items():
        if np.isnan(column).any() or name == "end to end":
            continue
        found = summarize(column)
        cells.append(
            {
                "ms": name.replace("_", " "),
                **dict(zip(FIGURES, map(milliseconds, found), strict=False)),
                "cv": f"{found.cv:.1%}",
                "share": f"{column.sum() / series.total.sum():.1%}",
            }
        )
    return Table.of(f"Every stage: {system.label}", cells)


def _cold_starts(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    cells = []
    for system, starts in zip(systems, result.cold_starts, strict=True):
        if not starts:
            continue
        steps = np.array([(s.import_s, s.load_s, s.first_s, s.total_s) for s in starts]) * 1e3
        names = ("import", "load", "first inference", "sum")
        gpu = [start.gpu_bytes for start in starts if start.gpu_bytes is not None]
        cells.append(
            {
                "cold start, ms": system.label,
                **{n: f"{ms:.0f}" for n, ms in zip(names, np.median(steps, 0), strict=True)},
                "slowest sum": f"{steps[:, 3].max():.0f}",
                "peak memory MiB": f"{max(start.peak_bytes for start in starts) / 2**20:.0f}",
                "GPU memory MiB": f"{max(gpu) / 2**20:.0f}" if gpu else UNKNOWN,
                "processes": str(len(starts)),
            }
        )
    note = (
        "Medians over fresh processes; the files were in the system's cache already. Memory is the "
        "most that the process held."
    )
    return Table.of("Cold start", cells, note)


def _limit(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    cells = []
    for number, system in enumerate(systems):
        speed = result.speed(number, system)
        if speed is None:
            continue
        moved = speed.cost.gbytes(system.precision)
        traffic, limit = moved / speed.seconds, speed.limit
        peak, bandwidth = (limit.gflops, limit.gbytes) if limit else (0.0, 0.0)
        cells.append(
            {
                "inference": system.label,
                "GFLOPs": f"{speed.cost.gflops:.2f}",
                "MB moved": f"{moved * 1e3:.1f}",
                "GFLOP/s": f"{speed.gflops:.0f}",
                "machine's GFLOP/s": f"{peak:.0f}" if peak else UNKNOWN,
                "share of GFLOP/s": f"{speed.gflops / peak:.0%}" if peak else UNKNOWN,
                "GB/s": f"{traffic:.1f}",
                "machine's GB/s": f"{bandwidth:.1f}" if bandwidth else UNKNOWN,
                "share of GB/s": f"{traffic / bandwidth:.0%}" if bandwidth else UNKNOWN,
                "machine measured with": limit.library if limit else UNKNOWN,
            }
        )
    note = (
        "GFLOPs and MB are those of the convolutions in the model's graph, as if every layer read "
        "and wrote memory; caches avoid a part of that. The machine's figures come from a large "
        "matrix product in the same precision, and from a memory copy."
    )
    return Table.of("The limit", cells, note)


def _published(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Table:
    cells = []
    engine = slice(STAGES.index("copy_in"), STAGES.index("copy_out") + 1)
    for system, series in result.each(systems):
        row = published(system.architecture, system.height, system.width)
        if row is None or row.v100_ms is None or system.batch != 1:
            continue
        ours = float(np.median(np.nansum(series.stages[:, engine], 1))) * 1e3
        cells.append(
            {
                "OTHER HARDWARE": system.label,
                "ours, inference ms": f"{ours:.2f}",
                "published V100 ms": f"{row.v100_ms:.1f}",
                "ratio": f"{ours / row.v100_ms:.2f}",
            }
        )
    note = f"Published: {ZOO}. Ours: this machine, with copies, without post-processing."
    return Table.of("Published figures (other hardware)", cells, note)


def _harness(result: LatencyFigures) -> Table:
    fastest = min(series.median for series in result.series)
    costs = result.harness.to_json().items()
    rows = [[f"{name} calls", f"{s * 1e6:.2f}", f"{s / fastest:.3%}"] for name, s in costs]
    headers = ("measuring loop", "us per call", "share of the fastest median")
    return Table("What measuring costs", headers, rows)
