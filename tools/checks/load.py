"""Measure how waiting threads behave beside busy programs: latency of engines, time of an export.

``python -m tools.checks.load`` opens every engine in processes of its own, once for each way of
waiting, and lets them take turns alone, beside one busy loop, and beside two.  With ``--export`` it
then times ``yolox-export`` in the same way.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import NamedTuple

import numpy as np

from yolox_deploy import Detector
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import read_image
from yolox_deploy.terminal import print_table

MODULE = "tools.checks.load"
OPENMP = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
# Variables of the environment, by the words that stand for them in the table.
POLICIES = {
    "threads spin": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}


class Way(NamedTuple):
    """One engine and one way of waiting."""

    backend: str
    waiting: str
    variables: dict[str, str]
    settings: dict[str, str]


def ways(backends: Sequence[str]) -> Iterator[Way]:
    """Yield every engine with every way of waiting that it has."""
    for backend in backends:
        if backend == "onnxruntime":
            for value in ("yes", "no"):
                yield Way(backend, f"spinning={value}", {}, {"spinning": value})
        elif backend == "openvino":
            yield Way(backend, "no choice", {}, {})
        else:
            for words, variables in POLICIES.items():
                yield Way(backend, words, variables, {})


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return this process' environment with no waiting policy but ``variables``."""
    return {k: v for k, v in os.environ.items() if k not in OPENMP} | variables


class Worker:
    """A process that detects when it is told to, and returns the milliseconds of each call."""

    def __init__(self, way: Way, model: str | None) -> None:
        given = json.dumps([model, way.backend, way.settings])
        self.process = subprocess.Popen(
            [sys.executable, "-m", MODULE, "--worker", given],
            env=environment(way.variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.measure(3)

    def measure(self, calls: int) -> list[float]:
        """Return the milliseconds of some calls."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{calls}\n")
        self.process.stdin.flush()
        found: list[float] = json.loads(self.process.stdout.readline())
        return found

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def worker(model: str | None, backend: str, settings: dict[str, str]) -> None:
    """Detect as often as the parent says, until it says no more."""
    pictures = [read_image(path) for path in sorted(ASSETS.glob("*.jpg"))]
    with Detector(model, backend, settings=settings) as detector:
        for line in sys.stdin:
            times = []
            for number in range(int(line)):
                start = perf_counter()
                detector(pictures[number % len(pictures)])
                times.append(1e3 * (perf_counter() - start))
            print(json.dumps(times), flush=True)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep ``count`` processes busy meanwhile."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def latencies(options: argparse.Namespace) -> None:
    """Print the latency of every way of waiting at every load."""
    chosen = list(ways(options.backend.split(",")))
    found: dict[tuple[int, int], list[float]] = {}
    with ExitStack() as stack:
        workers = [Worker(way, options.model) for way in chosen]
        for one in workers:
            stack.callback(one.close)
        for turn in range(options.turns):
            for load in options.loads:
                with busy(load):
                    for number in np.random.default_rng(turn).permutation(len(workers)):
                        times = workers[number].measure(options.calls)
                        found.setdefault((int(number), load), []).append(float(np.median(times)))
    rows = []
    for number, way in enumerate(chosen):
        cells = [np.percentile(found[number, load], (50, 0, 100)) for load in options.loads]
        rows.append(
            [way.backend, way.waiting, *(f"{c[0]:.1f} ({c[1]:.1f} .. {c[2]:.1f})" for c in cells)]
        )
    print_table(["engine", "waiting", *headers(options)], rows)
    print(
        "milliseconds from picture to detections: median (least .. most) of the medians of "
        f"{options.turns} turns of {options.calls} calls"
    )


def headers(options: argparse.Namespace) -> list[str]:
    """Return the titles of the columns of each load."""
    return [f"busy loops: {load}" for load in options.loads]


def exports(options: argparse.Namespace) -> None:
    """Print the seconds of an export for every way of waiting at every load."""
    found: dict[tuple[str, int], list[float]] = {}
    command = [sys.executable, "-c", "from yolox_deploy.cli.export import main; main()"]
    command += ["--to", options.export, *(["--model", options.model] if options.model else [])]
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.turns):
            for load in options.loads:
                with busy(load):
                    for number in np.random.default_rng(turn).permutation(len(POLICIES)):
                        words = list(POLICIES)[number]
                        start = perf_counter()
                        subprocess.run(
                            [*command, "--output", folder],
                            env=environment(POLICIES[words]),
                            check=True,
                            capture_output=True,
                        )
                        seconds = perf_counter() - start
                        found.setdefault((words, load), []).append(seconds)
    rows = [
        [words, *(f"{np.median(found[words, load]):.1f}" for load in options.loads)]
        for words in POLICIES
    ]
    print_table(["waiting", *headers(options)], rows)
    print(f"seconds of yolox-export --to {options.export}, medians of {options.turns}")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="as for yolox-detect (default: the bundled model)")
    parser.add_argument("--backend", default="onnxruntime,openvino,ncnn,torch")
    parser.add_argument(
        "--loads", type=int, nargs="+", default=(0, 1, 2), help="numbers of busy loops (0 1 2)"
    )
    parser.add_argument("--turns", type=int, default=5, help="turns of each load (default: 5)")
    parser.add_argument("--calls", type=int, default=30, help="calls per turn (default: 30)")
    parser.add_argument("--export", metavar="TARGETS", help="time an export, too, such as onnx")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*json.loads(options.worker))
        return
    latencies(options)
    if options.export:
        exports(options)


if __name__ == "__main__":
    main()
