"""Check that LoadGen calls every scenario VALID, and that its 90th percentile agrees with ours.

``python -m tools.checks.loadgen --model yolox_nano.onnx`` runs the four scenarios; then a single
stream whose calls our clock times as well; then LoadGen's single stream and our own loop in turns,
on one picture.  It exits with 1 if a verdict is not VALID or if the percentiles differ by more than
3 %.  The machine must be quiet.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from tools.checks.turns import add_arguments, in_turns
from yolox_deploy.benchmarks.measure.loop import measure
from yolox_deploy.benchmarks.measure.opening import requests
from yolox_deploy.benchmarks.measure.systems import ImageArray, System, SystemRequest
from yolox_deploy.benchmarks.scenarios.base import Context
from yolox_deploy.benchmarks.scenarios.loadgen import scenario as loadgen
from yolox_deploy.benchmarks.scenarios.loadgen.result import LoadgenTest
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import find_images, read_image
from yolox_deploy.postprocess import Thresholds
from yolox_deploy.tasks import Detections
from yolox_deploy.terminal import print_table, say

MAY = 0.03


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser, turns=8)
    parser.add_argument(
        "--duration", type=float, default=10, help="seconds per scenario (default: 10)"
    )
    parser.add_argument("--seconds", type=float, default=5, help="seconds per turn (default: 5)")
    loadgen.add_arguments(parser)
    parser.set_defaults(data=None, images=None, json=None, seed=0)
    options = parser.parse_args(argv)
    loadgen.check(options)
    # One picture, so that it does not matter which ones a random choice repeats.
    pictures = [read_image(find_images([ASSETS])[0])]
    (request,) = requests(
        [options.model], [options.backend], [options.precision], threads=options.threads
    )
    system = SystemWithClock(request, pictures)
    try:
        with tempfile.TemporaryDirectory() as place:
            options.logs = options.logs or Path(place)
            verdicts = {name: run(system, name, options, 200) for name in loadgen.TRAFFIC}
            same = same_calls(system, options)
            turns = take_turns(system, options)
    finally:
        system.close()
    rows = [[name, v.verdict, v.why_not or result(v)] for name, v in verdicts.items()]
    good = all(v.valid for v in verdicts.values())
    for name, pairs in (("the same calls", [same]), ("in turns", turns)):
        # The median of the differences within turns, without what changes from turn to turn.
        difference = median(theirs / ours for ours, theirs in pairs) - 1
        agrees = abs(difference) <= MAY
        good &= agrees
        ours, theirs = (median(pair[side] for pair in pairs) * 1e3 for side in (0, 1))
        text = f"LoadGen {theirs:.3f} ms, ours {ours:.3f} ms: {difference:+.1%}"
        rows.append([f"single-stream p90, {name}", "agrees" if agrees else "DIFFERS", text])
    spread = ", ".join(f"{theirs * 1e3:.2f}/{ours * 1e3:.2f}" for ours, theirs in turns)
    print_table(("check", "verdict", "figures"), rows)
    print(f"turns, LoadGen's p90 / ours in ms: {spread}")
    return 0 if good else 1


def run(system: System, scenario: str, options: argparse.Namespace, count: int) -> LoadgenTest:
    """Return LoadGen's verdict on one scenario."""
    context = Context(scenario, [system], options.duration, count, options, say)
    return loadgen.measure(context).tests[0]


def result(test: LoadgenTest) -> str:
    """Return rate and percentile."""
    percentile = f"p{test.percent:g} {test.at_percent * 1e3:.2f} ms"
    return f"{test.rate:.1f} pictures/s, {percentile}, {test.queries} queries"


class SystemWithClock(System):
    """A system whose calls our clock times, too."""

    def __init__(self, request: SystemRequest, pictures: Sequence[ImageArray]) -> None:
        super().__init__(request, pictures)
        self.seconds: list[float] = []

    def detect(
        self, pictures: Sequence[ImageArray], thresholds: Thresholds | None = None
    ) -> list[Detections]:
        """Detect, and keep the seconds."""
        start = perf_counter()
        found = super().detect(pictures, thresholds)
        self.seconds.append(perf_counter() - start)
        return found


def same_calls(system: SystemWithClock, options: argparse.Namespace) -> tuple[float, float]:
    """Return the 90th percentile of the same calls on our clock and on LoadGen's."""
    system.seconds.clear()
    found = run(system, "single-stream", options, 64)
    return float(np.percentile(system.seconds[-found.queries :], 90)), found.seconds["90.0"]


def take_turns(system: System, options: argparse.Namespace) -> list[tuple[float, float]]:
    """Return the 90th percentile in seconds of our loop and of LoadGen, turn by turn."""
    options = argparse.Namespace(**{**vars(options), "duration": options.seconds})

    def theirs() -> float:
        return run(system, "single-stream", options, 64).seconds["90.0"]

    def ours() -> float:
        (series,) = measure([system], options.seconds, 64)
        return float(np.percentile(series.total, 90))

    return in_turns(options.turns, ours, theirs)


if __name__ == "__main__":
    raise SystemExit(main())
