"""``yolox-export``: a checkpoint to verified artifacts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_deploy.cli.common import (
    MODEL_CODES,
    WITHOUT_PROOF,
    add_max_pixels,
    add_model_hints,
    add_thresholds,
    given,
    make_parser,
    model_help,
    model_hints,
    run_command,
)
from yolox_deploy.cli.outputs import OVERWRITE, check_file_option, files_read
from yolox_deploy.cli.parser import Joined, add_options
from yolox_deploy.cli.settings import BATCH, add_settings, batch, batch_help, settings_of
from yolox_deploy.errors import InputFileError, UsageError, VerificationError
from yolox_deploy.export.options import DEFAULT_DROP, DEFAULT_OPSET, ExportOptions, Int8Options
from yolox_deploy.export.results import ExportResult, NotBuiltError, NotFasterError, UnverifiedError
from yolox_deploy.export.targets import TARGETS, target_of
from yolox_deploy.files import write_document
from yolox_deploy.packages import install_line, is_installed, require
from yolox_deploy.postprocess import IOU_THRESHOLD, SCORE_THRESHOLD
from yolox_deploy.processors import wait_passively
from yolox_deploy.progress import stages
from yolox_deploy.runtimes import BACKENDS, CHECKPOINT_SUFFIXES, backend_for
from yolox_deploy.runtimes.content import state_of
from yolox_deploy.spec import ModelSpec, SpecHints
from yolox_deploy.tasks.describe import describe as describe_spec
from yolox_deploy.tasks.proof import UNPROVEN
from yolox_deploy.terminal import note, print_table
from yolox_deploy.verification.evidence import Evidence

if TYPE_CHECKING:
    from yolox_deploy.export.quantization.plan import Search
    from yolox_deploy.verification.verify import Verification

COMMAND = "yolox-export"
# The fields of ExportOptions that are options of the same name.
SAME_NAME = (
    *("dynamic", "opset", "fp16", "decode", "nms", "score_threshold", "iou_threshold"),
    *("pixels", "simplify", "scale_stem", "enclose", "allow_unverified", "overwrite"),
)
# What verifying an artifact takes of ``verify_artifact``.
ENGINE = ("backend", "device", "precision")
EXAMPLES = """\
  yolox-export --model yolox_nano.pth --to onnx openvino ncnn
  yolox-export --model my7.pth --names names.txt --to ncnn --fp16 --verify my_pictures/
  yolox-export --model yolox_s --to openvino --imgsz 384 640 --dynamic
  yolox-export --model yolox_l.pth --to trt --fp16 --dynamic --batch 1,4,16
  yolox-export --model yolox_nano.pth --to trt-rtx --fp16 --targets sm86,sm89,sm120
  yolox-export --model yolox_s.pth --to openvino --int8 --calib my_pictures/
  yolox-export --verify-artifact yolox_nano_fp16.engine --model yolox_nano.pth
  yolox-export --verify-artifact yolox_nano.xml --model yolox_nano.pth --precision bf16
  yolox-export --describe yolox_nano.onnx
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND,
        "Export a trained YOLOX checkpoint to other formats, and verify that every artifact "
        "detects what the checkpoint detects.",
        EXAMPLES,
        (*MODEL_CODES, NotFasterError.exit_code, WITHOUT_PROOF),
    )
    width = max(map(len, TARGETS))
    lines = [f"  {name:<{width}}  {row.description}" for name, row in TARGETS.items()]
    result.epilog = "\n".join(("targets:", *lines, "", f"{result.epilog}"))
    add_options(
        result,
        f"""
        --model MODEL: {model_help()}
        --to TARGET ...: what to export to: one or several of the targets below
        --output DIR: folder for the artifacts (default: the current folder)
        --json FILE: write artifacts, verdicts, sizes and times as JSON, to the standard output
            for -
        --describe FILE: print what an artifact says about itself, and export nothing
        --verify-artifact FILE: verify an artifact again: compare it with the checkpoint --model on
            this machine, and export nothing; it keeps one result for each precision, backend and
            device
        """,
        to=("onnx",),
        output=Path(),
    )
    add_options(result, OVERWRITE.format(folder="--output"))
    add_model_hints(result)
    graph = result.add_argument_group("graph")
    graph.add_argument(BATCH, action=Joined, type=batch, default=1, metavar="N", help=batch_help())
    add_options(
        graph,
        """
        --dynamic: allow any number of pictures per inference call
        --opset N: version of the ONNX operator set
        --fp16: compute in half precision
        --decode: decode the boxes inside the graph
        --nms: decode and suppress the boxes inside the graph
        --pixels: prepare the pixels inside the graph: it takes uint8 (N, H, W, 3) in the order
            blue, green, red, and only the resize is left to do (ONNX and OpenVINO)
        """,
        opset=DEFAULT_OPSET,
    )
    add_thresholds(graph, SCORE_THRESHOLD, IOU_THRESHOLD)
    add_options(
        graph,
        """
        --[no-]simplify: fold constants with onnxsim (default: --simplify)
        --[no-]scale-stem: scale the weights of the first layer by a power of two, so that FP16 can
            hold them (default: --scale-stem)
        """,
    )
    add_options(
        result.add_argument_group("INT8"),
        """
        --int8: compute in eight bits where that loses little AP; what stays in floating point is
            found by measurement and written to a .quantization.json file
        --calib FOLDER: with --int8: 100 or more pictures like those that the model will see
        --max-ap-drop POINTS: with --int8: how many points of AP may be lost (0 to 100)
        --data JSON: with --int8: annotations in COCO's format to measure AP on (default: AP against
            the detections of the checkpoint itself, where 20 points count as one)
        --images DIR: with --data: folder with the pictures that the annotations name
        --quantization FILE: with --int8: repeat what an earlier search found, from its
            .quantization.json file
        --keep-anyway: with --int8: keep an artifact that is not surely faster than FP32 and BF16
            on this machine, which otherwise ends with exit code 10
        """,
        max_ap_drop=DEFAULT_DROP,
    )
    add_settings(result)
    verification = result.add_argument_group("verification")
    add_max_pixels(verification)
    add_options(
        verification,
        """
        --verify FOLDER: folder of pictures to verify on, of which at most 64 are taken (default:
            drawn pictures of this package)
        --[no-]enclose: put some of the pictures of --verify into the artifacts, shrunk and
            compressed (at most 200 kB), so that yolox-verify can prove them on other machines
            (default: --enclose)
        --no-verify: write the artifacts without verifying them
        --allow-unverified: if an artifact fails, give it the requested name all the same; exit
            with code 0 also if verification fails or proves nothing
        --backend NAME: with --verify-artifact: what runs the artifact (default: the first that
            opens it)
        --device NAME: with --verify-artifact: cpu, cuda, cuda:1, gpu or npu, as far as the backend
            has it (default: the backend's first, mostly cpu)
        --precision NAME: with --verify-artifact: what the engine computes in: fp32, bf16 or fp16
            (default: fp32)
        """,
    )
    return result


def work(arguments: argparse.Namespace) -> int:
    """Do what the arguments ask for; returns the exit code."""
    models = filter(None, (arguments.model, arguments.describe, arguments.verify_artifact))
    check_file_option("--json", arguments.json, files_read(arguments, models))
    # Before PyTorch is loaded, which converters load as well.
    wait_passively()
    if arguments.describe:
        return describe(arguments)
    if arguments.verify_artifact:
        return check(arguments)
    for name in given(arguments, *ENGINE):
        raise UsageError(
            f"--{name} is for --verify-artifact FILE; an export in half precision takes --fp16"
        )
    return export(arguments)


def describe(arguments: argparse.Namespace) -> int:
    """Print what an artifact says about itself."""
    if not arguments.describe.is_file():
        raise InputFileError(f"{arguments.describe}: no such file")
    spec, rows = description(arguments.describe, model_hints(arguments))
    evidence = Evidence.of(spec)
    carried = ("evidence", evidence.summary() if evidence else "none")
    print_table(("", ""), [*describe_spec(spec), carried, *rows])
    if arguments.json:
        content = {"spec": json.loads(spec.to_json()), "built": dict(rows)}
        write_document(arguments.json, f"{COMMAND} --describe", content)
    return 0


def description(path: Path, hints: SpecHints) -> tuple[ModelSpec, list[tuple[str, str]]]:
    """Return an artifact's spec, and how it was built as rows of a label and a text.

    The artifact is opened by its engine only if that is the only way to read it.
    """
    if any(path.name.endswith(row.suffix) for row in TARGETS.values()):
        described = target_of(path).describe(path)
        if described:
            return described
    with backend_for(path).runtime_class()(path, hints=hints) as runtime:
        spec = runtime.spec
        rows = [("notes", " ".join(runtime.notes))] if runtime.notes else []
    state = state_of(path)
    return spec, [*rows, ("files", state)] if state else rows


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
            path,
            checkpoint,
            model_hints(arguments),
            pictures=arguments.verify,
            max_pixels=arguments.max_pixels,
            enclose=arguments.enclose,
            report=begin,
            **given(arguments, *ENGINE),
        )
    for text in found.notes:
        note(f"note: {text}")
    ran = f"{found.verification.backend}, {found.verification.precision}"
    rows = [[str(path), ran, verdict(found.verification)]]
    print_table(["artifact", "ran on", "verification"], rows)
    if arguments.json:
        content = {
            "checkpoint": str(checkpoint),
            "path": str(path),
            "verification": found.verification.record(),
            "notes": list(found.notes),
        }
        write_document(arguments.json, f"{COMMAND} --verify-artifact", content)
    if found.verification.status == "failed" and not arguments.allow_unverified:
        raise VerificationError(f"{path}: {found.verification.summary}")
    return exit_code([found.verification], arguments)


def need_export_packages() -> None:
    """Raise :class:`MissingPackageError` unless PyTorch and ONNX can be imported."""
    packages = ("torch", "onnx")
    missing = [name for name in packages if not is_installed(name)]
    for name in missing[:1] or packages:
        reason = f"exporting needs {' and '.join(missing or [name])}"
        require(name, reason, install_line("export"))


def export(arguments: argparse.Namespace) -> int:
    """Export, verify and print the table."""
    if arguments.verify and arguments.no_verify:
        raise UsageError("--verify and --no-verify exclude each other")
    if not arguments.nms and (
        arguments.score_threshold != SCORE_THRESHOLD or arguments.iou_threshold != IOU_THRESHOLD
    ):
        raise UsageError(
            "thresholds are part of an artifact only with --nms: add --nms, or leave them out"
        )
    need_export_packages()
    from yolox_deploy.export.pipeline import export_model
    from yolox_deploy.weights import find_model

    checkpoint = find_model(arguments.model)
    opened = {suffix for row in BACKENDS.values() for suffix in row.suffixes}
    if checkpoint.suffix in opened.difference(CHECKPOINT_SUFFIXES):
        raise UsageError(f"{checkpoint} is an artifact already: --model takes the checkpoint")
    options = ExportOptions(
        hints=model_hints(arguments),
        batch=arguments.batch if isinstance(arguments.batch, int) else 1,
        verify=not arguments.no_verify,
        pictures=arguments.verify,
        max_pixels=arguments.max_pixels,
        settings=settings_of(arguments),
        int8=int8_options(arguments),
        **given(arguments, *SAME_NAME),
    )
    try:
        with stages(checkpoint.name) as begin:
            results = export_model(
                checkpoint, arguments.to, options, arguments.output, begin, begin.advance
            )
    except (UnverifiedError, NotBuiltError, NotFasterError) as error:
        deliver(error.results, checkpoint, arguments.json)
        raise
    deliver(results, checkpoint, arguments.json)
    return exit_code([result.verification for result in results], arguments)


def int8_options(arguments: argparse.Namespace) -> Int8Options | None:
    """Return what the arguments ask of INT8; raises :class:`UsageError` without ``--int8``."""
    asked = Int8Options(
        arguments.calib,
        arguments.max_ap_drop,
        arguments.data,
        arguments.images,
        arguments.quantization,
        arguments.keep_anyway,
    )
    if arguments.int8:
        return asked
    if asked != Int8Options():
        raise UsageError(
            "--calib, --max-ap-drop, --data, --images, --quantization and --keep-anyway are for "
            "INT8: add --int8"
        )
    return None


def deliver(results: Sequence[ExportResult], checkpoint: Path, file: Path | None) -> None:
    """Print the notes of all exports, then one row per artifact; write the JSON ``file``."""
    for text in dict.fromkeys(n for r in results for n in (*r.notes, *r.verification.notes)):
        note(f"note: {text}")
    for r in results:
        if r.search:
            print_table(*search_table(r.target, r.search))
    rows = []
    for r in results:
        size, time = f"{r.size / 1e6:.2f} MB", f"{r.seconds:.1f} s"
        path = str(r.path) if r.kept else "not kept"
        rows.append([r.target, path, size, time, verdict(r.verification)])
    print_table(["target", "artifact", "size", "time", "verification"], rows)
    if file:
        artifacts = [
            {
                "target": r.target,
                "path": str(r.path),
                "bytes": r.size,
                "seconds": round(r.seconds, 3),
                "precision": r.spec.precision,
                "ok": r.ok,
                "kept": r.kept,
                "quantization": r.spec.quantization,
                "speed": [ratio.to_json() for ratio in r.speed],
                "verification": r.verification.record(),
                "notes": list(r.notes),
            }
            for r in results
        ]
        content = {"checkpoint": str(checkpoint), "artifacts": artifacts}
        write_document(file, COMMAND, content)


def search_table(target: str, search: Search) -> tuple[list[str], list[list[str]]]:
    """Return the titles and rows that say what of a network became INT8."""
    rows = []
    for row in search.rows:
        saved = "-" if row.saved_ms is None else f"{row.saved_ms:.2f}"
        rows.append([row.block, f"{100 * row.ap_drop:.2f}", saved, row.kept])
    for name, drop in (("together", search.drop), ("on other pictures", search.judged_drop)):
        rows.append([name, f"{100 * drop:.2f}", "", ""])
    return [f"block for {target}", "AP drop", "ms saved", "result"], rows


def verdict(verification: Verification) -> str:
    """Return what verification found, as a cell of a table."""
    return f"{verification.status}: {verification.summary}"


def exit_code(found: Sequence[Verification], arguments: argparse.Namespace) -> int:
    """Return 0 if what was asked for is proven, or if the user does not insist on it."""
    unproven = any(verification.status in UNPROVEN for verification in found)
    return WITHOUT_PROOF if unproven and not arguments.allow_unverified else 0


main = partial(run_command, COMMAND, parser, work)
