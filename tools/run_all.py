"""Measure every architecture on every backend and precision that runs here.

``python -m tools.run_all`` runs ``yolox-bench`` once per architecture, then writes a table and a
chart of all reports.  It needs a quiet machine and about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolox_deploy.architectures import ARCHITECTURES, BY_COST, ZOO
from yolox_deploy.benchmarks.measure.loop import INFERENCE
from yolox_deploy.benchmarks.measure.statistics import median_interval
from yolox_deploy.benchmarks.report.report import Report
from yolox_deploy.benchmarks.scenarios.charts import chart
from yolox_deploy.benchmarks.scenarios.latency.scenario import LatencyResult
from yolox_deploy.cli import bench
from yolox_deploy.errors import UsageError
from yolox_deploy.files import write_atomically
from yolox_deploy.terminal import say

FOLDER = Path("benchmarks/results")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what was asked for, and write the overview of all that is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=FOLDER, metavar="DIR", help=f"(default: {FOLDER})"
    )
    parser.add_argument(
        "--arch", default=",".join(BY_COST), help="architectures (default: all seven)"
    )
    parser.add_argument("--backend", default="all", help="as for yolox-bench (default: all)")
    parser.add_argument("--precision", default="all", help="as for yolox-bench (default: all)")
    parser.add_argument("--duration", default="6", help="seconds per system (default: 6)")
    parser.add_argument("--min-count", default="20", help="calls per system (default: 20)")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="folder of checkpoints yolox_s.pth ... (default: random weights)",
    )
    parser.add_argument(
        "--overview-only",
        action="store_true",
        help="only write the table and the chart, from the reports that exist",
    )
    options = parser.parse_args(argv)
    for name in [] if options.overview_only else options.arch.split(","):
        words = command(name, options)
        say(shlex.join([bench.COMMAND, *words]))
        code = bench.main(words)
        if code:
            return code
    overview(options.output)
    return 0


def command(name: str, options: argparse.Namespace) -> list[str]:
    """Return the arguments of ``yolox-bench`` for one architecture."""
    weights = options.weights and options.weights / f"yolox_{name}.pth"
    model = [str(weights)] if weights and weights.is_file() else [f"yolox_{name}"]
    if model == [f"yolox_{name}"]:
        model.append("--random-weights")
    base = options.output / f"yolox_{name}"
    files = [f"--{kind}={base}.{suffix}" for kind, suffix in FILES]
    limits = ["--duration", options.duration, "--min-count", options.min_count]
    chosen = ["--backend", options.backend, "--precision", options.precision]
    return ["--model", *model, *chosen, *limits, "--cold-starts", "1", *files]


FILES = (("json", "json"), ("markdown", "md"), ("plot", "png"))


def overview(folder: Path) -> None:
    """Write a table and a chart over all reports in ``folder``; raises :class:`UsageError`."""
    reports = [Report.read(path) for path in sorted(folder.glob("yolox_*.json"))]
    if not reports:
        raise UsageError(f"{folder}: no report yolox_*.json in it")
    rows, points = [], []
    for report in sorted(reports, key=_cost):
        result = report.result
        if not isinstance(result, LatencyResult):
            continue
        for system, series in result.each(report.systems):
            total = series.total * 1e3
            low, high = (1e3 * end for end in median_interval(series.total, series.rounds))
            inference = np.median(series.stages[:, INFERENCE]) * 1e3
            median = float(np.median(total))
            name = (system.architecture or system.model) + "*" * system.random_weights
            engine = f"{system.backend} {system.precision}"
            rows.append(
                [
                    f"{name} {system.height}",
                    engine,
                    f"{inference:.2f}",
                    f"{median:.2f}",
                    f"{low:.2f} .. {high:.2f}",
                    f"{np.percentile(total, 95):.2f}",
                    f"{1e3 / median:.1f}",
                    str(len(total)),
                    "yes" if report.environment.doubts else "",
                ]
            )
            known = ARCHITECTURES.get(system.architecture or "")
            if known is not None and known.ap is not None:
                points.append(Point(median, known.ap, system.architecture or "", engine))
    write_atomically(folder / "README.md", _text(rows, reports, _others(folder)))
    if points:
        plot_ap_against_latency(points, folder / "ap_against_latency.png")
    say(f"wrote {folder / 'README.md'}")


class Point(NamedTuple):
    """One model on one engine: milliseconds end to end, AP in per cent, and its names."""

    milliseconds: float
    ap: float
    model: str
    engine: str


def plot_ap_against_latency(points: Sequence[Point], path: Path) -> None:
    """Draw the published AP over milliseconds, one line per engine."""
    with chart(path) as axes:
        for engine in dict.fromkeys(point.engine for point in points):
            line = sorted(point for point in points if point.engine == engine)
            times, ap = [p.milliseconds for p in line], [p.ap for p in line]
            axes.plot(times, ap, marker="o", label=engine)
        for model in dict.fromkeys(point.model for point in points):
            fastest = min(point for point in points if point.model == model)
            place = (fastest.milliseconds, fastest.ap)
            axes.annotate(model, place, xytext=(-4, 6), textcoords="offset points")
        axes.set_xscale("log")
        axes.set_xlabel("ms from picture to detections, median, batch 1")
        axes.set_ylabel("AP (published, COCO val2017)")
        axes.legend()
        axes.grid(alpha=0.3)


def _others(folder: Path) -> list[str]:
    """Return links to the reports of other scenarios that somebody put there."""
    return [
        f"- [{path.stem}]({path.name})"
        for path in sorted(folder.glob("*.md"))
        if path.name != "README.md" and not path.name.startswith("yolox_")
    ]


def _text(rows: Sequence[Sequence[str]], reports: Sequence[Report], others: Sequence[str]) -> str:
    headers = (
        *("model and side", "engine", "inference ms", "end to end ms", "95% interval", "p95 ms"),
        *("FPS", "calls", "doubtful"),
    )
    table = ["| " + " | ".join(row) + " |" for row in (headers, ["---"] * len(headers), *rows)]
    machine = reports[0].environment.machine
    facts = [
        f"- {key}: {value}" for key, value in machine.items() if key != "environment variables"
    ]
    commands = "\n".join(report.command for report in reports)
    doubts = sorted({doubt for report in reports for doubt in report.environment.doubts})
    return (
        "\n\n".join(
            [
                "# Latency, batch 1",
                "Medians from a picture in memory to its detections. The reports beside this file "
                "have every stage, percentile and measurement. A * marks random weights, with "
                "which decode and NMS have hardly anything to do.",
                "\n".join(table),
                *(["Doubtful, because " + "; ".join(doubts) + "."] if doubts else []),
                "![AP against latency](ap_against_latency.png)",
                f"AP in the chart is the published one ({ZOO.split(',')[0]}), milliseconds are "
                "measured here.",
                *(["## Other scenarios", "\n".join(others)] if others else []),
                "## Where",
                "\n".join(facts),
                "## Commands",
                f"```\n{commands}\n```",
            ]
        )
        + "\n"
    )


def _cost(report: Report) -> tuple[int, str]:
    name = report.systems[0].architecture
    return (BY_COST.index(name) if name in BY_COST else len(BY_COST)), report.command


if __name__ == "__main__":
    sys.exit(main())
