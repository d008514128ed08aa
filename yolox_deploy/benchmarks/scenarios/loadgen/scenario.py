"""MLPerf's scenarios, driven by LoadGen itself over the systems under test.

- **single-stream**: one picture after the other; the 90th percentile of latency.
- **multi-stream**: queries of several pictures, one after the other; the 99th percentile.
- **server**: queries arrive at random (Poisson); the highest rate at which the 99th percentile,
  waiting included, stays within a bound.
- **offline**: all pictures at once; pictures a second.

LoadGen calls a result VALID if it lasted long enough and if enough queries were seen to be 99 %
sure of the percentile (its early stopping); the counts this needs are asked for from the start.
"""

from __future__ import annotations

import argparse
import re
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.accuracy import CocoDataset, evaluation_thresholds
from yolox_deploy.benchmarks.scenarios.loadgen.result import PERCENTS, SCHEMA, LoadgenResult
from yolox_deploy.benchmarks.scenarios.loadgen.run import require_loadgen
from yolox_deploy.benchmarks.scenarios.loadgen.runner import Runner
from yolox_deploy.benchmarks.scenarios.base import Context
from yolox_deploy.errors import UsageError

__all__ = ["RESULT", "SCHEMA", "add_arguments", "measure"]

RESULT = LoadgenResult
LATENCY_BOUND_MS = 100.0
PICTURES_PER_QUERY = 8


def add_arguments(group: Any) -> None:
    """Add the arguments of MLPerf's scenarios."""
    group.add_argument(
        "--target-qps",
        type=float,
        metavar="Q",
        help="server: queries a second (default: search for the highest rate that holds)",
    )
    group.add_argument(
        "--latency-bound",
        type=float,
        default=LATENCY_BOUND_MS,
        metavar="MS",
        help=f"server: bound of the percentile, in ms ({LATENCY_BOUND_MS:g})",
    )
    group.add_argument(
        "--percentile",
        type=float,
        choices=PERCENTS[1:],
        metavar="P",
        help="of latency: 90, 95, 97, 99 or 99.9 (default 90 for single-stream, else 99); the "
        "number of queries is raised to what LoadGen needs to be sure of it",
    )
    group.add_argument(
        "--pictures-per-query",
        type=int,
        default=PICTURES_PER_QUERY,
        metavar="N",
        help=f"multi-stream: pictures in a query ({PICTURES_PER_QUERY})",
    )
    group.add_argument(
        "--logs",
        type=Path,
        metavar="DIR",
        help="where LoadGen's logs are kept (default: beside --json, else ./loadgen_logs)",
    )


def measure(context: Context) -> LoadgenResult:
    """Run the scenario on every system; with a data set also its accuracy mode."""
    require_loadgen()
    arguments = context.arguments
    check(arguments)
    dataset = open_dataset(arguments)
    logs = log_folder(arguments)
    verdicts = []
    thresholds = ""
    for number, system in enumerate(context.systems, 1):
        runner = Runner(context, system, dataset, logs / f"{number}_{slug(system.info.label)}")
        detector = system.detector
        with evaluation_thresholds(detector) if dataset else nullcontext():
            thresholds = f"score {detector.thresholds.score:g}, IoU {detector.thresholds.iou:g}"
            verdicts.append(runner.verdict())
    return LoadgenResult(
        context.scenario, version("mlcommons-loadgen"), thresholds, tuple(verdicts)
    )


def check(arguments: argparse.Namespace) -> None:
    """Raise :class:`UsageError` for what cannot be served."""
    for name in ("target_qps", "latency_bound"):
        value = getattr(arguments, name)
        if value is not None and not 0 < value < 1e9:
            raise UsageError(f"--{name.replace('_', '-')} must be more than 0, got {value:g}")
    if not 1 <= arguments.pictures_per_query <= 10_000:
        raise UsageError(
            f"--pictures-per-query must lie in 1..10000, got {arguments.pictures_per_query}"
        )


def open_dataset(arguments: argparse.Namespace) -> CocoDataset | None:
    """Return the data set of ``--data`` and ``--images``, if there is one."""
    if arguments.data is None:
        return None
    if not arguments.images or len(arguments.images) != 1:
        raise UsageError(f"--data {arguments.data} needs --images DIR, the folder of its pictures")
    return CocoDataset(arguments.data, Path(arguments.images[0]))


def log_folder(arguments: argparse.Namespace) -> Path:
    """Return where logs go."""
    if arguments.logs:
        return Path(arguments.logs)
    if arguments.json:
        return Path(arguments.json).with_name(f"{arguments.json.stem}_loadgen_logs")
    return Path("loadgen_logs")


def slug(label: str) -> str:
    """Return a label as a folder's name."""
    return re.sub(r"[^\w.-]+", "_", label)
