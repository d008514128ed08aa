"""Check how often ``yolox-bench compare`` is right, on equal runs and on slowed runs.

``python -m tools.checks.compare`` measures pairs of equal runs and pairs whose second run is slowed
by 15 %, every run in a process of its own, and counts the verdicts.  If there is no verdict, both
runs are measured again, as the command asks for.  It exits with 1 if fewer than 9 of 10 verdicts
are right.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from yolox_deploy.benchmarks.measure.systems import ImageArray, System, SystemRequest
from yolox_deploy.benchmarks.report.compare import NO_VERDICT, SpeedChange, compare
from yolox_deploy.benchmarks.report.report import Report
from yolox_deploy.cli import bench
from yolox_deploy.cli.common import run
from yolox_deploy.postprocess import Thresholds
from yolox_deploy.progress import stages
from yolox_deploy.tasks import Detections
from yolox_deploy.terminal import print_table

RIGHT_SHARE = 0.9
ATTEMPTS = 4
MODULE = "tools.checks.compare"


class SlowedSystem(System):
    """A system that takes ``factor`` times as long, working all the while."""

    def __init__(
        self, request: SystemRequest, pictures: Sequence[ImageArray], factor: float
    ) -> None:
        super().__init__(request, pictures)
        self.factor = factor

    def detect(
        self, pictures: Sequence[ImageArray], thresholds: Thresholds | None = None
    ) -> list[Detections]:
        """Detect, and use up the rest of the time."""
        start = time.perf_counter()
        found = super().detect(pictures, thresholds)
        end = start + (time.perf_counter() - start) * self.factor
        while time.perf_counter() < end:
            pass
        return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the pairs and print how many verdicts were right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10, help="pairs of each kind (default: 10)")
    parser.add_argument(
        "--factor", type=float, default=1.15, help="factor of the slowdown (default: 1.15)"
    )
    parser.add_argument("--duration", type=float, default=5, help="seconds per run (default: 5)")
    parser.add_argument("--backend", default="openvino", help="(default: openvino)")
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args(argv)
    if options.worker is not None:
        shared = ["--backend", options.backend, "--duration", str(options.duration)]
        return worker(options.worker, [*shared, *rest])
    rows = []
    good = True
    with tempfile.TemporaryDirectory() as folder, stages(MODULE, refresh=False) as begin:
        for name, factor, right in (
            ("equal", 1.0, "no difference"),
            (f"slowed by {options.factor - 1:.0%}", options.factor, "slower"),
        ):
            begin(f"{options.pairs} pairs, {name}")
            found: list[SpeedChange] = []
            again = 0
            for pair in range(options.pairs):
                for attempt in range(ATTEMPTS):
                    runs = [measured(Path(folder) / "x.json", x, options) for x in (1.0, factor)]
                    compared = compare(*runs)
                    again += attempt > 0
                    if not any(c.verdict == NO_VERDICT and c.note for c in compared):
                        break
                found += compared
                begin.advance("", pair + 1, options.pairs)
            counts = Counter(str(c.verdict) for c in found)
            good &= counts[right] >= RIGHT_SHARE * len(found)
            ratios = " ".join(f"{c.ratio:.3f}" for c in found)
            said = f"{counts[right]} of {len(found)} {right}, {counts[NO_VERDICT]} {NO_VERDICT}"
            rows.append([name, said, str(again), ratios])
    print_table(("pairs", "verdicts", "measured again", "ratios"), rows)
    return 0 if good else 1


def measured(path: Path, factor: float, options: argparse.Namespace) -> Report:
    """Return the report of one run in a process of its own."""
    command = [
        *(sys.executable, "-m", MODULE, "--worker", f"{factor}", "--backend", options.backend),
        *("--duration", f"{options.duration}", "--cold-starts", "0", "--no-limit"),
        *("--json", str(path)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return Report.read(path)


def worker(factor: float, words: Sequence[str]) -> int:
    """Run ``yolox-bench`` with every system slowed."""
    arguments = bench.parser().parse_args(words)
    opener = partial(SlowedSystem, factor=factor) if factor > 1 else System
    return run(bench.COMMAND, lambda: bench.bench(arguments, MODULE, opener))


if __name__ == "__main__":
    raise SystemExit(main())
