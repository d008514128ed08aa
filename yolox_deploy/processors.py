"""How many processors this process may use, which engines take for the machine's whole number."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def allowed_cores() -> float:
    """Return how many processors this process may use, which a container may limit."""
    limit = _cgroup_limit()
    return min(float(len(own_processors())), limit or float("inf"))


# More threads are a mistake: engines only get slower, and some wait without end where the system
# gives them fewer.
MOST_THREADS = max(64, 4 * (os.cpu_count() or 1))


def threads_allowed() -> int | None:
    """Return the most threads that make sense here, ``None`` where every processor may be used.

    One a physical core, and no more than the quota.  Threads beyond it wait for each other: a
    quota is used up halfway through a network, and threads that spin take the processor from the
    one they wait for.
    """
    allowed = allowed_cores()
    if allowed >= (os.cpu_count() or 1):
        return None
    cores = {_siblings(processor) for processor in own_processors()}
    return max(min(int(allowed), len(cores)), 1)


def physical_cores() -> int | None:
    """Return how many physical cores the processors of this process have, ``None`` if unknown."""
    processors = own_processors()
    if not all(Path(TOPOLOGY.format(processor)).exists() for processor in processors):
        return None
    return len({_siblings(processor) for processor in processors})


def wait_passively() -> None:
    """Let the threads of OpenMP libraries that are loaded later sleep while they wait.

    Otherwise they spin, and take the processors from the threads that they wait for if other
    programs are busy.  A choice of the user stands.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def own_processors() -> set[int]:
    """Return the numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _siblings(processor: int) -> str:
    """Return the processors of the same physical core, as the system names them."""
    try:
        return Path(TOPOLOGY.format(processor)).read_text().strip()
    except OSError:
        return str(processor)


def _cgroup_limit() -> float | None:
    """Return the least quota in processors of this process' control groups, ``None`` without."""
    return min(filter(None, map(_quota, _groups())), default=None)


def _groups() -> Iterator[Path]:
    """Yield this process' control groups (version 2, and version 1's of "cpu") up to the root."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUP / "cpu" if controllers else CGROUP
        inner = Path(path.lstrip("/"))
        yield from (root / part for part in (inner, *inner.parents) if part != Path())
    yield from (CGROUP, CGROUP / "cpu")


def _quota(group: Path) -> float | None:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            words = " ".join((group / name).read_text() for name in names).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # "max": no limit
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None
