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
from matplotlib.ticker import LogLocator

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
                points.append(Point(median, known.ap, known.name, engine, system.random_weights))
    write_atomically(folder / "README.md", _text(rows, reports, _others(folder)))
    if points:
        plot_ap_against_latency(points, folder / "ap_against_latency.png")
    say(f"wrote {folder / 'README.md'}")


class Point(NamedTuple):
    """One model on one engine: milliseconds end to end, AP in per cent, and its names.

    ``random`` is whether the time was measured with random weights.
    """

    milliseconds: float
    ap: float
    model: str
    engine: str
    random: bool


def plot_ap_against_latency(points: Sequence[Point], path: Path) -> None:
    """Draw the published AP over measured milliseconds: a row per model, a colour per engine.

    Lines lead from nano to x; darknet53 is another network, and has marks alone.
    """
    engines = {p.engine: f"C{i}" for i, p in enumerate({p.engine: p for p in points}.values())}
    with chart(path, (10, 6)) as axes:
        for engine, colour in engines.items():
            mine = [point for point in points if point.engine == engine]
            line = sorted(p for p in mine if not ARCHITECTURES[p.model].darknet53)
            axes.plot([p.milliseconds for p in line], [p.ap for p in line], colour, alpha=0.35)
            for point in mine:
                inside = "white" if point.random else colour
                axes.plot(point.milliseconds, point.ap, "o", mec=colour, mfc=inside)
        for model, ap in {p.model: p.ap for p in points}.items():
            axes.axhline(ap, color="grey", alpha=0.25, zorder=0)
            axes.annotate(
                f"{model} {ap}",
                (1, ap),
                (4, 0),
                ("axes fraction", "data"),
                "offset points",
                va="center",
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.set_xlabel("measured: ms from picture to detections, median, batch 1")
        axes.set_ylabel("published: AP on COCO val2017, per cent")
        marks = [axes.plot([], [], "o-", color=c, label=e)[0] for e, c in engines.items()]
        for inside, text in (
            ("grey", "time with COCO weights"),
            ("white", "time with random weights"),
        ):
            marks += axes.plot([], [], "o", mec="grey", mfc=inside, label=text)
        axes.legend(handles=marks, loc="upper left")
        axes.grid(axis="x", alpha=0.3)


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
                f"AP in the chart is the published one ({ZOO.split(',')[0]}); milliseconds are "
                "measured here, with COCO weights (full marks) or random weights (empty marks).",
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
