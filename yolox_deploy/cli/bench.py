"""``yolox-bench``: latency from picture to detections, stage by stage."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from yolox_deploy.benchmarks.latency import HEADERS, Latency, measure
from yolox_deploy.cli.common import (
    MODEL_HELP,
    add_model_hints,
    make_parser,
    model_hints,
    run,
)
from yolox_deploy.detector import Detector
from yolox_deploy.files import ASSETS, write_atomically
from yolox_deploy.images import find_images, read_image
from yolox_deploy.progress import print_table, say, stages
from yolox_deploy.runtimes import BACKENDS

COMMAND = "yolox-bench"
EXAMPLES = """\
  yolox-bench --backend openvino
  yolox-bench --model yolox_s.onnx --backend onnxruntime,openvino --images street.jpg
  yolox-bench --model yolox_nano.pth --backend all --duration 30 --json nano.json
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND,
        "Measure the time from picture to detections at batch 1: several backends in one run, "
        "taking turns, every stage by itself, no measurement dropped.",
        EXAMPLES,
    )
    result.add_argument("--model", help=MODEL_HELP)
    result.add_argument(
        "--backend", default="auto", metavar="A,B", help="backends with commas, or all (auto)"
    )
    result.add_argument(
        "--images", nargs="+", metavar="PICTURE", help="pictures (default: those in the package)"
    )
    result.add_argument(
        "--duration", type=float, default=10, metavar="S", help="seconds in all, at least (10)"
    )
    result.add_argument(
        "--min-count", type=int, default=200, metavar="N", help="runs of each, at least (200)"
    )
    result.add_argument("--device", help="cpu (default), cuda, gpu, ... as the backend has it")
    result.add_argument("--threads", type=int, help="CPU threads (default: the engine's choice)")
    result.add_argument("--precision", help="what the engine computes in")
    result.add_argument("--json", type=Path, metavar="FILE", help="write every measurement as JSON")
    add_model_hints(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return run(COMMAND, lambda: bench(arguments))


def bench(arguments: argparse.Namespace) -> int:
    """Measure and print the table."""
    names = [name.strip() for name in arguments.backend.split(",")]
    if names == ["all"]:
        names = [row.name for row in BACKENDS.values() if row.availability().ok]
    images = [read_image(path) for path in find_images(arguments.images or [ASSETS])]
    before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with ExitStack() as stack:
        with stages(COMMAND) as begin:
            detectors = {}
            for name in names:
                begin(f"opening {arguments.model or 'the bundled model'} on {name}")
                detectors[name] = stack.enter_context(open_detector(arguments, name))
            begin("measuring")
            results = measure(
                detectors, images, seconds=arguments.duration, count=arguments.min_count
            )
        about = next(iter(detectors.values())).spec
    print(
        f"{about.name} {about.height}x{about.width}, batch 1, {len(images)} pictures in memory; "
        "stages are medians, all times in milliseconds"
    )
    print_table(HEADERS, [result.row() for result in results])
    if before is not None and before > 0.5:
        say(f"note: the figures are doubtful, the machine was busy before (load {before:.1f})")
    if arguments.json:
        write_atomically(arguments.json, to_json(results))
    return 0


def open_detector(arguments: argparse.Namespace, backend: str) -> Detector:
    """Return the detector for one backend."""
    return Detector(
        arguments.model,
        backend,
        device=arguments.device,
        threads=arguments.threads,
        precision=arguments.precision,
        **vars(model_hints(arguments)),
    )


def to_json(results: Sequence[Latency]) -> str:
    """Return every measurement, in seconds."""
    content = {
        r.name: {
            "stages": HEADERS[1:5],
            "stage_seconds": r.stages.tolist(),
            "seconds": r.total.tolist(),
        }
        for r in results
    }
    return json.dumps(content) + "\n"
