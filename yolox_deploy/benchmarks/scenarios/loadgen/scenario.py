"""MLPerf's scenarios, run by LoadGen itself on the systems under test.

- **single-stream**: one picture after the other; the 90th percentile of latency.
- **multi-stream**: queries of several pictures, one after the other; the 99th percentile.
- **server**: queries arrive at random (Poisson); the highest rate at which the 99th percentile,
  waiting included, stays within a bound.
- **offline**: all pictures at once; pictures per second.

LoadGen calls a result VALID if the test lasted long enough and if enough queries were seen to be
99 % sure of the percentile (its early stopping).  Tests ask for enough queries from the start.
"""

from __future__ import annotations

import argparse
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.scenarios.base import Context, whole_number
from yolox_deploy.benchmarks.scenarios.loadgen.result import PERCENTS, LoadgenResult
from yolox_deploy.benchmarks.scenarios.loadgen.runner import MultiStream, Offline, Runner, Traffic
from yolox_deploy.benchmarks.scenarios.loadgen.server import Server
from yolox_deploy.benchmarks.scenarios.loadgen.under_test import require_loadgen
from yolox_deploy.data.ap import CocoDataset
from yolox_deploy.errors import OutputError, UsageError
from yolox_deploy.files import STANDARD_OUTPUT
from yolox_deploy.sinks.outputs import check_folder, free_folder

RESULT = LoadgenResult
TRAFFIC: dict[str, Traffic] = {
    "single-stream": Traffic(),
    "multi-stream": MultiStream(),
    "server": Server(),
    "offline": Offline(),
}
LATENCY_BOUND_MS = 100.0
PICTURES_PER_QUERY = 8


def add_arguments(group: Any) -> None:
    """Add the options of MLPerf's scenarios."""
    group.add_argument(
        "--target-qps",
        type=float,
        metavar="Q",
        help="server: queries per second (default: search for the highest rate that holds)",
    )
    group.add_argument(
        "--latency-bound",
        type=float,
        default=LATENCY_BOUND_MS,
        metavar="MS",
        help=f"server: bound of the latency percentile in ms (default: {LATENCY_BOUND_MS:g})",
    )
    group.add_argument(
        "--percentile",
        type=float,
        choices=PERCENTS[1:],
        metavar="P",
        help="percentile of latency that is reported: 90, 95, 97, 99 or 99.9 (default: 90 for "
        "single-stream, 99 for the others); the number of queries is raised to what LoadGen needs",
    )
    group.add_argument(
        "--pictures-per-query",
        type=whole_number(1, 10_000),
        default=PICTURES_PER_QUERY,
        metavar="N",
        help=f"multi-stream: number of pictures per query (default: {PICTURES_PER_QUERY})",
    )
    group.add_argument(
        "--logs",
        type=Path,
        metavar="DIR",
        help="folder for LoadGen's logs, new or empty (default: NAME_loadgen_logs beside --json "
        "NAME.json, or loadgen_logs; if it is there already, with _2, _3, ... at its end)",
    )


def check(arguments: argparse.Namespace) -> None:
    """Raise :class:`UsageError` for options that cannot be measured."""
    require_loadgen()
    for name in ("target_qps", "latency_bound"):
        value = getattr(arguments, name)
        if value is not None and not 0 < value < 1e9:
            raise UsageError(f"--{name.replace('_', '-')} must be more than 0, got {value:g}")
    if arguments.data and len(arguments.images or ()) != 1:
        raise UsageError(f"--data {arguments.data} needs --images DIR, the folder of its pictures")
    open_data(arguments)
    log_folder(arguments)


def open_data(arguments: argparse.Namespace) -> CocoDataset | None:
    """Return the annotated pictures, if there are any, checked."""
    return CocoDataset(arguments.data, Path(arguments.images[0])) if arguments.data else None


def measure(context: Context) -> LoadgenResult:
    """Test every system; with a data set in LoadGen's accuracy mode, too."""
    arguments = context.arguments
    dataset = open_data(arguments)
    traffic, logs = TRAFFIC[context.scenario], log_folder(arguments)
    tests = []
    for number, system in enumerate(context.systems, 1):
        name = re.sub(r"[^\w.-]+", "_", system.info.label)
        folder = logs / f"{number}_{name}"
        tests.append(Runner(context, system, traffic, dataset, folder).run())
    thresholds = context.systems[0].thresholds(for_ap=dataset is not None)
    words = f"score {thresholds.score:g}, IoU {thresholds.iou:g}"
    return LoadgenResult(context.scenario, version("mlcommons-loadgen"), words, tests)


def log_folder(arguments: argparse.Namespace) -> Path:
    """Return the folder for LoadGen's logs, a new or empty one; raises :class:`OutputError`."""
    report: Path | None = None if arguments.json == STANDARD_OUTPUT else arguments.json
    beside = report and report.with_name(f"{report.stem}_loadgen_logs")
    wanted = Path(arguments.logs or beside or "loadgen_logs")
    folder = free_folder(wanted)
    if arguments.logs and folder != wanted:
        raise OutputError(f"cannot write {wanted}: something is in it; name another folder")
    check_folder(folder)
    return folder
