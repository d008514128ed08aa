"""How fast two processors hand each other data, on which the worth of a second thread hangs.

Processors that share a cache pass data on twice as fast as processors that do not, and a network on
two threads is half as fast again with them.  In a virtual machine the host moves the processors
about, for seconds or for minutes, and nothing else shows it: neither load, nor stolen time, nor
work on one thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from time import perf_counter

import numpy as np

from yolox_deploy.benchmarks.measure.statistics import Floats, Integers

# Fits into any processor's second cache, and is large against the clock's steps.
BYTES = 256 << 10
# One number of each cache line: adding is little beside fetching, so a slower clock alone is not
# taken for another place.
LINE = 16
REPEATS = 4
# Of a round that began and ended differently.
CHANGING = -1


def exchange_seconds() -> float | None:
    """Return how long one processor takes to read 256 KiB that another one has just written.

    The best of some times, between the first and the last processor that this thread may use;
    ``None`` where there is only one, or where the system does not let a thread choose (only Linux
    does).
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        return None
    ends = (min(allowed), max(allowed))
    data = np.zeros(BYTES // 4, np.int32)
    best = float("inf")
    try:
        for turn in range(REPEATS):
            os.sched_setaffinity(0, {ends[turn % 2]})
            data += 1
            os.sched_setaffinity(0, {ends[1 - turn % 2]})
            start = perf_counter()
            data[::LINE].sum()
            best = min(best, perf_counter() - start)
    except OSError:
        return None
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, allowed)
    return best


def fastest(*runs: Sequence[float]) -> float:
    """Return what a fast exchange takes in these runs; a single lucky one is none."""
    return float(np.percentile(np.concatenate(runs), 10))


def levels(seconds: Sequence[float], fast: float) -> Integers:
    """Return how many times slower than ``fast`` each round's exchange was, in powers of two.

    ``seconds`` (n + 1,) were measured around n rounds; the result (n,) is 0 for about as fast, 1
    for half as fast, and so on, and :data:`CHANGING` where a round began and ended differently.
    """
    times: Floats = np.asarray(seconds, np.float64)
    steps = np.rint(np.log2(times / fast)).astype(np.int64).clip(0)
    return np.where(steps[:-1] == steps[1:], steps[:-1], CHANGING)


def alike(seconds: Sequence[float | None]) -> bool:
    """Whether the processors exchanged data equally fast at all times, as far as is known."""
    known = [value for value in seconds if value is not None]
    return len(known) < 2 or not levels(known, min(known)).any()
