"""The machine a figure was measured on, and whether it was quiet enough for the figure to count."""

from __future__ import annotations

import functools
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yolox_deploy
from yolox_deploy.benchmarks.machine.gpu import gpu_doubts, gpu_facts, output_of
from yolox_deploy.errors import MissingPackageError
from yolox_deploy.processors import allowed_cores

# What decides how fast a network computes; the rest of the flags is noise in a report.
INSTRUCTION_SETS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimddp", "sve"),
)
# Shares of the allowed processor time, and of a pulse, that make a result doubtful.
BUSY_SHARE = 0.05
STOLEN_SHARE = 0.02
PULSE_CHANGE = 0.05


@dataclass(frozen=True)
class Environment:
    """A machine during a measurement; ``doubts`` are sentences why the figures may be wrong.

    ``machine`` holds what does not change, ``start`` and ``end`` what does, as shown to a person.
    ``lost`` is the share of the processors' time (0..1) that others had meanwhile, on this machine
    or its host.
    """

    machine: dict[str, str]
    start: dict[str, str]
    end: dict[str, str]
    lost: float = 0.0
    doubts: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Environment:
        """Return what :meth:`to_json` wrote; the content was checked against the schema."""
        return cls(**{row.name: content[row.name] for row in fields(cls)})


class Watch:
    """Looks at the machine from its making to :meth:`finish`."""

    def __init__(self) -> None:
        self.psutil = require_psutil()
        self.machine = machine()
        self.start = self._moment()
        self.cpu = self.psutil.cpu_times()
        self.own = _own_seconds()
        self.clock = time.perf_counter()
        self.pulse = pulse()

    def finish(self) -> Environment:
        """Return what was seen."""
        elapsed = time.perf_counter() - self.clock
        before, after = self.cpu, self.psutil.cpu_times()
        own = _own_seconds() - self.own
        capacity = elapsed * (self.psutil.cpu_count() or 1)
        busy = (sum(after) - after.idle - getattr(after, "iowait", 0)) - (
            sum(before) - before.idle - getattr(before, "iowait", 0)
        )
        stolen = getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)
        # Guest time is part of user time already.
        guest = getattr(after, "guest", 0.0) - getattr(before, "guest", 0.0)
        others = max(0.0, busy - guest - own - stolen) / capacity
        end = self._moment()
        last = pulse()
        end["others used"] = f"{others:.1%} of the processors"
        end["pulse"] = f"{last * 1e6:.0f} us (at the start {self.pulse * 1e6:.0f} us)"
        doubts = [*_doubts(others, stolen / capacity, last / self.pulse), *gpu_doubts(end)]
        lost = min(others + stolen / capacity, 1.0)
        return Environment(self.machine, self.start, end, round(lost, 6), doubts)

    def _moment(self) -> dict[str, str]:
        memory = self.psutil.virtual_memory()
        found = {"memory free": f"{memory.available / 2**30:.1f} GiB"}
        if hasattr(os, "getloadavg"):
            found["load"] = " ".join(f"{value:.2f}" for value in os.getloadavg())
        frequency = _quietly(lambda: self.psutil.cpu_freq())
        if frequency and frequency.current:
            found["frequency"] = f"{frequency.current:.0f} MHz"
        found.update({f"GPU {key}": value for key, value in gpu_facts("now").items()})
        return found


@functools.cache
def machine() -> dict[str, str]:
    """Return what does not change while the machine runs."""
    psutil = require_psutil()
    model, flags = _cpu()
    found = {
        "CPU": model,
        "instruction sets": " ".join(name for name in INSTRUCTION_SETS if name in flags),
        "cores": _cores(psutil),
        "governor": _governor(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "yolox_deploy": yolox_deploy.__version__,
        "commit": commit(),
        "environment variables": _variables(),
    }
    found.update({f"GPU {key}": value for key, value in gpu_facts("fixed").items()})
    return {key: value for key, value in found.items() if value}


def pulse(repeats: int = 20) -> float:
    """Return the seconds that a fixed piece of one-thread work takes at best.

    It changes with the clock of the processor and with nothing of ours.
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
    try:
        import psutil
    except ImportError as error:
        raise MissingPackageError(
            'benchmarks look at the machine with psutil: pip install "yolox-deploy[bench]"'
        ) from error
    return psutil


def _doubts(others: float, stolen: float, change: float) -> list[str]:
    doubts = []
    if others > BUSY_SHARE:
        doubts.append(f"other processes used {others:.0%} of the processors")
    if stolen > STOLEN_SHARE:
        doubts.append(f"the host gave {stolen:.0%} of the processors' time to other machines")
    if not 1 / (1 + PULSE_CHANGE) < change < 1 + PULSE_CHANGE:
        doubts.append(
            f"the processor's clock moved: fixed work took {change:.2f} times as long at the end "
            "as at the start"
        )
    return doubts


def _cpu() -> tuple[str, set[str]]:
    try:
        import cpuinfo
    except ImportError as error:
        raise MissingPackageError(
            'benchmarks name the processor with py-cpuinfo: pip install "yolox-deploy[bench]"'
        ) from error
    about = _quietly(cpuinfo.get_cpu_info) or {}
    return about.get("brand_raw") or platform.machine(), set(about.get("flags", ()))


def _cores(psutil: Any) -> str:
    return (
        f"{allowed_cores():g} allowed of {psutil.cpu_count()} "
        f"({psutil.cpu_count(logical=False) or '?'} physical)"
    )


def _governor() -> str:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return _quietly(lambda: path.read_text().strip()) or "not shown by the system"


def _variables() -> str:
    prefixes = ("OMP_", "KMP_", "MKL_", "OPENBLAS_", "ONEDNN_", "ORT_", "OV_", "CUDA_")
    chosen = sorted(item for item in os.environ.items() if item[0].startswith(prefixes))
    return " ".join(f"{key}={value}" for key, value in chosen)


def _own_seconds() -> float:
    """Return the processor time of this process and its ended children."""
    times = os.times()
    return sum(times[:4])


def _quietly(ask: Callable[[], Any]) -> Any:
    """Return what ``ask`` gives, ``None`` where this system does not show it."""
    try:
        return ask()
    except Exception:
        return None
