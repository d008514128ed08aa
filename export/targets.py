"""The table of targets: how each format is made from the hub, and where it keeps its spec."""

from __future__ import annotations

import importlib
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import onnx

from yolox_deploy.errors import ConversionError, MissingPackageError, UsageError, suggest
from yolox_deploy.export.onnx import embed_spec
from yolox_deploy.runtimes.base import one_line
from yolox_deploy.spec import SPEC_KEY, ModelSpec, OutputKind

PNNX_TIMEOUT_S = 1800


class Target(ABC):
    """One format: ``convert`` writes it from an ONNX graph, ``embed`` puts the spec into it."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    backend: ClassVar[str]
    package: ClassVar[str]
    extra: ClassVar[str]
    outputs: ClassVar[tuple[OutputKind, ...]] = ("raw", "decoded", "detections")
    # Formats without batches are exported for one picture; their runtime loops.
    batches: ClassVar[bool] = True
    # Whether FP16 is a matter of the graph given to ``convert``, or of ``convert`` itself.
    fp16_in_graph: ClassVar[bool] = False

    def load(self) -> None:
        """Import the converter, before any work is done; raises :class:`MissingPackageError`."""
        try:
            importlib.import_module(self.package)
        except ImportError as error:
            raise MissingPackageError(
                f"target {self.name} needs the package {self.package}: "
                f'pip install "yolox-deploy[{self.extra}]"'
            ) from error

    def check(self, spec: ModelSpec) -> None:
        """Raise :class:`UsageError` where this format cannot carry the request."""
        if spec.output not in self.outputs:
            raise UsageError(
                f"target {self.name} cannot carry NMS, only {' or '.join(self.outputs)} output: "
                "leave --nms out for it, Detector does the NMS"
            )

    def files(self, main: Path) -> tuple[Path, ...]:
        """Return every file of the artifact whose main file is ``main``, that one last."""
        return (main,)

    @abstractmethod
    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
        """Write the artifact without its spec to ``main`` and what belongs beside it.

        Raises :class:`ConversionError` where the converter fails.
        """

    @abstractmethod
    def embed(self, main: Path, spec: ModelSpec) -> None:
        """Write the spec into the artifact, replacing an earlier one; nothing else changes."""


class OnnxTarget(Target):
    """The hub itself."""

    name = "onnx"
    suffix = ".onnx"
    backend = "onnxruntime"
    package = "onnx"
    extra = "export"
    fp16_in_graph = True

    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
        onnx.save_model(graph, main)

    def embed(self, main: Path, spec: ModelSpec) -> None:
        model = onnx.load_model(main)
        embed_spec(model, spec)
        onnx.save_model(model, main)


class OpenVINOTarget(Target):
    """OpenVINO IR: ``.xml`` with ``.bin``."""

    name = "openvino"
    suffix = ".xml"
    backend = "openvino"
    package = "openvino"
    extra = "openvino"

    def files(self, main: Path) -> tuple[Path, ...]:
        return main.with_suffix(".bin"), main

    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
        import openvino

        try:
            # Not convert_model: its optimisations multiply the stem's scale back into the weights
            # before they are rounded to FP16.  The plugin fuses the two when it compiles.
            model = openvino.Core().read_model(graph.SerializeToString())
            openvino.save_model(model, main, compress_to_fp16=spec.precision == "fp16")
        except Exception as error:
            raise ConversionError(f"OpenVINO could not convert: {one_line(error)}") from error

    def embed(self, main: Path, spec: ModelSpec) -> None:
        import openvino

        model = openvino.Core().read_model(main)
        model.set_rt_info(spec.to_json(), [SPEC_KEY])
        # Beside and renamed: the weights are still mapped from the file they are written to.
        draft = main.with_name(f"{main.stem}.draft.xml")
        openvino.save_model(model, draft, compress_to_fp16=False)
        del model
        draft.with_suffix(".bin").replace(main.with_suffix(".bin"))
        draft.replace(main)


class NcnnTarget(Target):
    """NCNN: ``.param`` with ``.bin``, the spec in ``.json``."""

    name = "ncnn"
    suffix = ".ncnn.param"
    backend = "ncnn"
    package = "pnnx"
    extra = "ncnn"
    outputs = ("raw", "decoded")
    batches = False

    def files(self, main: Path) -> tuple[Path, ...]:
        return main.with_suffix(".bin"), main.with_suffix(".json"), main

    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
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
                command, cwd=main.parent, capture_output=True, text=True, timeout=PNNX_TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise ConversionError(f"pnnx was still busy after {PNNX_TIMEOUT_S} s") from error
        if run.returncode or not main.is_file() or not bin_file.is_file():
            last = (run.stderr or run.stdout).strip().splitlines()[-1:]
            raise ConversionError(
                f"pnnx could not convert (exit code {run.returncode}): {' '.join(last)}"
            )
        for leftover in main.parent.glob("pnnx_input*"):
            leftover.unlink()

    def embed(self, main: Path, spec: ModelSpec) -> None:
        main.with_suffix(".json").write_text(spec.to_json() + "\n", "utf-8")


def pnnx_program() -> Path:
    """Return pnnx's program; the script of that name only starts it, and outlives it when killed.

    Raises :class:`ConversionError` where the package came without it.
    """
    import pnnx

    program = Path(pnnx.EXEC_PATH)
    if not program.is_file():
        raise ConversionError(
            f"pnnx is installed without its program ({program}): pip install --force-reinstall pnnx"
        )
    return program


TARGETS: dict[str, Target] = {
    row.name: row for row in (OnnxTarget(), OpenVINOTarget(), NcnnTarget())
}


def target(name: str) -> Target:
    """Return the target called ``name``; raises :class:`UsageError` for another word."""
    if name not in TARGETS:
        raise UsageError(
            f"unknown target {name!r}: expected {', '.join(TARGETS)}" + suggest(name, TARGETS)
        )
    return TARGETS[name]
