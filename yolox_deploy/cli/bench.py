"""``yolox-bench``: latency, MLPerf's scenarios and streaming accuracy, side by side."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_deploy.benchmarks.scenarios.charts import check_chart
from yolox_deploy.benchmarks.scenarios.base import SCENARIOS, Context
from yolox_deploy.cli.common import (
    MODEL_HELP,
    add_model_hints,
    make_parser,
    model_hints,
    run,
)
from yolox_deploy.errors import UsageError
from yolox_deploy.files import ASSETS, workplace, write_atomically
from yolox_deploy.pictures.images import find_images, read_image
from yolox_deploy.progress import Still, stages

if TYPE_CHECKING:
    from yolox_deploy.benchmarks.report.report import Report

COMMAND = "yolox-bench"
EXAMPLES = """\
  yolox-bench --backend openvino
  yolox-bench --model yolox_nano.pth --backend all --precision all --json nano.json
  yolox-bench --model yolox_s,yolox_m --random-weights --backend openvino,onnxruntime
  yolox-bench --scenario server --backend openvino --duration 60
  yolox-bench compare before.json after.json --fail-if-slower 1.10
  yolox-bench show nano.json --markdown nano.md --plot nano.png
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND,
        "Measure detectors from picture to detections: latency by stage, MLPerf's scenarios, "
        "streaming accuracy.  Several models, backends and precisions take turns in one run; no "
        "measurement is dropped.",
        EXAMPLES,
    )
    result.add_argument(
        "--model", action="append", metavar="A[,B]", help=MODEL_HELP.replace("%", "%%")
    )
    result.add_argument(
        "--random-weights",
        action="store_true",
        help="--model names architectures, measured with random weights",
    )
    result.add_argument(
        "--backend", default="auto", metavar="A[,B]", help="backends, or all (default auto)"
    )
    result.add_argument(
        "--precision",
        metavar="A[,B]",
        help="what the engines compute in, or all (default: each engine's first, fp32)",
    )
    result.add_argument("--batch", type=int, default=1, metavar="N", help="pictures a call (1)")
    result.add_argument("--threads", type=int, help="CPU threads (default: the engine's choice)")
    result.add_argument("--device", help="cpu (default), cuda, gpu, ... as the backend has it")
    result.add_argument(
        "--images", nargs="+", metavar="PICTURE", help="pictures (default: those in the package)"
    )
    result.add_argument(
        "--scenario",
        choices=SCENARIOS,
        default="latency",
        metavar="NAME",
        help="; ".join(f"{s.name}: {s.question}" for s in SCENARIOS.values()),
    )
    result.add_argument(
        "--duration", type=float, default=10, metavar="S", help="seconds of each, at least (10)"
    )
    result.add_argument(
        "--min-count", type=int, default=200, metavar="N", help="calls of each, at least (200)"
    )
    result.add_argument(
        "--data",
        type=Path,
        metavar="COCO_JSON",
        help="annotations of --images DIR or --video: adds AP to MLPerf's scenarios, sAP to "
        "streaming",
    )
    result.add_argument("--seed", type=int, default=0, help="of random traffic and draws (0)")
    add_output_arguments(result)
    add_model_hints(result)
    for name in dict.fromkeys(row.module for row in SCENARIOS.values()):
        row = next(row for row in SCENARIOS.values() if row.module == name)
        users = ", ".join(other.name for other in SCENARIOS.values() if other.module == name)
        row.load().add_arguments(result.add_argument_group(f"for --scenario {users}"))
    return result


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where a report goes beside the terminal."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", type=Path, metavar="FILE", help="write every measurement as JSON")
    group.add_argument("--markdown", type=Path, metavar="FILE", help="write the report as Markdown")
    group.add_argument("--plot", type=Path, metavar="FILE", help="write a chart (.png, .svg, .pdf)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["compare"]:
        from yolox_deploy.cli.bench_files import compare

        return compare(words[1:])
    if words[:1] == ["show"]:
        from yolox_deploy.cli.bench_files import show

        return show(words[1:])
    arguments = parser().parse_args(words)
    return run(COMMAND, lambda: bench(arguments, shlex.join([COMMAND, *words])))


def bench(arguments: argparse.Namespace, command: str) -> int:
    """Measure, print the report and write it where asked."""
    check(arguments)
    from yolox_deploy.benchmarks.machine.environment import Watch
    from yolox_deploy.benchmarks.measure.opening import open_systems, requests
    from yolox_deploy.benchmarks.report.report import Report

    # A data set is read by its scenario, part by part.
    sources = [ASSETS] if arguments.data else arguments.images or [ASSETS]
    pictures = [read_image(path) for path in find_images(sources)]
    module = SCENARIOS[arguments.scenario].load()
    with ExitStack() as stack:
        with stages(COMMAND) as begin:
            begin("looking at the machine")
            wanted = requests(
                words(",".join(arguments.model)) if arguments.model else [None],
                words(arguments.backend),
                words(arguments.precision) if arguments.precision else [None],
                random_weights=arguments.random_weights,
                batch=arguments.batch,
                threads=arguments.threads,
                device=arguments.device,
                hints=model_hints(arguments),
            )
            systems, notes = open_systems(wanted, pictures, begin)
            for system in systems:
                stack.callback(system.close)
        with Still(COMMAND) as still:
            watch = Watch()
            result = module.measure(
                Context(
                    arguments.scenario,
                    systems,
                    arguments.duration,
                    arguments.min_count,
                    arguments,
                    still.begin,
                    still.advance,
                )
            )
            environment = watch.finish()
        report = Report(
            arguments.scenario,
            command,
            datetime.now(UTC).isoformat(timespec="seconds"),
            environment,
            [system.info for system in systems],
            notes,
            result,
        )
    deliver(report, arguments)
    return 0


def deliver(report: Report, arguments: argparse.Namespace) -> None:
    """Write the files that were asked for, and print the report."""
    from yolox_deploy.benchmarks.report.report import print_report, to_markdown

    if arguments.json:
        report.write(arguments.json)
    if arguments.markdown:
        write_atomically(arguments.markdown, to_markdown(report))
    if arguments.plot:
        report.result.plot(report.systems, arguments.plot)
    # Last, because the reader of a pipe may have enough of it.
    print_report(report)


def words(text: str) -> list[str]:
    """Return the words of a list with commas; raises :class:`UsageError` for an empty one."""
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise UsageError(f"{text!r} names nothing")
    return found


def check(arguments: argparse.Namespace) -> None:
    """Raise :class:`UsageError` for what cannot be measured."""
    if not (math.isfinite(arguments.duration) and arguments.duration > 0):
        raise UsageError(
            f"--duration takes seconds, more than 0 and finite, got {arguments.duration:g}"
        )
    if arguments.min_count < 1:
        raise UsageError(f"--min-count must be at least 1, got {arguments.min_count}")
    if arguments.batch < 1:
        raise UsageError(f"--batch must be at least 1, got {arguments.batch}")
    if arguments.seed < 0:
        raise UsageError(f"--seed must not be negative, got {arguments.seed}")
    if arguments.data and arguments.scenario == "latency":
        raise UsageError("--data is for MLPerf's scenarios and streaming; AP alone: yolox-eval")
    for path in (arguments.json, arguments.markdown, arguments.plot):
        if path is not None and path.is_dir():
            raise UsageError(f"{path}: a folder; name the file to write")
        if path is not None:
            # Before the measurement, which would be lost.
            with workplace(path.parent):
                pass
    if arguments.plot:
        check_chart(arguments.plot)
