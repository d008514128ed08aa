"""The chart of a latency report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.scenarios.charts import chart
from yolox_deploy.benchmarks.scenarios.latency.figures import LatencyFigures

# An NMS without candidates takes less, and zero has no place on a logarithmic axis.
SHORTEST_MS = 1e-3


def plot_stages(result: LatencyFigures, systems: Sequence[SystemInfo], path: Path) -> None:
    """Draw the distribution of every stage of every system, whiskers to the extremes."""
    colours: dict[str, str] = {}
    ticks, place = [], 0.0
    with chart(path, (10, 2 + 1.6 * len(systems))) as axes:
        for _, series in result.each(systems):
            start = place
            for name, column in series.columns().items():
                if np.isnan(column).any():
                    continue
                colour = colours.setdefault(name, f"C{len(colours)}")
                boxes = axes.boxplot(
                    [np.maximum(column * 1e3, SHORTEST_MS)],
                    positions=[place],
                    orientation="horizontal",
                    whis=(0, 100),
                    widths=0.7,
                    patch_artist=True,
                    manage_ticks=False,
                )
                boxes["boxes"][0].set_facecolor(colour)
                boxes["medians"][0].set_color("black")
                place += 1
            ticks.append((start + place - 1) / 2)
            place += 1
        axes.set_yticks(ticks, [system.label for system in systems])
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("ms per call: quartiles, median, least and most")
        handles = [axes.barh(np.nan, np.nan, color=colour) for colour in colours.values()]
        shown = [name.replace("_", " ") for name in colours]
        axes.legend(handles, shown, loc="upper left", bbox_to_anchor=(1, 1))
        axes.grid(axis="x", alpha=0.3)
