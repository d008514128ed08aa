"""NCNN, written by pnnx."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_deploy.errors import ConversionError
from yolox_deploy.export.targets.base import Target
from yolox_deploy.files import check_space
from yolox_deploy.runtimes.content import hashes_of
from yolox_deploy.runtimes.ncnn_graph import Graph
from yolox_deploy.spec import ModelSpec

if TYPE_CHECKING:
    import onnx

PNNX_TIMEOUT_S = 1800


class NcnnTarget(Target):
    """``.ncnn.param`` with the network, ``.ncnn.bin`` with the weights, ``.ncnn.json`` the spec."""

    name = "ncnn"
    description = "NCNN, for phones and small boards"
    suffix = ".ncnn.param"
    backend = "ncnn"
    package = "pnnx"
    extra = "ncnn"
    outputs = ("raw", "decoded")
    batches = False

    def files(self, main: Path) -> tuple[Path, ...]:
        return main.with_suffix(".bin"), main.with_suffix(".json"), main

    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
        import onnx

        source = main.with_name("pnnx_input.onnx")
        onnx.save_model(graph, source)
        bin_file = main.with_suffix(".bin")
        command = [
            str(pnnx_program()),
            source.name,
            f"inputshape=[1,3,{spec.height},{spec.width}]f32",
            f"fp16={int(spec.precision == 'fp16')}",
            f"ncnnparam={main.name}",
            f"ncnnbin={bin_file.name}",
        ]
        try:
            run = subprocess.run(
                command,
                cwd=main.parent,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=PNNX_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise ConversionError(f"pnnx was still busy after {PNNX_TIMEOUT_S} s") from error
        problem = f"exit code {run.returncode}"
        if not run.returncode and not (problem := incomplete(main, spec)):
            for leftover in main.parent.glob("pnnx_input*"):
                leftover.unlink()
            return
        # pnnx goes on when the disk is full.
        check_space(main.parent, graph.ByteSize())
        last = (run.stderr or run.stdout).strip().splitlines()[-1:]
        raise ConversionError(f"pnnx could not convert ({problem}): {' '.join(last)}")

    def embed(self, main: Path, spec: ModelSpec) -> None:
        text = spec.to_json(hashes_of(main)) + "\n"
        main.with_suffix(".json").write_text(text, "utf-8")


def incomplete(main: Path, spec: ModelSpec) -> str:
    """Return in words what is missing in the files of a new artifact, "" if nothing is."""
    weights = main.with_suffix(".bin")
    if not main.is_file() or not weights.is_file():
        return f"no {main.name} or {weights.name}"
    size = weights.stat().st_size
    try:
        graph = Graph(main.read_text("utf-8"))
        graph.check(size, spec.height, spec.width)
    except ValueError as error:
        return f"{main.name}: {error}"
    needed = graph.weight_bytes(2 if spec.precision == "fp16" else 4)
    return "" if size >= needed else f"{weights.name} has {size} of {needed} bytes"


def pnnx_program() -> Path:
    """Return pnnx's program itself, because the script of that name does not end it when killed.

    Raises :class:`ConversionError` if the package was installed without the program.
    """
    import pnnx

    program = Path(pnnx.EXEC_PATH)
    if not program.is_file():
        raise ConversionError(
            f"pnnx is installed without its program ({program}): pip install --force-reinstall pnnx"
        )
    return program
