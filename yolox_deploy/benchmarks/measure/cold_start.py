"""Cold start and memory, each in a fresh process, because a process starts cold only once."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolox_deploy.benchmarks.measure.systems import System
from yolox_deploy.errors import YoloxDeployError

TIMEOUT_S = 600
# Calls after the first, so that peak memory is that of work and not of opening alone.
LATER_CALLS = 5

CODE = """
import sys, time
start = time.perf_counter()
import json
from yolox_deploy import Detector
from yolox_deploy.runtimes import BACKENDS
model, options, picture, batch, later = json.loads(sys.argv[1])
BACKENDS[options["backend"]].runtime_class()
imported = time.perf_counter()
from yolox_deploy.benchmarks.machine.gpu import gpu_used
from yolox_deploy.benchmarks.machine.memory import peak_bytes
import numpy
pictures = [numpy.load(picture)] * batch
gpu = gpu_used()
loading = time.perf_counter()
detector = Detector(model, **options)
loaded = time.perf_counter()
detector.batch(pictures)
first = time.perf_counter()
for _ in range(later):
    detector.batch(pictures)
used = None if gpu is None else max(gpu_used() - gpu, 0)
print(json.dumps({
    "import_s": imported - start, "load_s": loaded - loading, "first_s": first - loaded,
    "peak_bytes": peak_bytes(), "gpu_bytes": used,
}))
"""


@dataclass(frozen=True)
class ColdStart:
    """Seconds of a fresh process for its steps, and the most memory it took.

    Files lie in the system's cache already: this is the start of a process, not of a machine.
    ``gpu_bytes`` is ``None`` where there is no GPU to ask.
    """

    import_s: float
    load_s: float
    first_s: float
    peak_bytes: int
    gpu_bytes: int | None

    @property
    def total_s(self) -> float:
        """Seconds from starting the interpreter's work to the first detections."""
        return self.import_s + self.load_s + self.first_s

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def cold_starts(system: System, count: int) -> list[ColdStart]:
    """Return ``count`` cold starts of a system, each in a process of its own.

    Raises :class:`YoloxDeployError` where such a process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.npy"
        np.save(picture, system.pictures[0])
        given = json.dumps(
            [
                str(system.artifact),
                system.detector_arguments(),
                str(picture),
                system.batch,
                LATER_CALLS,
            ]
        )
        return [_run([sys.executable, "-c", CODE, given], system.info.label) for _ in range(count)]


def _run(command: Sequence[str], label: str) -> ColdStart:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise YoloxDeployError(f"{label}: a fresh process did not end in {TIMEOUT_S} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise YoloxDeployError(f"{label}: a fresh process ended with {done.returncode}: {last}")
    return ColdStart(**json.loads(done.stdout.splitlines()[-1]))
