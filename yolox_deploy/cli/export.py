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
from yolox_deploy.errors import (
    InputFileError,
    MissingPackageError,
    UsageError,
    VerificationError,
)
from yolox_deploy.postprocess import IOU_THRESHOLD, SCORE_THRESHOLD
from yolox_deploy.progress import print_table, say, stages

if TYPE_CHECKING:
    from yolox_deploy.export import ExportResult, Verification

COMMAND = "yolox-export"
EXAMPLES = """\
  yolox-export --model yolox_nano.pth --to onnx,openvino,ncnn
  yolox-export --model my7.pth --names names.txt --to ncnn --fp16 --verify my_pictures/
  yolox-export --model yolox_s --to openvino --imgsz 384 640 --dynamic
  yolox-export --model yolox_l.pth --to trt --fp16 --dynamic --batch 1,4,16
  yolox-export --model yolox_nano.pth --to trt-rtx --fp16 --targets sm86,sm89,sm120
  yolox-export --verify-artifact yolox_nano_fp16.engine --model yolox_nano.pth
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
        help="onnx, openvino, ncnn, trt, trt-rtx: one, or several with commas",
    )
    result.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="folder for the artifacts (.)"
    )
    result.add_argument(
        "--describe", type=Path, metavar="FILE", help="print what an artifact states of itself"
    )
    result.add_argument(
        "--verify-artifact",
        type=Path,
        metavar="FILE",
        help="verify what was exported before against the checkpoint --model, here and now",
    )
    add_model_hints(result)
    graph = result.add_argument_group("graph")
    graph.add_argument(
        "--batch",
        type=batch,
        default=1,
        metavar="N",
        help="pictures a run (1); MIN,OPT,MAX for TensorRT with --dynamic (1,4,8)",
    )
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
    engine = result.add_argument_group("TensorRT engines (--to trt, trt-rtx)")
    engine.add_argument(
        "--workspace", type=int, metavar="MIB", help="scratch memory (3/4 of the GPU's free memory)"
    )
    engine.add_argument(
        "--targets",
        metavar="SM,...",
        help="trt-rtx: GPUs by compute capability, such as sm86,sm89,sm120 (Ampere and newer)",
    )
    engine.add_argument(
        "--hardware-compatible", action="store_true", help="trt: runs on Ampere and newer GPUs"
    )
    engine.add_argument(
        "--version-compatible", action="store_true", help="trt: runs on newer TensorRT versions"
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
    work = describe if arguments.describe else check if arguments.verify_artifact else export
    return run(COMMAND, lambda: work(arguments))


def batch(text: str) -> int | tuple[int, int, int]:
    """Return ``--batch``: a number, or the smallest, preferred and largest of a dynamic engine."""
    numbers = tuple(int(part) for part in text.split(","))
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) != 3:
        raise argparse.ArgumentTypeError(f"expected N or MIN,OPT,MAX, got {text}")
    return numbers


def describe(arguments: argparse.Namespace) -> int:
    """Print an artifact's spec, and of an engine what it was built for, without opening it."""
    from yolox_deploy.runtimes import backend_for
    from yolox_deploy.runtimes.tensorrt.sidecar import ENGINE_SUFFIX, check_content, read_sidecar
    from yolox_deploy.tasks.describe import describe as describe_spec

    path: Path = arguments.describe
    if not path.is_file():
        raise InputFileError(f"{path}: no such file")
    if path.suffix == ENGINE_SUFFIX:
        spec, record = read_sidecar(path)
        if record:
            check_content(path, record)
        rows = [*describe_spec(spec), *(record.describe() if record else ())]
    else:
        with backend_for(path).runtime_class()(path, hints=model_hints(arguments)) as runtime:
            rows = describe_spec(runtime.spec)
    width = max(len(label) for label, _ in rows)
    for label, text in rows:
        print(f"{label:<{width}}  {text}")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Verify an artifact that is there, and print the result."""
    if arguments.no_verify or not arguments.model:
        raise UsageError("--verify-artifact FILE needs --model CHECKPOINT, and no --no-verify")
    need_export_packages()
    from yolox_deploy.export.artifact import verify_artifact
    from yolox_deploy.weights import find_model

    path: Path = arguments.verify_artifact
    checkpoint = find_model(arguments.model)
    with stages(path.name) as begin:
        found = verify_artifact(
            path, checkpoint, model_hints(arguments), pictures=arguments.verify, report=begin
        )
    for note in found.notes:
        say(f"note: {note}")
    print_table(
        ["artifact", "precision", "verified"],
        [[str(path), found.verification.precision, verdict(found.verification)]],
    )
    if found.verification.status == "failed" and not arguments.allow_unverified:
        raise VerificationError(f"{path}: {found.verification.summary}")
    return 0


def need_export_packages() -> None:
    """Raise :class:`MissingPackageError` unless PyTorch and ONNX are installed."""
    missing = [name for name in ("torch", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f'exporting needs {" and ".join(missing)}: pip install "yolox-deploy[export]"'
        )


def export(arguments: argparse.Namespace) -> int:
    """Export, verify and print the table."""
    if arguments.verify and arguments.no_verify:
        raise UsageError("--verify and --no-verify exclude each other")
    if not arguments.nms and (
        arguments.score_threshold != SCORE_THRESHOLD or arguments.iou_threshold != IOU_THRESHOLD
    ):
        raise UsageError("thresholds belong to an artifact only with --nms: add it, or drop them")
    need_export_packages()
    from yolox_deploy.export import (
        EngineNotBuiltError,
        EngineSettings,
        ExportOptions,
        UnverifiedError,
        export_model,
    )
    from yolox_deploy.export.onnx import DEFAULT_OPSET
    from yolox_deploy.weights import find_model

    checkpoint = find_model(arguments.model)
    if checkpoint.suffix in (".onnx", ".xml", ".param", ".engine"):
        raise UsageError(f"{checkpoint} is an artifact already: --model takes the checkpoint")
    hints = model_hints(arguments)
    profile = arguments.batch if isinstance(arguments.batch, tuple) else None
    settings = EngineSettings(
        workspace=arguments.workspace,
        profile=profile,
        targets=engine_targets(arguments.targets),
        hardware_compatible=arguments.hardware_compatible,
        version_compatible=arguments.version_compatible,
    )
    options = ExportOptions(
        hints=hints,
        batch=1 if profile else arguments.batch,
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
        engine=settings,
    )
    targets = [name.strip() for name in arguments.to.split(",") if name.strip()]
    try:
        with stages(checkpoint.name) as begin:
            results = export_model(
                checkpoint, targets, options, arguments.output, begin, begin.advance
            )
    except (UnverifiedError, EngineNotBuiltError) as error:
        print_results(error.results)
        raise
    print_results(results)
    return 0


def print_results(results: Sequence[ExportResult]) -> None:
    """Print what is worth knowing about the exports, then one row an artifact."""
    for note in dict.fromkeys(note for r in results for note in (*r.notes, *r.verification.notes)):
        say(f"note: {note}")
    rows = [
        [
            r.target,
            str(r.path),
            f"{r.size / 1e6:.2f} MB",
            f"{r.seconds:.1f} s",
            verdict(r.verification),
        ]
        for r in results
    ]
    print_table(["target", "artifact", "size", "time", "verified"], rows)


def engine_targets(text: str | None) -> tuple[str, ...]:
    """Return ``--targets`` as names; raises :class:`UsageError` where there is none."""
    if text is None:
        return ()
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError("--targets names no GPU: expected such as sm86,sm89")
    return names


def verdict(verification: Verification) -> str:
    """Return what verification found, for a table."""
    words = {"passed": "yes", "failed": "NO", "not run": "not run"}
    return f"{words[verification.status]}: {verification.summary}"
