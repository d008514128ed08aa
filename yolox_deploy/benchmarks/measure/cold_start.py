"""Cold start and memory, each in a fresh process, because a process starts cold only once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import yolox_deploy
from yolox_deploy.benchmarks.measure.systems import System
from yolox_deploy.errors import YoloxDeployError
from yolox_deploy.records import Amount, Count, Record

TIMEOUT_S = 600
# Calls after the first, so that peak memory is that of detecting, and not of opening alone.
LATER_CALLS = 5
PROGRAM = Path(__file__).with_name("fresh_process.py")


@dataclass(frozen=True)
class ColdStart(Record):
    """Seconds that each step of a fresh process took, and the most memory that it held.

    The files are in the system's cache already: this is the start of a process, not of a machine.
    ``gpu_bytes`` is ``None`` if there is no GPU.
    """

    import_s: Amount
    load_s: Amount
    first_s: Amount
    peak_bytes: Count
    gpu_bytes: Count | None

    @property
    def total_s(self) -> float:
        """Seconds from the first import to the first detections."""
        return self.import_s + self.load_s + self.first_s


def cold_starts(system: System, count: int) -> list[ColdStart]:
    """Return ``count`` cold starts of a system, each in a process of its own.

    Raises :class:`YoloxDeployError` if such a process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.npy"
        np.save(picture, system.pictures[0])
        model, options = str(system.artifact), system.detector_arguments()
        given = json.dumps([model, options, str(picture), system.batch, LATER_CALLS])
        return [_run(given, system.info.label) for _ in range(count)]


def _run(given: str, label: str) -> ColdStart:
    # -P: modules beside the program must not hide those of the standard library.
    command = [sys.executable, "-P", str(PROGRAM), given]
    package = str(Path(yolox_deploy.__file__).parents[1])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise YoloxDeployError(f"{label}: a fresh process did not end in {TIMEOUT_S} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise YoloxDeployError(f"{label}: a fresh process ended with {done.returncode}: {last}")
    return ColdStart.from_json(json.loads(done.stdout.splitlines()[-1]))
