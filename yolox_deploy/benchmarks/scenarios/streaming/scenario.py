"""``--scenario streaming``: streaming accuracy (sAP) of the systems, in real time and simulated.

First the system detects in every frame, however long that takes, which gives AP at zero latency.
Then the frames are played in real time, as a camera would show them.  Then they are played again on
a simulated clock, for both schedules and for faster or slower hardware, with latencies drawn from
those of real time (like the paper's runtime profiles), or of the first pass with ``--simulate``.

With ``--forecast`` all this is done again with a tracker behind the detector, whose time counts,
and its boxes are compared twice: as they were detected, and moved to the moment of the comparison.

Without annotations the truth is what the same detector finds at zero latency; what is missing to an
AP of 1 is the streaming penalty.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.scenarios.base import Context, whole_number
from yolox_deploy.benchmarks.scenarios.streaming.footage import open_pictures, open_video
from yolox_deploy.benchmarks.scenarios.streaming.result import StreamingResult
from yolox_deploy.benchmarks.scenarios.streaming.streamer import Streamer
from yolox_deploy.benchmarks.scenarios.streaming.streams import SCHEDULES
from yolox_deploy.data.ap import require_pycocotools
from yolox_deploy.data.coco import read_coco
from yolox_deploy.errors import UsageError
from yolox_deploy.packages import is_installed
from yolox_deploy.tracking.tracker import require_trackers

RESULT = StreamingResult


def add_arguments(group: Any) -> None:
    """Add the options of streaming accuracy."""
    group.add_argument(
        "--video",
        type=Path,
        metavar="FILE",
        help="the frames; with --data COCO_JSON also their true boxes",
    )
    group.add_argument(
        "--frames",
        type=whole_number(1),
        metavar="N",
        help="only the first N frames of each sequence (default: all; --duration has no effect)",
    )
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="naive",
        help="when a free detector starts: naive on any new frame, dynamic waits for the next "
        "frame if that gives a fresher result (default: naive)",
    )
    group.add_argument("--simulate", action="store_true", help="do not play in real time")
    group.add_argument(
        "--forecast",
        action=argparse.BooleanOptionalAction,
        default=is_installed("trackers"),
        help="also play with a tracker behind the detector, its boxes as they were detected and "
        "moved to the moment when they are shown (default: if the package trackers is installed)",
    )
    group.add_argument(
        "--speed",
        action="list",
        type=float,
        default=(1.0,),
        metavar="X",
        help="simulate hardware that is X times as fast, for example 0.5 2 (default: 1)",
    )


def check(arguments: argparse.Namespace) -> None:
    """Raise :class:`UsageError` for options that cannot be measured."""
    require_pycocotools()
    if arguments.forecast:
        require_trackers()
    if wrong := [speed for speed in arguments.speed if not 0 < speed <= 1e6]:
        raise UsageError(f"--speed must be more than 0, got {wrong[0]:g}")
    if arguments.images and len(arguments.images) > 1:
        raise UsageError(f"--images takes one folder here, got {len(arguments.images)} names")
    if arguments.video and arguments.images:
        raise UsageError("--video holds the frames: leave --images out")
    if not arguments.video and not (arguments.data and arguments.images):
        raise UsageError(
            "streaming needs frames: --video FILE, or --data COCO_JSON --images DIR with pictures "
            "in order"
        )
    if arguments.data:
        # Long before it is used: a file that cannot be used must not end hours of work.
        read_coco(arguments.data)


def measure(context: Context) -> StreamingResult:
    """Play every sequence to every system."""
    arguments = context.arguments
    rate, most = arguments.fps, arguments.frames
    if arguments.video:
        footage = open_video(arguments.video, arguments.data, rate, most)
    else:
        folder, limit = Path(arguments.images[0]), arguments.max_pixels
        footage = open_pictures(arguments.data, folder, rate, most, limit)
    systems = [
        Streamer(context, system, footage).measure(arguments.speed) for system in context.systems
    ]
    thresholds = context.systems[0].thresholds(for_ap=footage.truth is not None)
    return StreamingResult(
        source=footage.name,
        fps=footage.fps,
        frames=sum(map(len, footage.sequences)),
        annotated=footage.truth is not None,
        thresholds=f"score {thresholds.score:g}, IoU {thresholds.iou:g}",
        seed=arguments.seed,
        systems=systems,
    )
