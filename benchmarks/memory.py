"""The most memory this process has taken, and what all processes take on the first GPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def peak_bytes() -> int:
    """Return the most memory (resident) that this process has held, 0 where nobody knows."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: its maximum is inherited from the process that started this one.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def gpu_used() -> int | None:
    """Return the bytes in use on the first GPU, ``None`` where ``nvidia-smi`` shows none."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
        return int(text.splitlines()[0]) << 20
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return None
