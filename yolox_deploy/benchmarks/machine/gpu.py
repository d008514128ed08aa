"""The first GPU, as its driver shows it, where there is one."""

from __future__ import annotations

import shutil
import subprocess

GPU_FIELDS = (
    *("name", "driver_version", "memory.total", "memory.used", "clocks.sm", "clocks.max.sm"),
    *("power.draw", "power.limit", "temperature.gpu", "clocks_throttle_reasons.active"),
)


def gpu_doubts(moment: dict[str, str]) -> list[str]:
    """Return sentences why the GPU makes figures doubtful; keys are those of a report."""
    reasons = moment.get("GPU clocks_throttle_reasons.active", "0x0")
    # The lowest bit is "idle", which is what a GPU is after a measurement.
    active = int(reasons, 16) & ~1 if reasons.startswith("0x") else 0
    return [f"the GPU's clock was held back (reasons {reasons})"] if active else []


def gpu_facts(kind: str) -> dict[str, str]:
    """Return what ``nvidia-smi`` says of the first GPU, nothing where there is none."""
    if shutil.which("nvidia-smi") is None:
        return {}
    text = output_of("nvidia-smi", f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader")
    values = [value.strip() for value in text.splitlines()[0].split(",")] if text else []
    if len(values) != len(GPU_FIELDS):
        return {}
    known = dict(zip(GPU_FIELDS, values, strict=True))
    fixed = {"name", "driver_version", "memory.total", "clocks.max.sm", "power.limit"}
    return {key: value for key, value in known.items() if (key in fixed) == (kind == "fixed")}


def gpu_used() -> int | None:
    """Return the bytes in use on the first GPU, ``None`` where none is shown."""
    if shutil.which("nvidia-smi") is None:
        return None
    text = output_of("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
    first = text.splitlines()[0].strip() if text else ""
    return int(first) << 20 if first.isdigit() else None


def output_of(*command: str) -> str:
    """Return what a command prints, nothing where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
