"""The first GPU, as its driver describes it, if there is one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence

FIXED = ("name", "driver_version", "memory.total", "clocks.max.sm", "power.limit")
THROTTLED = "clocks_throttle_reasons.active"
CHANGING = ("memory.used", "clocks.sm", "power.draw", "temperature.gpu", THROTTLED)


def gpu_facts(fields: Sequence[str]) -> dict[str, str]:
    """Return what ``nvidia-smi`` says of the first GPU, by field with "GPU" before it."""
    text = _query(fields, "csv,noheader")
    values = [value.strip() for value in text.splitlines()[0].split(",")] if text else []
    if len(values) != len(fields):
        return {}
    return {f"GPU {field}": value for field, value in zip(fields, values, strict=True)}


def gpu_doubts(moment: Mapping[str, str]) -> list[str]:
    """Return sentences why the GPU makes figures doubtful; ``moment`` is of :func:`gpu_facts`."""
    reasons = moment.get(f"GPU {THROTTLED}", "0x0")
    # The lowest bit is "idle", which is what a GPU is after a measurement.
    active = int(reasons, 16) & ~1 if reasons.startswith("0x") else 0
    return [f"the GPU's clock was held back (reasons {reasons})"] if active else []


def gpu_used() -> int | None:
    """Return the bytes in use on the first GPU, ``None`` if there is no GPU."""
    text = _query(["memory.used"], "csv,noheader,nounits")
    first = text.splitlines()[0].strip() if text else ""
    return int(first) << 20 if first.isdigit() else None


def _query(fields: Sequence[str], style: str) -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    return output_of("nvidia-smi", f"--query-gpu={','.join(fields)}", f"--format={style}")


def output_of(*command: str) -> str:
    """Return what a command prints, nothing if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
