"""How often ``yolox-bench compare`` is right: equal runs, and runs with a planted slowdown.

``python -m tools.checks.compare`` measures pairs of equal runs and runs slowed by
15 %, every run in a process of its own, and counts the verdicts.  Where there is none because the
host placed the processors differently, both runs are measured again, as the tool says.  It exits
with 1 where fewer than 9 of 10 are right.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.report.compare import Comparison, compare
from yolox_deploy.benchmarks.report.report import Report
from yolox_deploy.progress import Still, print_table
from yolox_deploy.tasks.detections import Detections

RIGHT_SHARE = 0.9
ATTEMPTS = 4
NONE = "too noisy to say"
MODULE = "tools.checks.compare"


class Slowed:
    """A detector that takes ``factor`` times as long, working all the while."""

    def __init__(self, detector: Any, factor: float) -> None:
        self.detector = detector
        self.factor = factor

    def __call__(self, image: Any) -> Detections:
        """Detect, and use up the rest of the time."""
        start = time.perf_counter()
        found: Detections = self.detector(image)
        end = start + (time.perf_counter() - start) * self.factor
        while time.perf_counter() < end:
            pass
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.detector, name)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the pairs and print how many verdicts were right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10, help="of each kind (10)")
    parser.add_argument("--factor", type=float, default=1.15, help="the slowdown (1.15)")
    parser.add_argument("--duration", type=float, default=5, help="seconds of each run (5)")
    parser.add_argument("--backend", default="openvino", help="(openvino)")
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args(argv)
    if options.worker is not None:
        shared = ["--backend", options.backend, "--duration", str(options.duration)]
        return worker(options.worker, [*shared, *rest])
    rows = []
    good = True
    with tempfile.TemporaryDirectory() as folder, Still(MODULE) as still:
        for name, factor, right in (
            ("equal", 1.0, "no difference"),
            (f"slowed by {options.factor - 1:.0%}", options.factor, "slower"),
        ):
            still.begin(f"{options.pairs} pairs, {name}")
            found: list[Comparison] = []
            again = 0
            for pair in range(options.pairs):
                for attempt in range(ATTEMPTS):
                    runs = [measured(Path(folder) / "x.json", x, options) for x in (1.0, factor)]
                    compared = compare(*runs)
                    again += attempt > 0
                    if not any(c.verdict == NONE and c.note for c in compared):
                        break
                found += compared
                still.advance(pair + 1, options.pairs)
            counts = Counter(str(c.verdict) for c in found)
            good &= counts[right] >= RIGHT_SHARE * len(found)
            ratios = " ".join(f"{c.ratio:.3f}" for c in found)
            said = f"{counts[right]} of {len(found)} {right}, {counts[NONE]} {NONE}"
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


def worker(factor: float, arguments: Sequence[str]) -> int:
    """Run ``yolox-bench`` with every detector slowed."""
    from yolox_deploy.benchmarks import opening as module
    from yolox_deploy.cli import bench

    opening: Any = module
    opened = opening.open_systems

    def open_slowed(*given: Any) -> Any:
        found, notes = opened(*given)
        for system in found:
            if factor > 1:
                slowed: Any = Slowed(system.detector, factor)
                system.detector = slowed
        return found, notes

    opening.open_systems = open_slowed
    return bench.main(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
