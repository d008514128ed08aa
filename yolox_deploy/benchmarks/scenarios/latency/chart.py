"""Charts of latency reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from yolox_deploy.benchmarks.scenarios.charts import chart
from yolox_deploy.benchmarks.scenarios.latency.tables import stage_columns
from yolox_deploy.benchmarks.measure.systems import SystemInfo

if TYPE_CHECKING:
    from yolox_deploy.benchmarks.scenarios.latency.scenario import LatencyResult

# Times below are those of an empty NMS; on a logarithmic axis zero has no place.
SHORTEST_MS = 1e-3


def plot_stages(result: LatencyResult, systems: Sequence[SystemInfo], path: Path) -> None:
    """Draw the distribution of every stage of every system, whiskers to the extremes."""
    with chart(path, (10, 2 + 1.6 * len(systems))) as axes:
        colours = [f"C{i}" for i in range(10)]
        ticks, labels = [], []
        names: dict[str, str] = {}
        place = 0.0
        for system, series in zip(systems, result.series, strict=True):
            start = place
            for name, column in stage_columns(series).items():
                if np.isnan(column).any():
                    continue
                names.setdefault(name, colours[len(names)])
                boxes = axes.boxplot(
                    [np.maximum(column * 1e3, SHORTEST_MS)],
                    positions=[place],
                    orientation="horizontal",
                    whis=(0, 100),
                    widths=0.7,
                    patch_artist=True,
                    manage_ticks=False,
                )
                boxes["boxes"][0].set_facecolor(names[name])
                boxes["medians"][0].set_color("black")
                place += 1
            ticks.append((start + place - 1) / 2)
            labels.append(system.label)
            place += 1
        axes.set_yticks(ticks, labels)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("ms a call: quartiles, median, least and most")
        handles = [axes.barh(np.nan, np.nan, color=colour) for colour in names.values()]
        shown = [name.replace("_", " ") for name in names]
        axes.legend(handles, shown, loc="upper left", bbox_to_anchor=(1, 1))
        axes.grid(axis="x", alpha=0.3)


class Point(NamedTuple):
    """One model on one engine: milliseconds end to end, AP in per cent, and its names."""

    milliseconds: float
    ap: float
    model: str
    engine: str


def plot_ap_against_latency(points: Sequence[Point], source: str, path: Path) -> None:
    """Draw AP over milliseconds, a line an engine; ``source`` says where the AP comes from."""
    with chart(path) as axes:
        for engine in dict.fromkeys(point.engine for point in points):
            line = sorted(point for point in points if point.engine == engine)
            axes.plot(
                [p.milliseconds for p in line], [p.ap for p in line], marker="o", label=engine
            )
        for model in dict.fromkeys(point.model for point in points):
            fastest = min(point for point in points if point.model == model)
            axes.annotate(
                model,
                (fastest.milliseconds, fastest.ap),
                xytext=(-4, 6),
                textcoords="offset points",
            )
        axes.axvline(1000 / 30, color="grey", linestyle="--", linewidth=1)
        axes.text(1000 / 30, axes.get_ylim()[0], " 30 FPS", color="grey", va="bottom")
        axes.set_xscale("log")
        axes.set_xlabel("ms from picture to detections, median, batch 1")
        axes.set_ylabel(f"AP ({source})")
        axes.legend()
        axes.grid(alpha=0.3)
