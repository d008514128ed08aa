"""``yolox-verify``: prove an artifact again on this machine, without its checkpoint."""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

from yolox_deploy.cli.common import WITHOUT_PROOF, given, make_parser, run_command
from yolox_deploy.cli.outputs import check_file_option
from yolox_deploy.cli.parser import add_options
from yolox_deploy.errors import InputFileError, ModelWarning, UsageError, VerificationError
from yolox_deploy.export.targets import rewrite
from yolox_deploy.files import write_document
from yolox_deploy.progress import stages
from yolox_deploy.runtimes import BACKENDS, CHECKPOINT_SUFFIXES
from yolox_deploy.runtimes.registry import files_of
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks.proof import with_proof
from yolox_deploy.terminal import note, print_line, print_table
from yolox_deploy.verification.again import prove_file
from yolox_deploy.verification.verify import Verification

COMMAND = "yolox-verify"
# What a run takes of ``prove_file``.
ENGINE = ("backend", "device", "precision")
EXAMPLES = """\
  yolox-verify yolox_nano.onnx
  yolox-verify yolox_nano.onnx --backend openvino --threads 1,2
  yolox-verify yolox_nano.xml --precision bf16 --record
  yolox-verify yolox_nano_fp16.engine --record
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND,
        "Prove on this machine that an artifact detects what its checkpoint detects. The artifact "
        "carries what this needs: pictures, and what the checkpoint found on them. Neither the "
        "checkpoint nor PyTorch is needed.",
        EXAMPLES,
        (VerificationError.exit_code, WITHOUT_PROOF),
    )
    result.add_argument(
        "artifact", type=Path, help="an artifact of yolox-export (.onnx, .xml, .param, .engine)"
    )
    add_options(
        result,
        """
        --record: write the result into the artifact: Detector then knows that this precision is
            proven on this backend
        --json FILE: write the results as JSON, to the standard output for -
        """,
    )
    add_options(
        result.add_argument_group("engine"),
        f"""
        --backend NAME: what runs the artifact: auto, {", ".join(BACKENDS)}
        --device NAME: cpu, cuda, cuda:1, gpu or npu, as far as the backend has it (default: the
            backend's first, mostly cpu)
        --precision NAME: what the engine computes in: fp32, bf16 or fp16 (default: the backend's
            first, mostly fp32)
        --threads N ...: numbers of CPU threads, for example 1,2: one run for each of them (default:
            the engine's choice)
        """,
        backend="auto",
    )
    return result


def work(arguments: argparse.Namespace) -> int:
    """Run the artifact with each number of threads, print the verdicts; returns the exit code."""
    path: Path = arguments.artifact
    if path.suffix.lower() in CHECKPOINT_SUFFIXES:
        raise UsageError(f"{path} is a checkpoint: {COMMAND} takes an artifact")
    if not path.is_file():
        raise InputFileError(f"{path}: no such file")
    check_file_option("--json", arguments.json, files_of(path))
    spec: ModelSpec | None = None
    found: list[tuple[int | None, Verification]] = []
    with stages(path.name) as begin, warnings.catch_warnings():
        # What is stored of earlier proofs is what is proven now.
        warnings.simplefilter("ignore", ModelWarning)
        for threads in arguments.threads or [None]:
            count = "" if not threads else f" with {threads} thread{'s' * (threads > 1)}"
            begin(f"proving it{count}")
            spec, result = prove_file(path, threads=threads, **given(arguments, *ENGINE))
            found.append((threads, result))
    for text in dict.fromkeys(text for _, result in found for text in result.notes):
        note(f"note: {text}")
    asked = bool(arguments.threads)
    rows = [
        [
            str(path),
            ", ".join(word for word in (r.backend, r.precision) if word) or "not run",
            *([str(threads)] if asked else []),
            cell(r),
        ]
        for threads, r in found
    ]
    print_table(["artifact", "ran on", *["threads"] * asked, "verification"], rows)
    for text in dict.fromkeys(text for _, result in found for text in result.problems[1:]):
        print_line(f"beyond the tolerance: {text}")
    if arguments.json:
        runs = [{"threads": threads, **result.record()} for threads, result in found]
        write_document(arguments.json, COMMAND, {"path": str(path), "runs": runs})
    failed = [result for _, result in found if result.status == "failed"]
    worst = (failed or [result for _, result in found if result.status != "passed"] or [result])[0]
    if arguments.record and spec is not None and worst.backend:
        rewrite(path, replace(spec, verification=with_proof(spec, worst.record())))
    if failed:
        raise VerificationError(f"{path}: {worst.problems[0]}")
    return 0 if worst.status == "passed" else WITHOUT_PROOF


def cell(found: Verification) -> str:
    """Return the verdict and, in short, what it is based on."""
    if found.status == "not run":
        return found.status
    return f"{found.status}: {found.problems[0] if found.problems else found.summary}"


main = partial(run_command, COMMAND, parser, work)
