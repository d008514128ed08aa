"""Check that our figures agree with the engines' own tools, and that the stages add up.

``python -m tools.checks.agreement`` measures in turns with OpenVINO's ``benchmark_app`` (latency
hint, the same precision and threads) and with a bare loop on ONNX Runtime.  It exits with 1 if a
figure differs by more than it may.  The machine must be quiet.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tools.checks.turns import in_turns
from yolox_deploy.benchmarks.measure.loop import INFERENCE, Series, harness_cost, measure
from yolox_deploy.benchmarks.measure.opening import requests
from yolox_deploy.benchmarks.measure.statistics import Floats
from yolox_deploy.benchmarks.measure.systems import ImageArray, System, SystemRequest
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import find_images, read_image
from yolox_deploy.processors import threads_allowed
from yolox_deploy.terminal import print_table, say

OPENVINO_MAY, ONNXRUNTIME_MAY, SUM_MAY, HARNESS_MAY = 0.05, 0.03, 0.02, 0.01
FIGURES = re.compile(r"Median:\s+([\d.]+) ms.*Min:\s+([\d.]+) ms", re.DOTALL)


class Times(NamedTuple):
    """Seconds per call: the median, and the least, which a busy machine disturbs less."""

    median: float
    least: float


@dataclass(frozen=True)
class Check:
    """A comparison in turns of (our seconds, the other's), and what the medians may differ by.

    The difference is the median of the differences within turns, so it does not contain what
    changes from turn to turn.
    """

    name: str
    turns: Sequence[tuple[Times, Times]]
    may: float

    @property
    def differences(self) -> tuple[float, float]:
        """Shares by which our median and our least are larger."""
        ratios = [np.divide(ours, other) for ours, other in self.turns]
        median, least = np.median(ratios, 0) - 1
        return float(median), float(least)

    @property
    def ok(self) -> bool:
        """Whether they agree."""
        return abs(self.differences[0]) <= self.may

    def row(self) -> list[str]:
        """Return the cells of a table."""
        times = (f"{seconds * 1e3:.3f}" for seconds in np.median(self.turns, 0)[:, 0])
        verdict = "agrees" if self.ok else "DIFFERS"
        shares = (f"{d:+.1%}" for d in self.differences)
        return [self.name, *times, *shares, f"{self.may:.0%}", verdict]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return 1 where something differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano,s", help="architectures (default: nano,s)")
    parser.add_argument(
        "--precision", default="fp32,bf16", help="precisions of OpenVINO (default: fp32,bf16)"
    )
    parser.add_argument("--turns", type=int, default=5, help="turns of each side (default: 5)")
    parser.add_argument("--seconds", type=float, default=4, help="seconds per turn (default: 4)")
    parser.add_argument(
        "--threads", type=int, help="number of CPU threads (default: the engine's choice)"
    )
    options = parser.parse_args(argv)
    pictures = [read_image(path) for path in find_images([ASSETS])]
    checks: list[Check] = []
    for model in options.model.split(","):
        for backend, precisions, rival, may in (
            ("openvino", options.precision.split(","), benchmark_app, OPENVINO_MAY),
            ("onnxruntime", [None], bare_loop, ONNXRUNTIME_MAY),
        ):
            for request in requests(
                [model], [backend], precisions, random_weights=True, threads=options.threads
            ):
                say(f"{request.text}: {options.turns} turns")
                checks += _agreement(request, rival, may, pictures, options)
    print_table(
        ("system", "ours ms", "other ms", "median", "least", "may", "verdict"),
        [check.row() for check in checks],
    )
    return 0 if all(check.ok for check in checks) else 1


Rival = Callable[[System, float], Times]


def _agreement(
    request: SystemRequest,
    rival: Rival,
    may: float,
    pictures: Sequence[ImageArray],
    options: argparse.Namespace,
) -> list[Check]:
    """Take turns; return the comparison of the engine's time, and that the stages add up."""
    system = System(request, pictures)
    system.close()

    def ours() -> Series:
        opened = System(request, pictures)
        try:
            return measure([opened], options.seconds, 20)[0]
        finally:
            opened.close()

    taken = in_turns(options.turns, ours, lambda: rival(system, options.seconds))
    turns = [(_times(series.stages[:, INFERENCE]), theirs) for series, theirs in taken]
    total = np.concatenate([series.total for series, _ in taken])
    sums = np.concatenate([np.nansum(series.stages, 1) for series, _ in taken])
    cost = harness_cost(pictures)
    label, whole = system.info.label, _times(total)
    without = _times(total - cost.inside - cost.between)
    return [
        Check(f"{label}, inference against {rival.__name__}", turns, may),
        Check(f"{label}, sum of stages against end to end", [(_times(sums), whole)], SUM_MAY),
        Check(f"{label}, with the harness against without", [(whole, without)], HARNESS_MAY),
    ]


def _times(seconds: Floats) -> Times:
    return Times(float(np.median(seconds)), float(seconds.min()))


def benchmark_app(system: System, seconds: float) -> Times:
    """Return what OpenVINO's own tool finds."""
    tool = Path(sys.executable).with_name("benchmark_app")
    info, threads = system.info, system.request.threads or threads_allowed()
    # Its rule: a number of threads goes with hint none only, where one stream means latency.
    chosen = ["none", "-nstreams", "1", "-nthreads", str(threads)] if threads else ["latency"]
    done = subprocess.run(
        [
            *(str(tool), "-m", str(system.artifact), "-d", "CPU", "-api", "sync"),
            *("-t", f"{max(round(seconds), 1)}", "-hint", *chosen),
            *("-infer_precision", {"fp32": "f32", "bf16": "bf16"}[info.precision]),
            # Left alone it puts a conversion from bytes before the network.
            *("-ip", "f32"),
        ],
        capture_output=True,
        text=True,
    )
    found = FIGURES.search(done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"benchmark_app failed: {(done.stdout + done.stderr)[-400:]}")
    return Times(float(found[1]) / 1e3, float(found[2]) / 1e3)


def bare_loop(system: System, seconds: float) -> Times:
    """Return what ONNX Runtime takes when it is called in a loop, and nothing else."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = system.request.threads or threads_allowed() or 0
    session = onnxruntime.InferenceSession(
        str(system.artifact), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    picture = np.zeros((1, 3, system.info.height, system.info.width), np.float32)
    system.detector.letterbox(system.pictures[0], picture[0])
    for _ in range(5):
        session.run(None, {name: picture})
    times: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(times) < 20:
        start = time.perf_counter()
        session.run(None, {name: picture})
        times.append(time.perf_counter() - start)
    return _times(np.array(times))


if __name__ == "__main__":
    raise SystemExit(main())
