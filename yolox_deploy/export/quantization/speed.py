"""Whether INT8 is worth it: opened artifacts measured in alternating rounds, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from yolox_deploy.records import Record
from yolox_deploy.runtimes.base import Array, Runtime

# The interval of a median from 15 rounds is that from the 4th to the 12th value: it holds the
# median with a probability of 96.5 % (binomial), whatever the times are distributed like.
ROUNDS, LOWEST, HIGHEST = 15, 3, 11
# A round repeats a call for as long as this, so that its median is not one interruption.
ROUND_S = 0.1
MOST_CALLS = 20
# Is told how many rounds are done, and how many there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Ratio(Record):
    """The time of INT8 divided by that of another precision: median, and its interval."""

    precision: str
    ratio: float
    low: float
    high: float
    int8_ms: float
    other_ms: float

    @property
    def surely_faster(self) -> bool:
        """Whether INT8 is faster throughout the interval."""
        return self.high < 1

    @property
    def advice(self) -> str:
        """What to do where INT8 is not faster."""
        more = "" if self.precision == "fp32" else f", and run it with --precision {self.precision}"
        return f"export without --int8{more}"

    def __str__(self) -> str:
        return (
            f"INT8 takes {self.ratio:.2f} times ({self.low:.2f} to {self.high:.2f}) the time of "
            f"{self.precision.upper()} ({self.int8_ms:.1f} beside {self.other_ms:.1f} ms)"
        )


def alternate(
    runtimes: Mapping[str, Runtime], images: Array, rounds: int, progress: Progress
) -> dict[str, list[float]]:
    """Return the median milliseconds of each runtime in each round; all run in every round."""
    calls = {}
    for name, runtime in runtimes.items():
        runtime.infer(images)
        calls[name] = max(1, min(MOST_CALLS, int(ROUND_S / max(_seconds(runtime, images), 1e-6))))
    found: dict[str, list[float]] = {name: [] for name in runtimes}
    for number in range(1, rounds + 1):
        for name, runtime in runtimes.items():
            times = [_seconds(runtime, images) for _ in range(calls[name])]
            found[name].append(1e3 * median(times))
        progress(number, rounds)
    return found


def _seconds(runtime: Runtime, images: Array) -> float:
    start = perf_counter()
    runtime.infer(images)
    return perf_counter() - start


def compare_speed(
    int8: Runtime, others: Mapping[str, Runtime], images: Array, progress: Progress
) -> list[Ratio]:
    """Return how the time of INT8 compares with that of each other precision."""
    times = alternate({"int8": int8, **others}, images, ROUNDS, progress)
    return [ratio_of(name, times["int8"], times[name]) for name in others]


def ratio_of(precision: str, int8: Sequence[float], other: Sequence[float]) -> Ratio:
    """Return the median ratio of paired rounds (:data:`ROUNDS` of them), and its interval."""
    ratios = np.sort(np.array(int8) / np.array(other))
    return Ratio(
        precision,
        float(np.median(ratios)),
        float(ratios[LOWEST]),
        float(ratios[HIGHEST]),
        median(int8),
        median(other),
    )
