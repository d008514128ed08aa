"""``--scenario streaming``: streaming accuracy (sAP) of the systems, in real time and simulated.

First every frame is detected in for its own sake, which gives AP at zero latency.  Then the frames
pass in real time, as a camera would show them; then again on a clock that only counts, for either
schedule and for faster or slower hardware, with latencies drawn from those of the real run (like
the paper's runtime profiles), or of the first pass where there was no real run.

Without annotations there is no AP: then the truth is what the same detector finds with zero
latency, and what is missing to 1 is the streaming penalty.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.accuracy import evaluation_thresholds, require_pycocotools
from yolox_deploy.benchmarks.scenarios.base import Context
from yolox_deploy.benchmarks.scenarios.streaming.result import SCHEMA, StreamingResult
from yolox_deploy.benchmarks.scenarios.streaming.source import DEFAULT_FPS, open_source
from yolox_deploy.benchmarks.scenarios.streaming.streamer import Streamer
from yolox_deploy.benchmarks.scenarios.streaming.streams import SCHEDULES
from yolox_deploy.errors import UsageError

__all__ = ["RESULT", "SCHEMA", "add_arguments", "measure"]

RESULT = StreamingResult


def add_arguments(group: Any) -> None:
    """Add the arguments of streaming accuracy."""
    group.add_argument(
        "--video", type=Path, metavar="FILE", help="frames, with --data COCO_JSON their boxes"
    )
    group.add_argument(
        "--fps",
        type=float,
        metavar="F",
        help=f"frames a second (default: the video's, {DEFAULT_FPS:g} for pictures)",
    )
    group.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="the first N frames of each sequence (all, whatever --duration says)",
    )
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="naive",
        help="in real time: naive starts whenever there is a frame, dynamic waits where the "
        "paper's shrinking tail says so (naive); both are simulated",
    )
    group.add_argument(
        "--simulate", action="store_true", help="do not let the frames pass in real time"
    )
    group.add_argument(
        "--speed",
        default="1",
        metavar="X[,Y]",
        help="simulate hardware X times as fast (1)",
    )


def measure(context: Context) -> StreamingResult:
    """Stream every sequence past every system."""
    require_pycocotools()
    arguments = context.arguments
    speeds = check(arguments)
    if arguments.images and len(arguments.images) > 1:
        raise UsageError(f"--images takes one folder here, got {len(arguments.images)} names")
    folder = Path(arguments.images[0]) if arguments.images else None
    source = open_source(arguments.video, arguments.data, folder, arguments.fps, arguments.frames)
    systems, thresholds = [], ""
    for system in context.systems:
        detector = system.detector
        with evaluation_thresholds(detector) if source.truth else nullcontext():
            thresholds = f"score {detector.thresholds.score:g}, IoU {detector.thresholds.iou:g}"
            systems.append(Streamer(context, system, source).measure(speeds))
    count = sum(map(len, source.sequences))
    return StreamingResult(
        source.name,
        source.fps,
        count,
        source.truth is not None,
        thresholds,
        arguments.seed,
        tuple(systems),
    )


def check(arguments: argparse.Namespace) -> list[float]:
    """Return the speeds; raises :class:`UsageError` for what cannot be streamed."""
    if arguments.fps is not None and not 0 < arguments.fps <= 10_000:
        raise UsageError(f"--fps takes more than 0 and at most 10000, got {arguments.fps:g}")
    if arguments.frames is not None and arguments.frames < 1:
        raise UsageError(f"--frames must be at least 1, got {arguments.frames}")
    try:
        speeds = [float(word) for word in arguments.speed.split(",") if word.strip()]
    except ValueError as error:
        raise UsageError(f"--speed takes numbers with commas, got {arguments.speed}") from error
    if not speeds or not all(0 < speed <= 1e6 for speed in speeds):
        raise UsageError(f"--speed must be more than 0, got {arguments.speed}")
    return speeds
