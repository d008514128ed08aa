"""The machine that was measured on, and whether it was quiet enough for the figures to count."""

from __future__ import annotations

import functools
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yolox_deploy
from yolox_deploy.benchmarks.machine.exchange import changes, exchange_seconds
from yolox_deploy.benchmarks.machine.gpu import CHANGING, FIXED, gpu_doubts, gpu_facts, output_of
from yolox_deploy.benchmarks.needs import require
from yolox_deploy.processors import allowed_cores
from yolox_deploy.records import Amount, Record, Share

# What decides how fast a network computes; a report does not need the other flags.
INSTRUCTION_SETS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimddp", "sve"),
)
# What changes how engines use the processors.
VARIABLES = ("OMP_", "KMP_", "MKL_", "OPENBLAS_", "ONEDNN_", "ORT_", "OV_", "CUDA_")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
# Shares of the allowed processor time, and the change of a pulse, that make a result doubtful.
BUSY_SHARE = 0.05
STOLEN_SHARE = 0.02
PULSE_CHANGE = 0.05


@dataclass(frozen=True)
class Environment(Record):
    """A machine during a measurement; ``doubts`` are sentences why the figures may be wrong.

    ``machine`` holds what does not change, ``start`` and ``end`` what does, in words.  ``lost`` is
    the share of the processors' time (0..1) that other programs had meanwhile, on this machine or
    on its host.  ``exchange`` are the seconds of
    :func:`~yolox_deploy.benchmarks.machine.exchange.exchange_seconds` at the start and at the end,
    if they can be measured.
    """

    machine: Mapping[str, str]
    start: Mapping[str, str]
    end: Mapping[str, str]
    lost: Share
    doubts: Sequence[str]
    exchange: Sequence[Amount] = ()

    @property
    def busy(self) -> bool:
        """Whether other programs, here or on the host, made the times longer."""
        return bool(self.doubts) and self.lost > BUSY_SHARE


class Watch:
    """Watches the machine from its construction until :meth:`finish`."""

    def __init__(self) -> None:
        self.psutil = require_psutil()
        self.machine = machine()
        self.start = self._moment()
        self.exchange = exchange_seconds()
        self.cpu = self._processors()
        self.own = own_seconds()
        self.clock = time.perf_counter()
        self.pulse = pulse()

    def finish(self) -> Environment:
        """Return what was seen."""
        capacity = (time.perf_counter() - self.clock) * (self.psutil.cpu_count() or 1)
        busy, stolen = (b - a for a, b in zip(self.cpu, self._processors(), strict=True))
        others = max(0.0, busy - (own_seconds() - self.own)) / capacity
        end = self._moment()
        last = pulse()
        end["other programs"] = f"{others:.1%} of the processors"
        end["pulse"] = f"{last * 1e6:.0f} us (at the start {self.pulse * 1e6:.0f} us)"
        exchange = (self.exchange, exchange_seconds())
        moved = changes(exchange)
        doubts = (
            *machine_doubts(others, stolen / capacity, last / self.pulse),
            *([moved] if moved else []),
            *gpu_doubts(end),
        )
        lost = round(min(others + stolen / capacity, 1.0), 6)
        known = tuple(seconds for seconds in exchange if seconds is not None)
        return Environment(self.machine, self.start, end, lost, doubts, known)

    def _processors(self) -> tuple[float, float]:
        """Return the seconds that processors worked here, and that the host gave away."""
        times = self.psutil.cpu_times()
        idle, stolen = times.idle + getattr(times, "iowait", 0.0), getattr(times, "steal", 0.0)
        # Guest time is part of user time already.
        return sum(times) - idle - stolen - getattr(times, "guest", 0.0), stolen

    def _moment(self) -> dict[str, str]:
        memory = self.psutil.virtual_memory()
        found = {"memory free": f"{memory.available / 2**30:.1f} GiB"}
        if hasattr(os, "getloadavg"):
            found["load"] = " ".join(f"{value:.2f}" for value in os.getloadavg())
        frequency = _or_none(lambda: self.psutil.cpu_freq())
        if frequency and frequency.current:
            found["frequency"] = f"{frequency.current:.0f} MHz"
        return {**found, **gpu_facts(CHANGING)}


@functools.cache
def machine() -> dict[str, str]:
    """Return what does not change while the machine runs."""
    psutil = require_psutil()
    cpuinfo = require("cpuinfo", "benchmarks name the processor with py-cpuinfo")
    about = _or_none(cpuinfo.get_cpu_info) or {}
    flags = about.get("flags", ())
    found = {
        "CPU": about.get("brand_raw") or platform.machine(),
        "instruction sets": " ".join(name for name in INSTRUCTION_SETS if name in flags),
        "cores": f"{allowed_cores():g} allowed of {psutil.cpu_count()} "
        f"({psutil.cpu_count(logical=False) or '?'} physical)",
        "governor": _or_none(GOVERNOR.read_text) or "not shown by the system",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "yolox_deploy": yolox_deploy.__version__,
        "commit": commit(),
        "environment variables": " ".join(
            f"{key}={value}"
            for key, value in sorted(os.environ.items())
            if key.startswith(VARIABLES)
        ),
        **gpu_facts(FIXED),
    }
    return {key: value.strip() for key, value in found.items() if value}


def pulse(repeats: int = 20) -> float:
    """Return the seconds that a fixed piece of work on one thread takes at best.

    The clock of the processor changes this time, and so do programs that hardly ever rest.
    """
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        sum(range(20_000))
        best = min(best, time.perf_counter() - start)
    return best


def commit() -> str:
    """Return the commit of the source tree this package runs from, empty for an installed one."""
    folder = Path(yolox_deploy.__file__).parents[1]
    if not (folder / ".git").exists():
        return ""
    head = output_of("git", "-C", str(folder), "rev-parse", "--short=12", "HEAD").strip()
    changed = output_of("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return f"{head} with changes" if head and changed.strip() else head


def require_psutil() -> Any:
    """Return ``psutil``; raises :class:`MissingPackageError`."""
    return require("psutil", "benchmarks watch the machine with psutil")


def machine_doubts(others: float, stolen: float, change: float) -> list[str]:
    """Return sentences why the machine makes figures doubtful.

    ``others`` and ``stolen`` are shares of the processors that other programs and other machines
    had, ``change`` is the pulse at the end divided by the pulse at the start.
    """
    doubts = []
    if others > BUSY_SHARE:
        doubts.append(f"other programs used {others:.0%} of the processors")
    if stolen > STOLEN_SHARE:
        doubts.append(f"the host gave {stolen:.0%} of the processors' time to other machines")
    if not 1 / (1 + PULSE_CHANGE) < change < 1 + PULSE_CHANGE:
        doubts.append(
            f"the same work took {change:.2f} times as long at the end as at the start: another "
            "clock of the processor, or other programs"
        )
    return doubts


def own_seconds() -> float:
    """Return the processor time of this process and its ended children."""
    return sum(os.times()[:4])


def _or_none(ask: Callable[[], Any]) -> Any:
    """Return what ``ask`` gives, ``None`` if this system does not show it."""
    try:
        return ask()
    except Exception:
        return None
