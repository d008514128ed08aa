"""How fast two processors pass data to each other, timed at the start and at the end of a run.

Processors that share a cache do it about twice as fast, and then a network on two threads is up to
half as fast again.  The host of a virtual machine may move its processors, and nothing else shows
that: no load, no stolen time, no work on one thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from time import perf_counter

import numpy as np

# Fits into the second cache of any processor, and takes long against the steps of the clock.  One
# number of each cache line is read: then fetching takes the time, and not adding.
BYTES, LINE, REPEATS = 256 << 10, 16, 4
# Processors that are placed differently differ by a factor of 2; this is halfway.
CHANGED = 2**0.5


def exchange_seconds() -> float | None:
    """Return how long one processor takes to read 256 KiB that another has just written.

    The best of some times, between the first and the last processor that this thread may use.
    ``None`` if there is only one, or if the system (any but Linux) does not let a thread choose.
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


def changes(seconds: Sequence[float | None]) -> str:
    """Return in words how much these times of an exchange differ, nothing if they are alike."""
    known = [value for value in seconds if value is not None]
    if len(known) < 2 or max(known) <= CHANGED * min(known):
        return ""
    return (
        f"the processors passed data to each other up to {max(known) / min(known):.1f} times as "
        "slowly at one time as at another, which happens when the host of a virtual machine moves "
        "them"
    )
