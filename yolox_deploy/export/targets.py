"""The table of targets: how each format is made from the hub, and where it keeps its spec."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import onnx

from yolox_deploy.errors import (
    ConversionError,
    DeviceError,
    MissingPackageError,
    UsageError,
    YoloxDeployError,
    suggest,
)
from yolox_deploy.export.onnx import embed_spec
from yolox_deploy.export.tensorrt import (
    MIB,
    WORKSPACE_SHARE,
    Advance,
    BuildRequest,
    EngineSettings,
    build_engine,
    check_request,
    is_quantized,
    shapes,
    timing_cache_file,
)
from yolox_deploy.runtimes.base import one_line
from yolox_deploy.runtimes.gpu import Gpu, find_gpu, free_memory, why_no_gpu
from yolox_deploy.runtimes.tensorrt.compatibility import Machine, refusal
from yolox_deploy.runtimes.tensorrt.sidecar import (
    EngineRecord,
    Flavour,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
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
    # The fields of EngineSettings that mean something to it.
    takes: ClassVar[frozenset[str]] = frozenset()

    def load(self) -> None:
        """Import the converter, before any work is done; raises :class:`MissingPackageError`."""
        try:
            importlib.import_module(self.package)
        except ImportError as error:
            raise MissingPackageError(
                f"target {self.name} needs the package {self.package}: "
                f'pip install "yolox-deploy[{self.extra}]"'
            ) from error

    def with_settings(self, settings: EngineSettings, advance: Advance) -> Target:
        """Return the target with those settings that it takes."""
        return self

    def made_for(self) -> str:
        """Return what a cached artifact depends on beside its checkpoint, "" for nothing."""
        return ""

    def why_not_executed(self) -> str:
        """Return in one sentence why the artifact cannot run on this machine, "" where it can.

        What cannot run is verified through the ONNX graph it is made from.
        """
        return ""

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


class EngineTarget(Target):
    """A serialized engine, with its spec and what it was built for in the sidecar beside it."""

    outputs = ("raw", "decoded")
    fp16_in_graph = True
    flavour: ClassVar[Flavour]

    def __init__(
        self,
        settings: EngineSettings = EngineSettings(),  # noqa: B008 (frozen)
        advance: Advance = lambda phase, done, total: None,
    ) -> None:
        self.settings = settings
        self.advance = advance

    def with_settings(self, settings: EngineSettings, advance: Advance) -> Self:
        taken = {name: getattr(settings, name) for name in self.takes}
        return type(self)(EngineSettings(**taken), advance)

    def check(self, spec: ModelSpec) -> None:
        super().check(spec)
        if self.settings.profile and spec.batch is not None:
            raise UsageError("--batch MIN,OPT,MAX is for engines of any batch: add --dynamic")
        try:
            trt = self.builder()
        except Exception:
            # ``load`` has said so.
            return
        check_request(trt, self.request(spec, None))

    def builder(self) -> Any:
        """Return the module that builds."""
        return importlib.import_module(self.package)

    def request(self, spec: ModelSpec, gpu: Gpu | None) -> BuildRequest:
        """Return what the builder is asked for; ``gpu`` is the one it runs on."""
        settings = self.settings
        return BuildRequest(
            precision=spec.precision,
            profile=shapes(spec, settings.batches(spec)) if spec.batch is None else None,
            workspace=None if settings.workspace is None else settings.workspace * MIB,
            targets=settings.targets,
            hardware_compatible=settings.hardware_compatible,
            version_compatible=settings.version_compatible,
        )

    def made_for(self) -> str:
        return f"{self.builder().__version__} {find_gpu()}"

    def files(self, main: Path) -> tuple[Path, ...]:
        return sidecar_path(main), main

    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
        trt, gpu = self.builder(), None if why_no_gpu() else find_gpu()
        try:
            engine = build_engine(trt, graph, self.request(spec, gpu), self.advance)
        except YoloxDeployError:
            raise
        except Exception as error:
            raise ConversionError(f"{self.flavour} could not convert: {one_line(error)}") from error
        main.write_bytes(engine)
        record = EngineRecord(
            flavour=self.flavour,
            version=trt.__version__,
            precision="int8" if is_quantized(graph) else spec.precision,
            batch=self.settings.batches(spec),
            onnx_sha256=hashlib.sha256(graph.SerializeToString()).hexdigest(),
            engine_sha256=hashlib.sha256(engine).hexdigest(),
            engine_bytes=len(engine),
            executed=False,
            gpu=gpu.name if gpu else None,
            compute_capability=gpu.compute_capability if gpu else None,
            driver=gpu.driver if gpu else None,
            targets=self.settings.targets,
            hardware_compatible=self.settings.hardware_compatible,
            version_compatible=self.settings.version_compatible,
        )
        write_sidecar(main, spec, record)

    def embed(self, main: Path, spec: ModelSpec) -> None:
        record = read_sidecar(main).engine
        found = spec.verification or {}
        executed = found.get("status") == "passed" and bool(found.get("executed"))
        write_sidecar(main, spec, replace(record, executed=executed) if record else None)


class TensorRTTarget(EngineTarget):
    """An engine for the GPU that builds it."""

    name = "trt"
    suffix = ".engine"
    backend = "tensorrt"
    package = "tensorrt"
    extra = "tensorrt"
    flavour = "tensorrt"
    takes = frozenset({"workspace", "profile", "hardware_compatible", "version_compatible"})

    def load(self) -> None:
        """Import TensorRT and ask for a GPU; says all that is missing at once."""
        no_gpu, missing = _short(why_no_gpu()), ""
        try:
            super().load()
        except MissingPackageError:
            missing = f'the package tensorrt is missing (pip install "yolox-deploy[{self.extra}]")'
        except Exception as error:
            missing = f"the package tensorrt cannot be imported ({one_line(error)})"
        if missing or no_gpu:
            kind = MissingPackageError if missing else DeviceError
            reasons = " and ".join(filter(None, (missing, no_gpu)))
            raise kind(f"target trt is built on the machine that shall run it: {reasons}")

    def request(self, spec: ModelSpec, gpu: Gpu | None) -> BuildRequest:
        """Return the request with what only a builder that measures on its GPU needs."""
        request = super().request(spec, gpu)
        if gpu is None:
            return request
        free = int(free_memory() * WORKSPACE_SHARE)
        version = self.builder().__version__
        return replace(
            request,
            workspace=free if request.workspace is None else request.workspace,
            timing_cache=timing_cache_file(self.flavour, version, gpu.name),
        )


class TensorRTRTXTarget(EngineTarget):
    """An engine for GPUs that are named, built anywhere and finished on them when it is loaded."""

    name = "trt-rtx"
    suffix = ".rtx.engine"
    backend = "tensorrt-rtx"
    package = "tensorrt_rtx"
    extra = "tensorrt-rtx"
    flavour = "tensorrt-rtx"
    takes = frozenset({"workspace", "profile", "targets"})

    def why_not_executed(self) -> str:
        no_gpu = _short(why_no_gpu())
        if no_gpu:
            return no_gpu
        gpu = find_gpu()
        version = self.builder().__version__
        planned = EngineRecord(
            self.flavour, version, "fp32", (1, 1, 1), "0" * 64, "0" * 64, 1, False,
            targets=self.settings.targets,
        )  # fmt: skip
        here = Machine(self.flavour, version, gpu.name, gpu.compute_capability)
        return refusal(planned, here) or ""


def _short(reason: str) -> str:
    """Return a reason without the advice behind its colon, which is for those who run models."""
    return reason.partition(": ")[0]


TARGETS: dict[str, Target] = {
    row.name: row
    for row in (
        OnnxTarget(),
        OpenVINOTarget(),
        NcnnTarget(),
        TensorRTTarget(),
        TensorRTRTXTarget(),
    )
}


def target(name: str) -> Target:
    """Return the target called ``name``; raises :class:`UsageError` for another word."""
    if name not in TARGETS:
        raise UsageError(
            f"unknown target {name!r}: expected {', '.join(TARGETS)}" + suggest(name, TARGETS)
        )
    return TARGETS[name]
