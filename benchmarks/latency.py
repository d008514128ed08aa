"""Latency of whole detectors, batch 1, stage by stage, several of them side by side.

Detectors take turns picture by picture, so that a machine that slows down slows all of them.  No
measurement is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.detector import Detector, StageSeconds
from yolox_deploy.errors import UsageError

WARM_UP = 10


@dataclass(frozen=True)
class Latency:
    """Seconds a picture: ``stages`` (n, 4) in the order of ``StageSeconds``, ``total`` (n,).

    ``total`` is measured around the call, so it also holds what no stage accounts for.
    """

    name: str
    stages: NDArray[np.float64]
    total: NDArray[np.float64]

    @property
    def median(self) -> float:
        """Median seconds from picture to detections."""
        return float(np.median(self.total))

    def percentile(self, share: float) -> float:
        """Seconds within which ``share`` per cent of the pictures were done."""
        return float(np.percentile(self.total, share))

    def row(self) -> list[str]:
        """Return the figures in milliseconds as cells of a table, see :data:`HEADERS`."""
        stages = np.median(self.stages, 0) * 1e3
        shares = [self.percentile(p) * 1e3 for p in (50, 90, 99, 100)]
        return [
            self.name,
            *(f"{value:.2f}" for value in (*stages, *shares)),
            f"{1 / self.median:.1f}",
            str(len(self.total)),
        ]


HEADERS = (
    "detector",
    *StageSeconds._fields,
    *("p50", "p90", "p99", "max", "pictures/s", "runs"),
)


def measure(
    detectors: dict[str, Detector],
    images: Sequence[NDArray[np.uint8]],
    *,
    seconds: float = 10.0,
    count: int = 100,
    report: Callable[[int], None] = lambda runs: None,
) -> list[Latency]:
    """Run every detector until both ``seconds`` in all and ``count`` runs each have passed.

    ``images`` (h, w, 3) uint8 BGR are taken in turn.  Raises :class:`UsageError` for nothing to
    measure.
    """
    if not detectors or not images or seconds < 0 or count < 1:
        raise UsageError(
            "latency needs a detector, a picture, seconds >= 0 and a count >= 1, got "
            f"{len(detectors)}, {len(images)}, {seconds} and {count}"
        )
    for detector in detectors.values():
        for _ in range(WARM_UP):
            detector(images[0])
    stages: dict[str, list[StageSeconds]] = {name: [] for name in detectors}
    totals: dict[str, list[float]] = {name: [] for name in detectors}
    begin, run = perf_counter(), 0
    while run < count or perf_counter() - begin < seconds:
        image = images[run % len(images)]
        for name, detector in detectors.items():
            start = perf_counter()
            detector(image)
            totals[name].append(perf_counter() - start)
            stages[name].append(detector.stage_seconds)
        run += 1
        report(run)
    return [Latency(name, np.array(stages[name]), np.array(totals[name])) for name in detectors]
