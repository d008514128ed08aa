"""Streaming accuracy: how good a detector is while the video goes on and does not wait for it.

Frames arrive at a fixed rate, and a detector that is free takes the latest frame.  At the time of
every frame, the last finished output is compared with that frame's ground truth: a slow detector
answers with boxes of the past.  After Li, Wang and Ramanan, "Towards Streaming Perception"
(ECCV 2020), the measure of the Streaming Perception Challenge.

Time is counted in frames: frame k arrives at time k.  Real time and simulation use the same loop
with different clocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

Entries = list[dict[str, Any]]


class Clock:
    """Time in frames since the stream began; here it passes only when somebody sets it."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        """Return the time."""
        return self.time

    def wait_until(self, time: float) -> None:
        """Return when ``now() >= time``."""
        self.time = max(self.time, time)


class WallClock(Clock):
    """The real time at ``fps`` frames per second, from its construction on."""

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self.start = perf_counter()

    def now(self) -> float:
        return (perf_counter() - self.start) * self.fps

    def wait_until(self, time: float) -> None:
        while (left := time - self.now()) > 0:
            sleep(left / self.fps)


# Whether a detector that is free at this time leaves the latest frame and waits for the next one.
Schedule = Callable[[float], bool]


def naive(time: float) -> bool:
    """Never wait while there is a frame to look at (the paper's idle-free schedule)."""
    return False


@dataclass(frozen=True)
class ShrinkingTail:
    """The paper's dynamic schedule for a detector that takes ``runtime`` frames.

    The tail of a time is how long ago the latest frame arrived.  If starting now would end with a
    smaller tail than the present one, waiting for the next frame gives a result for the same
    comparisons from a fresher picture (algorithm 1 of the appendix).  An end exactly at a frame's
    arrival still counts for that frame: there the tail is a whole frame.
    """

    runtime: float

    def __call__(self, time: float) -> bool:
        """Return whether to wait."""
        return 0 < (time + self.runtime) % 1 < time % 1


SCHEDULES: dict[str, Callable[[float], Schedule]] = {
    "naive": lambda runtime: naive,
    "dynamic": ShrinkingTail,
}


@dataclass(frozen=True)
class Stream:
    """What came out of a detector while ``count`` frames passed.

    ``frames`` (n,) int64: which frame each output is of; ``finished`` (n,) float64: when it was
    there, in frames, ascending.
    """

    count: int
    frames: NDArray[np.int64]
    finished: NDArray[np.float64]

    @property
    def shown(self) -> NDArray[np.int64]:
        """The output (count,) int64 that stands at each frame's time, -1 for none yet."""
        times = np.arange(self.count)
        return np.searchsorted(self.finished, times, side="right") - 1

    @property
    def lags(self) -> NDArray[np.int64]:
        """Age in frames of what stands at each frame that has an output at all."""
        shown = self.shown
        times = np.flatnonzero(shown >= 0)
        return np.asarray(times - self.frames[shown[times]], np.int64)

    @property
    def missed(self) -> int:
        """Frames at which there was no output yet."""
        return int(np.count_nonzero(self.shown < 0))

    @property
    def in_time(self) -> int:
        """Frames whose output is at most one frame old: no detector that takes time does better."""
        return int(np.count_nonzero(self.lags <= 1))

    @property
    def mean_lag(self) -> float:
        """Mean age in frames of what was shown; NaN if nothing was."""
        return float(self.lags.mean()) if self.lags.size else math.nan


def run_stream(
    detect: Callable[[int], None], count: int, clock: Clock, schedule: Schedule = naive
) -> Stream:
    """Let ``count`` frames pass and return what ``detect``, called with a frame's number, gave.

    What is not finished when the last frame's time is over counts for nothing.
    """
    frames: list[int] = []
    finished: list[float] = []
    last = -1
    while (now := clock.now()) < count:
        newest = math.floor(now)
        if newest == last or schedule(now):
            clock.wait_until(newest + 1)
            continue
        last = newest
        detect(newest)
        frames.append(newest)
        finished.append(clock.now())
    return Stream(count, np.array(frames, np.int64), np.array(finished, np.float64))


def simulate(count: int, runtimes: Callable[[], float], schedule: Schedule = naive) -> Stream:
    """Return the stream of a detector whose every call takes ``runtimes()`` frames."""
    clock = Clock()

    def detect(frame: int) -> None:
        clock.time += runtimes()

    return run_stream(detect, count, clock, schedule)


def draws(runtimes: NDArray[np.float64], seed: int = 0) -> Callable[[], float]:
    """Return a function that draws one of ``runtimes`` (n,) after another, with replacement."""
    generator = np.random.default_rng(seed)
    return lambda: float(generator.choice(runtimes))


def shown_entries(
    stream: Stream, image_ids: Sequence[int], entries: Callable[[int, int], Entries]
) -> Entries:
    """Return COCO result entries of what stood at each frame's time.

    ``image_ids`` are the ids of the frames; ``entries(output, age)`` returns those of an output
    that is shown when its frame is ``age`` frames old.
    """
    return [
        {**entry, "image_id": number}
        for time, (number, output) in enumerate(zip(image_ids, stream.shown.tolist(), strict=True))
        if output >= 0
        for entry in entries(output, time - int(stream.frames[output]))
    ]
