"""What a latency run measured, and its chart; tables and advice use the same figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolox_deploy.benchmarks.machine.limits import Limit
from yolox_deploy.benchmarks.measure.cold_start import ColdStart
from yolox_deploy.benchmarks.measure.loop import INFERENCE, HarnessCost, Series
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.scenarios.charts import chart
from yolox_deploy.export.costs import Cost
from yolox_deploy.records import Amount, Record

# An NMS without candidates takes less, and zero has no place on a logarithmic axis.
SHORTEST_MS = 1e-3


class Speed(NamedTuple):
    """How fast an inference computes: its cost, its seconds, and the machine's limit if known."""

    cost: Cost
    seconds: float
    limit: Limit | None

    @property
    def gflops(self) -> float:
        """10^9 operations per second."""
        return self.cost.gflops / self.seconds

    @property
    def share(self) -> float | None:
        """The share of what the machine can compute, if that is known."""
        return self.gflops / self.limit.gflops if self.limit and self.limit.gflops else None


@dataclass(frozen=True)
class LatencyFigures(Record):
    """One entry per system in ``series``, ``cold_starts`` and ``costs``.

    ``cores`` is the number of processors that the process may use, ``fps`` the rate that was asked
    about.
    """

    cores: Amount
    instruction_sets: Sequence[str]
    series: Sequence[Series]
    cold_starts: Sequence[Sequence[ColdStart]]
    costs: Sequence[Cost | None]
    limits: Sequence[Limit]
    harness: HarnessCost
    fps: Amount | None = None

    def each(self, systems: Sequence[SystemInfo]) -> Iterator[tuple[SystemInfo, Series]]:
        """Yield each system with its series."""
        return zip(systems, self.series, strict=True)

    def speed(self, number: int, system: SystemInfo) -> Speed | None:
        """Return how fast a system's inference computes, ``None`` if its cost is not known."""
        cost = self.costs[number]
        if cost is None:
            return None
        key = (system.device, system.precision, system.threads)
        limits = (x for x in self.limits if (x.device, x.precision, x.threads) == key)
        seconds = float(np.median(self.series[number].stages[:, INFERENCE]))
        return Speed(cost, seconds, next(limits, None))


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
