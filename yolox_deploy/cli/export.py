"""``yolox-export``: a checkpoint to verified artifacts."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_deploy.cli.common import (
    MODEL_HELP,
    add_model_hints,
    add_thresholds,
    make_parser,
    model_hints,
    run,
)
from yolox_deploy.detector import IOU_THRESHOLD, SCORE_THRESHOLD
from yolox_deploy.errors import InputFileError, MissingPackageError, UsageError
from yolox_deploy.progress import print_table, say, stages

if TYPE_CHECKING:
    from yolox_deploy.export import ExportResult

COMMAND = "yolox-export"
EXAMPLES = """\
  yolox-export --model yolox_nano.pth --to onnx,openvino,ncnn
  yolox-export --model my7.pth --names names.txt --to ncnn --fp16 --verify my_pictures/
  yolox-export --model yolox_s --to openvino --imgsz 384 640 --dynamic
  yolox-export --describe yolox_nano.onnx
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND,
        "Export a trained YOLOX checkpoint, and prove that every artifact detects what the "
        "checkpoint detects.",
        EXAMPLES,
    )
    result.add_argument("--model", help=MODEL_HELP)
    result.add_argument(
        "--to",
        default="onnx",
        metavar="TARGETS",
        help="onnx, openvino, ncnn: one, or several with commas",
    )
    result.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="folder for the artifacts (.)"
    )
    result.add_argument(
        "--describe", type=Path, metavar="FILE", help="print what an artifact states of itself"
    )
    add_model_hints(result)
    graph = result.add_argument_group("graph")
    graph.add_argument("--batch", type=int, default=1, metavar="N", help="pictures a run (1)")
    graph.add_argument("--dynamic", action="store_true", help="any number of pictures a run")
    graph.add_argument("--opset", type=int, metavar="N", help="ONNX operator set (17)")
    graph.add_argument("--fp16", action="store_true", help="half precision")
    graph.add_argument("--decode", action="store_true", help="decode boxes inside the graph")
    graph.add_argument("--nms", action="store_true", help="decode and suppress inside the graph")
    add_thresholds(graph, SCORE_THRESHOLD, IOU_THRESHOLD)  # type: ignore[arg-type]
    graph.add_argument(
        "--simplify",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="fold constants with onnxsim (default)",
    )
    graph.add_argument(
        "--scale-stem",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="scale the first layer against FP16 underflow, exactly (default)",
    )
    checks = result.add_argument_group("verification")
    checks.add_argument(
        "--verify",
        type=Path,
        metavar="FOLDER",
        help="pictures to verify on (default: drawn ones that ship with the package)",
    )
    checks.add_argument("--no-verify", action="store_true", help="write without verifying")
    checks.add_argument(
        "--allow-unverified",
        action="store_true",
        help="keep an artifact that fails under its requested name, exit code 0",
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return run(COMMAND, lambda: describe(arguments) if arguments.describe else export(arguments))


def describe(arguments: argparse.Namespace) -> int:
    """Print an artifact's spec."""
    from yolox_deploy.runtimes import backend_for

    path: Path = arguments.describe
    if not path.is_file():
        raise InputFileError(f"{path}: no such file")
    with backend_for(path).runtime_class()(path, hints=model_hints(arguments)) as runtime:
        rows = runtime.spec.describe()
    width = max(len(label) for label, _ in rows)
    for label, text in rows:
        print(f"{label:<{width}}  {text}")
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Export, verify and print the table."""
    if arguments.verify and arguments.no_verify:
        raise UsageError("--verify and --no-verify exclude each other")
    if not arguments.nms and (
        arguments.score_threshold != SCORE_THRESHOLD or arguments.iou_threshold != IOU_THRESHOLD
    ):
        raise UsageError("thresholds belong to an artifact only with --nms: add it, or drop them")
    missing = [name for name in ("torch", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f'exporting needs {" and ".join(missing)}: pip install "yolox-deploy[export]"'
        )
    from yolox_deploy.export import ExportOptions, UnverifiedError, export_model
    from yolox_deploy.export.onnx import DEFAULT_OPSET
    from yolox_deploy.weights import find_model

    checkpoint = find_model(arguments.model)
    if checkpoint.suffix in (".onnx", ".xml", ".param"):
        raise UsageError(f"{checkpoint} is an artifact already: --model takes the checkpoint")
    hints = model_hints(arguments)
    options = ExportOptions(
        hints=hints,
        batch=arguments.batch,
        dynamic=arguments.dynamic,
        opset=DEFAULT_OPSET if arguments.opset is None else arguments.opset,
        fp16=arguments.fp16,
        decode=arguments.decode,
        nms=arguments.nms,
        score_threshold=arguments.score_threshold,
        iou_threshold=arguments.iou_threshold,
        simplify=arguments.simplify,
        scale_stem=arguments.scale_stem,
        verify=not arguments.no_verify,
        pictures=arguments.verify,
        allow_unverified=arguments.allow_unverified,
    )
    targets = [name.strip() for name in arguments.to.split(",") if name.strip()]
    try:
        with stages(checkpoint.name) as begin:
            results = export_model(checkpoint, targets, options, arguments.output, begin)
    except UnverifiedError as error:
        print_results(error.results)
        raise
    print_results(results)
    return 0


def print_results(results: Sequence[ExportResult]) -> None:
    """Print what is worth knowing about the exports, then one row an artifact."""
    for note in dict.fromkeys(note for r in results for note in (*r.notes, *r.verification.notes)):
        say(f"note: {note}")
    words = {"passed": "yes", "failed": "NO", "not run": "not run"}
    rows = [
        [
            r.target,
            str(r.path),
            f"{r.size / 1e6:.2f} MB",
            f"{r.seconds:.1f} s",
            f"{words[r.verification.status]}: {r.verification.summary}",
        ]
        for r in results
    ]
    print_table(["target", "artifact", "size", "time", "verified"], rows)
