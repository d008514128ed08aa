"""What a latency run measured, from which its tables, advice and chart are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from yolox_deploy.benchmarks.machine.limits import Limit
from yolox_deploy.benchmarks.measure.cold_start import ColdStart
from yolox_deploy.benchmarks.measure.costs import Cost
from yolox_deploy.benchmarks.measure.loop import INFERENCE, HarnessCost, Series
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.records import Amount, Record


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
