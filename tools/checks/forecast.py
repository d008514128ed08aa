"""Measure what forecasting brings to a slow detector: streaming AP in real time and simulated.

``python -m tools.checks.forecast`` plays moving digits (``examples/digits/video.py``) to the
bundled model, each of whose calls is made to last ``--ms`` milliseconds, and compares boxes as they
were detected, tracked, and moved to the moment when they are shown.  ``--video FILE`` plays a video
instead, against the detector's own detections at zero latency.  Exits with 1 if forecasting is less
than 0.02 of AP (0 with ``--video``) above the best without it, or if real time and simulation
differ by more than 0.01.  The machine must be quiet.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from yolox_deploy.benchmarks.measure.opening import requests
from yolox_deploy.benchmarks.measure.systems import System
from yolox_deploy.benchmarks.scenarios.base import Context
from yolox_deploy.benchmarks.scenarios.streaming import scenario as streaming
from yolox_deploy.cli.parser import Parser, add_options
from yolox_deploy.files import ASSETS
from yolox_deploy.packages import require
from yolox_deploy.pictures.images import find_images, read_image
from yolox_deploy.tasks import Detections
from yolox_deploy.terminal import print_line, print_table

MUST_GAIN, MAY_DIFFER = 0.02, 0.01


class Slowed(System):
    """A system whose calls last at least ``least`` seconds."""

    least = 0.0

    def detect(self, *given: Any, **options: Any) -> list[Detections]:
        """Call the detector once, and wait."""
        end = perf_counter() + self.least
        found = super().detect(*given, **options)
        sleep(max(0.0, end - perf_counter()))
        return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return 1 where forecasting brings too little."""
    parser = Parser(description=(__doc__ or "").splitlines()[0])
    add_options(
        parser,
        """
        --model MODEL: the detector (default: the model of drawn digits)
        --backend NAME: what runs the model
        --video FILE: play this video (default: moving digits)
        --frames N: number of frames
        --ms F: milliseconds per call
        --seed N: which film, and which latencies are drawn
        --threads N: number of CPU threads
        """,
        backend="onnxruntime",
        frames=150,
        ms=80.0,
        seed=1,
    )
    options = parser.parse_args(argv)
    (request,) = requests([options.model], [options.backend], [None], threads=options.threads)
    system = Slowed(request, [read_image(find_images([ASSETS])[0])])
    system.least = options.ms / 1e3
    given: dict[str, Any] = {
        "fps": None,
        "schedule": "naive",
        "simulate": False,
        "speed": (1.0,),
        "forecast": True,
    }
    given |= {"max_pixels": None, "data": None, "images": None, **vars(options)}
    try:
        with tempfile.TemporaryDirectory() as folder:
            if options.video is None:
                given |= draw(Path(folder), options.seed, options.frames)
            context = Context("streaming", [system], 1, 1, argparse.Namespace(**given))
            streaming.check(context.arguments)
            (found,) = streaming.measure(context).systems
    finally:
        system.close()
    columns: dict[str, dict[str, Any]] = {
        "real time": found.shown,
        "simulated": {boxes: found.simulated("naive", 1.0, boxes) for boxes in found.shown},
    }
    ap = {way: {b: run.ap["ap"] for b, run in runs.items() if run} for way, runs in columns.items()}
    rows = [[boxes, *(f"{ap[way][boxes]:.4f}" for way in ap)] for boxes in found.shown]
    print_table(("boxes", *ap), [*rows, ["zero latency", *[f"{found.offline.ap['ap']:.4f}"] * 2]])
    gains = [one["forecast"] - max(one["as detected"], one["tracked"]) for one in ap.values()]
    apart = max(abs(ap["real time"][boxes] - ap["simulated"][boxes]) for boxes in found.shown)
    print_line(
        f"forecasting brings {gains[0]:+.4f} in real time and {gains[1]:+.4f} simulated; they "
        f"differ by up to {apart:.4f}"
    )
    least = MUST_GAIN if options.video is None else 0.0
    return 0 if min(gains) >= least and apart <= MAY_DIFFER else 1


def draw(folder: Path, seed: int, frames: int) -> dict[str, Any]:
    """Write a film of moving digits; return the arguments that name it."""
    place = str(Path(__file__).parents[2] / "examples" / "digits")
    if place not in sys.path:
        sys.path.insert(0, place)
    video: Any = require("video", "the films are drawn by examples/digits/video.py", "a checkout")
    data = video.write_video(folder, seed, frames)
    return {"data": data, "images": [folder / "frames"], "video": None, "frames": None}


if __name__ == "__main__":
    raise SystemExit(main())
