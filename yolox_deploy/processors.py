"""How many processors this process may use, which engines take for the machine's whole number."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def allowed_cores() -> float:
    """Return how many processors this process may use, which a container may limit."""
    cores = float(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    limit = _cgroup_limit()
    return min(cores, limit) if limit else cores


def threads_allowed() -> int | None:
    """Return the most threads that make sense here, ``None`` where every processor may be used.

    Threads beyond it wait for each other: a container's quota is used up halfway through a
    network, and threads that spin take the processor from the one they wait for.
    """
    allowed = allowed_cores()
    return max(int(allowed), 1) if allowed < (os.cpu_count() or 1) else None


def _cgroup_limit() -> float | None:
    """Return the quota in processors of cgroup version 2 or 1, ``None`` without one."""
    files = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
    for names in files:
        try:
            words = " ".join((CGROUP / name).read_text() for name in names).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # "max": no limit
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None
