"""Check that simulated streaming AP agrees with streaming AP in real time.

``python -m tools.checks.streaming --video FILE`` (or ``--data COCO_JSON --images DIR``) plays the
frames several times with each schedule, and exits with 1 if the means differ by more than 0.01 of
AP.  The machine must be quiet.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from tools.checks.turns import add_arguments
from yolox_deploy.benchmarks.measure.opening import requests
from yolox_deploy.benchmarks.measure.systems import System
from yolox_deploy.benchmarks.scenarios.base import Context
from yolox_deploy.benchmarks.scenarios.streaming import scenario as streaming
from yolox_deploy.benchmarks.scenarios.streaming.streams import SCHEDULES
from yolox_deploy.cli.parser import Parser
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import find_images, read_image
from yolox_deploy.terminal import print_table, say

MAY = 0.01


def main(argv: Sequence[str] | None = None) -> int:
    """Stream, print the table, and return 1 where something differs."""
    parser = Parser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser, turns=5)
    parser.add_argument("--data", type=Path, help="COCO annotations")
    parser.add_argument("--images", nargs="+", help="folder of their pictures")
    parser.add_argument("--fps", type=float, help="frames per second")
    streaming.add_arguments(parser)
    parser.set_defaults(seed=0, max_pixels=None)
    options = parser.parse_args(argv)
    streaming.check(options)
    (request,) = requests(
        [options.model], [options.backend], [options.precision], threads=options.threads
    )
    system = System(request, [read_image(find_images([ASSETS])[0])])
    rows, good = [], True
    try:
        for schedule in SCHEDULES:
            turns = [one_turn(system, options, schedule, turn) for turn in range(options.turns)]
            real, simulated = (fmean(values) for values in zip(*turns, strict=True))
            agrees = abs(real - simulated) <= MAY
            good &= agrees
            each = ", ".join(f"{a:.3f}/{b:.3f}" for a, b in turns)
            verdict = "agrees" if agrees else "DIFFERS"
            rows.append(
                [schedule, f"{real:.4f}", f"{simulated:.4f}", f"{real - simulated:+.4f}", verdict]
            )
            say(f"{schedule}, real/simulated: {each}")
    finally:
        system.close()
    print_table(("schedule", "real time", "simulated", "difference", "verdict"), rows)
    return 0 if good else 1


def one_turn(
    system: System, options: argparse.Namespace, schedule: str, seed: int
) -> tuple[float, float]:
    """Return AP in real time and simulated."""
    given = {**vars(options), "schedule": schedule, "seed": seed, "simulate": False, "speed": "1"}
    context = Context("streaming", [system], 1, 1, argparse.Namespace(**given))
    (found,) = streaming.measure(context).systems
    simulated = found.simulated(schedule, 1.0)
    assert simulated is not None
    return found.streaming.ap["ap"], simulated.ap["ap"]


if __name__ == "__main__":
    raise SystemExit(main())
