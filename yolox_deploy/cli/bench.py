"""``yolox-bench``: latency, MLPerf's scenarios and streaming accuracy, side by side."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from yolox_deploy.benchmarks.machine.environment import Watch
from yolox_deploy.benchmarks.measure.opening import Opener, open_systems, requests
from yolox_deploy.benchmarks.measure.systems import System
from yolox_deploy.benchmarks.report.report import Report
from yolox_deploy.benchmarks.scenarios import SCENARIOS
from yolox_deploy.benchmarks.scenarios.base import Context, Scenario
from yolox_deploy.cli.bench_files import (
    add_output_arguments,
    check_outputs,
    compare,
    deliver,
    show,
)
from yolox_deploy.cli.common import (
    MODEL_CODES,
    ExtensionOptions,
    add_max_pixels,
    add_model_hints,
    given,
    make_parser,
    model_help,
    model_hints,
    run_command,
)
from yolox_deploy.cli.outputs import files_read
from yolox_deploy.cli.parser import add_options
from yolox_deploy.errors import ExtensionError, ExtensionWarning, UsageError
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import find_images, read_image
from yolox_deploy.progress import stages

COMMAND = "yolox-bench"
# MLPerf's LoadGen takes 64 bits.
LARGEST_NUMBER = (1 << 63) - 1
EXAMPLES = """\
  yolox-bench --backend openvino
  yolox-bench --model yolox_nano.pth --backend all --json nano.json
  yolox-bench --model yolox_s yolox_m --random-weights --backend openvino ncnn
  yolox-bench --scenario server --backend openvino --duration 60
  yolox-bench compare before.json after.json --fail-if-slower 1.10
  yolox-bench show nano.json --markdown nano.md --plot nano.png
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND,
        "Measure detectors from picture to detections: latency by stage, MLPerf's scenarios, or "
        "streaming accuracy.  Several models, backends and precisions take turns in one run, and "
        "no measurement is left out.",
        EXAMPLES,
        MODEL_CODES,
    )
    questions = "; ".join(f"{s.name}: {s.question}" for s in SCENARIOS.values())
    result.add_argument(
        "--scenario",
        choices=list(SCENARIOS),
        default="latency",
        metavar="NAME",
        help=f"what to measure (default: latency). {questions}",
    )
    add_options(
        result,
        f"""
        --model MODEL ...: {model_help()}
        --random-weights: measure architectures with random weights, for example --model
            yolox_s yolox_m
        --backend NAME ...: backends, or all: every backend that can run here
        --precision NAME ...: precisions that the engines compute in, for example fp32 bf16, or
            all (default: the first precision of each engine, mostly fp32)
        --batch N: number of pictures per inference call
        --threads N: number of CPU threads (default: as many as the process may use)
        --device NAME: device that the engine runs on, for example cuda or gpu (default: cpu)
        --images PATH ...: pictures or folders to detect in (default: the pictures in this package)
        --duration S: measure each system for at least this many seconds
        --min-count N: measure each system for at least this many calls
        --fps F: frames per second. latency: the advice names the fastest system that holds this
            rate; streaming: the frames are played at this rate (default: that of --video, 30 for
            pictures)
        --data JSON: annotations of --images DIR or of --video: adds AP to MLPerf's scenarios and
            sAP to streaming
        --seed N: random seed of MLPerf's traffic and of simulated latencies
        """,
        backend=("auto",),
        batch=1,
        duration=10,
        min_count=200,
        seed=0,
    )
    add_max_pixels(result)
    add_output_arguments(result)
    add_model_hints(result)
    by_module: dict[str, list[Scenario]] = {}
    for row in SCENARIOS.values():
        by_module.setdefault(row.module, []).append(row)
    for rows in by_module.values():
        users = ", ".join(row.name for row in rows)
        try:
            module = rows[0].load()
        except ExtensionError as error:
            warnings.warn(str(error), ExtensionWarning, stacklevel=2)
            continue
        group = result.add_argument_group(f"for --scenario {users}")
        module.add_arguments(ExtensionOptions(group, f"the scenario {users}"))
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for name, stored in (("compare", compare), ("show", show)):
        if words[:1] == [name]:
            return stored(words[1:])
    command = shlex.join([COMMAND, *words])
    return run_command(COMMAND, parser, lambda arguments: bench(arguments, command), words)


def bench(arguments: argparse.Namespace, command: str, opener: Opener = System) -> int:
    """Measure, print the report and write the files that were asked for.

    ``opener`` opens each system; a check of the benchmarks themselves gives another class.
    """
    check(arguments)
    scenario = SCENARIOS[arguments.scenario].load()
    scenario.check(arguments)
    # A data set is read by its scenario, part by part.
    images = find_images(arguments.images or [ASSETS])
    models = arguments.model or [None]
    video = getattr(arguments, "video", None)
    check_outputs(arguments, [*images, *files_read(arguments, models, arguments.data, video)])
    shown = find_images([ASSETS]) if arguments.data else images
    pictures = [read_image(path, arguments.max_pixels) for path in shown]
    with ExitStack() as stack:
        with stages(COMMAND) as begin:
            begin("looking at the machine")
            wanted = requests(
                models,
                arguments.backend,
                arguments.precision or [None],
                hints=model_hints(arguments),
                **given(arguments, "random_weights", "batch", "threads", "device"),
            )
            systems, notes = open_systems(wanted, pictures, begin, opener)
            for system in systems:
                stack.callback(system.close)
        with stages(COMMAND, refresh=False) as begin:
            watch = Watch()
            limits = (arguments.duration, arguments.min_count)
            result = scenario.measure(
                Context(arguments.scenario, systems, *limits, arguments, begin, begin.estimate)
            )
            environment = watch.finish()
        report = Report(
            scenario=arguments.scenario,
            command=command,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            environment=environment,
            systems=[system.info for system in systems],
            notes=notes,
            result=result,
        )
    deliver(report, arguments)
    return 0


def check(arguments: argparse.Namespace) -> None:
    """Raise :class:`UsageError` for what cannot be measured."""
    if not (math.isfinite(arguments.duration) and arguments.duration > 0):
        raise UsageError(
            f"--duration takes seconds, more than 0 and finite, got {arguments.duration:g}"
        )
    for option, least in (("min_count", 1), ("batch", 1), ("seed", 0)):
        word, number = option.replace("_", "-"), getattr(arguments, option)
        if number < least:
            raise UsageError(f"--{word} must be at least {least}, got {number}")
        if number > LARGEST_NUMBER:
            raise UsageError(f"--{word} must be at most {LARGEST_NUMBER}, got {number}")
    if arguments.fps is not None and not 0 < arguments.fps <= 10_000:
        raise UsageError(f"--fps takes more than 0 and at most 10000, got {arguments.fps:g}")
