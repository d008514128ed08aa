"""What a latency run measured, and its chart; tables and advice use the same figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yolox_deploy.benchmarks.machine.limits import Limit
from yolox_deploy.benchmarks.measure.cold_start import ColdStart
from yolox_deploy.benchmarks.measure.loop import INFERENCE, HarnessCost, Series
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.scenarios.charts import figure
from yolox_deploy.export.costs import Cost
from yolox_deploy.records import Amount, Record

# The colours of the stages, which people with any kind of colour vision can tell apart:
# https://jfly.uni-koeln.de/color/
COLOURS = {
    "letterbox": "#0072b2",
    "copy_in": "#56b4e9",
    "inference": "#bbbbbb",
    "copy_out": "#f0e442",
    "decode": "#009e73",
    "nms": "#d55e00",
    "other": "#000000",
}
ENGINE = ("copy_in", "inference", "copy_out")
# The height of a model's titles and of its axis, in bars.
HEADING = 2


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
    """Draw the median stages of every system on linear axes, which systems of a model share.

    On the left is the whole time.  The engine takes nearly all of it, so the other stages are
    drawn again on the right, where they can be compared.
    """
    models: dict[tuple[object, ...], list[tuple[SystemInfo, Series]]] = {}
    for system, series in result.each(systems):
        model = (system.architecture or system.model, system.height, system.width, system.batch)
        models.setdefault(model, []).append((system, series))
    heights = [len(rows) + HEADING for rows in models.values()]
    handles: dict[str, Any] = {}
    with figure(path, (11, 0.8 + 0.4 * sum(heights))) as whole:
        grid = whole.subplots(
            len(models), 2, squeeze=False, height_ratios=heights, width_ratios=(3, 2)
        )
        for rows, (left, right) in zip(models.values(), grid, strict=True):
            handles |= _bars(left, rows, COLOURS)
            handles |= _bars(right, rows, [name for name in COLOURS if name not in ENGINE])
            left.set_title("end to end: median, and a line from p5 to p95", fontsize="medium")
            right.set_title("the same without the engine", fontsize="medium")
            left.set_yticks(range(len(rows)), [system.label for system, _ in rows])
            right.set_yticks([])
            for number, (_, series) in enumerate(rows):
                low, high = np.percentile(series.total * 1e3, (5, 95))
                median = series.median * 1e3
                left.plot((low, high), (number, number), color="black", linewidth=1.2)
                left.annotate(
                    f"{median:.{0 if median >= 100 else 1}f}",
                    (max(high, median), number),
                    xytext=(5, 0),
                    textcoords="offset points",
                    va="center",
                )
            # Room for the numbers.
            left.set_xlim(0, 1.12 * left.dataLim.xmax)
        for axes in grid[-1]:
            axes.set_xlabel("ms per call")
        names = [name.replace("_", " ") for name in handles]
        whole.legend(
            handles.values(), names, loc="outside lower center", ncols=len(names), frameon=False
        )


def _bars(
    axes: Any, rows: Sequence[tuple[SystemInfo, Series]], stages: Iterable[str]
) -> dict[str, Any]:
    """Draw one bar per system, its median stages one after the other; return a handle of each."""
    medians = [{n: np.median(c) * 1e3 for n, c in series.columns().items()} for _, series in rows]
    ends, handles = np.zeros(len(rows)), {}
    for stage in stages:
        widths = np.nan_to_num([median[stage] for median in medians])
        if widths.any():
            handles[stage] = axes.barh(
                range(len(rows)), widths, 0.6, left=ends, color=COLOURS[stage]
            )
        ends += widths
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return handles
