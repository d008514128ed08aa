"""The two targets: TensorRT builds on the GPU that runs the engine, TensorRT-RTX anywhere."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from yolox_deploy.errors import (
    ConversionError,
    DeviceError,
    MissingPackageError,
    UsageError,
    YoloxDeployError,
)
from yolox_deploy.export.quantization.layout import TENSORRT
from yolox_deploy.export.targets.base import Advance, Target, ignore_progress
from yolox_deploy.export.targets.tensorrt.builder import (
    MIB,
    BuildRequest,
    build_engine,
    check_request,
    is_quantized,
    timing_cache_file,
)
from yolox_deploy.export.targets.tensorrt.settings import (
    GPUS,
    HARDWARE_COMPATIBLE,
    PROFILE,
    VERSION_COMPATIBLE,
    WORKSPACE,
    EngineSettings,
)
from yolox_deploy.export.targets.tensorrt.trtexec import trtexec_line, write_recipe
from yolox_deploy.packages import is_installed, why_broken
from yolox_deploy.runtimes.gpu import Gpu, find_gpu, free_memory, missing_gpu
from yolox_deploy.runtimes.tensorrt import sidecar
from yolox_deploy.runtimes.tensorrt.compatibility import Machine, gpu_refusal
from yolox_deploy.runtimes.texts import one_line
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks.proof import proofs

if TYPE_CHECKING:
    import onnx

# TensorRT wants memory beside its workspace, and other programs do too.
WORKSPACE_SHARE = 0.75


class EngineTarget(Target):
    """A serialized engine, with its spec and what it was built for in the sidecar beside it."""

    outputs = ("raw", "decoded")
    fp16_in_graph = True
    int8 = TENSORRT
    flavour: ClassVar[sidecar.Flavour]
    engine = EngineSettings()

    def with_settings(
        self, settings: Mapping[str, Any], advance: Advance = ignore_progress
    ) -> Self:
        row = super().with_settings(settings, advance)
        row.engine = EngineSettings(**row.values)
        return row

    def check(self, spec: ModelSpec) -> None:
        super().check(spec)
        if self.engine.profile and spec.batch is not None:
            raise UsageError(f"{PROFILE.usage} is for engines of any batch: add --dynamic")
        try:
            trt = self.builder()
        except Exception:
            # ``load`` or ``why_not_built`` has said why.
            return
        check_request(trt, self.request(spec, None))

    def builder(self) -> Any:
        """Return the module that builds."""
        return importlib.import_module(self.package)

    def request(self, spec: ModelSpec, gpu: Gpu | None) -> BuildRequest:
        """Return what the builder is asked for; ``gpu`` is the GPU that it runs on."""
        engine = self.engine
        return BuildRequest(
            spec.precision,
            engine.shapes(spec),
            engine.workspace and engine.workspace * MIB,
            engine.targets,
            engine.hardware_compatible,
            engine.version_compatible,
        )

    def made_for(self) -> str:
        return f"{self.builder().__version__} {find_gpu()}"

    def files(self, main: Path) -> tuple[Path, ...]:
        return sidecar.sidecar_path(main), main

    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
        trt, gpu = self.builder(), None if missing_gpu() else find_gpu()
        try:
            plan = build_engine(trt, graph, self.request(spec, gpu), self.advance)
        except YoloxDeployError:
            raise
        except Exception as error:
            raise ConversionError(f"{self.flavour} could not convert: {one_line(error)}") from error
        main.write_bytes(plan)
        record = sidecar.EngineRecord(
            flavour=self.flavour,
            version=trt.__version__,
            precision="int8" if is_quantized(graph) else spec.precision,
            batch=self.engine.batches(spec),
            onnx_sha256=hashlib.sha256(graph.SerializeToString()).hexdigest(),
            engine_sha256=hashlib.sha256(plan).hexdigest(),
            engine_bytes=len(plan),
            executed=False,
            gpu=gpu.name if gpu else None,
            compute_capability=gpu.compute_capability if gpu else None,
            driver=gpu.driver if gpu else None,
            targets=self.engine.targets,
            hardware_compatible=self.engine.hardware_compatible,
            version_compatible=self.engine.version_compatible,
        )
        sidecar.write_sidecar(main, spec, record)

    def embed(self, main: Path, spec: ModelSpec) -> None:
        record = sidecar.read_sidecar(main).engine
        executed = any(proof.verdict == "passed" for proof in proofs(spec))
        sidecar.write_sidecar(main, spec, replace(record, executed=executed) if record else None)

    def describe(self, main: Path) -> tuple[ModelSpec, list[tuple[str, str]]]:
        spec, record = sidecar.read_sidecar(main)
        if record is None:
            return spec, []
        sidecar.check_content(main, record)
        return spec, record.describe()


class TensorRTTarget(EngineTarget):
    """An engine for the GPU that builds it."""

    name = "trt"
    description = "TensorRT engine, built on the GPU that runs it"
    suffix = ".engine"
    backend = "tensorrt"
    package = "tensorrt"
    extra = "tensorrt"
    flavour = "tensorrt"
    settings = (WORKSPACE, PROFILE, HARDWARE_COMPATIBLE, VERSION_COMPATIBLE)

    def why_not_built(self) -> YoloxDeployError | None:
        """Return everything that is missing, TensorRT and the GPU, at once."""
        no_gpu = missing_gpu()
        if is_installed(self.package):
            missing = why_broken(self.package)
        else:
            missing = f"the package {self.package} is missing ({self.install})"
        if not missing and no_gpu is None:
            return None
        kind = MissingPackageError if missing else DeviceError
        reasons = [reason for reason in (missing, no_gpu and no_gpu.reason) if reason]
        return kind(
            f"target {self.name} must be built on the machine that runs it: {' and '.join(reasons)}"
        )

    def hand_over(self, source: Path, spec: ModelSpec, unexecuted: ModelSpec) -> str:
        """Write ``trtexec``'s command, and the sidecar with which its engine can be opened."""
        engine = source.with_suffix(self.suffix)
        line = trtexec_line(source.name, engine.name, spec, self.engine)
        recipe = write_recipe(source, engine, line, self.finish_command(Path(engine.name)))
        # An engine that is there already was built with a sidecar of its own.
        if not engine.exists():
            sidecar.write_sidecar(engine, unexecuted, None)
        passed = any(proof.verdict == "passed" for proof in proofs(spec))
        return (
            f"Either install what is missing, or build it there from {source} "
            f"({'verified' if passed else 'not verified'}): {line} (also in {recipe.name})"
        )

    def request(self, spec: ModelSpec, gpu: Gpu | None) -> BuildRequest:
        """Return the request with what only a builder that measures on its GPU needs."""
        request = super().request(spec, gpu)
        if gpu is None:
            return request
        workspace = request.workspace or int(free_memory() * WORKSPACE_SHARE)
        cache = timing_cache_file(self.flavour, self.builder().__version__, gpu.name)
        return replace(request, workspace=workspace, timing_cache=cache)


class TensorRTRTXTarget(EngineTarget):
    """An engine for GPUs that are named, built anywhere and finished on them when it is loaded."""

    name = "trt-rtx"
    description = "TensorRT-RTX engine, built without a GPU"
    suffix = ".rtx.engine"
    backend = "tensorrt-rtx"
    package = "tensorrt_rtx"
    extra = "tensorrt-rtx"
    flavour = "tensorrt-rtx"
    settings = (WORKSPACE, PROFILE, GPUS)

    def why_not_executed(self) -> str:
        no_gpu = missing_gpu()
        if no_gpu is not None:
            return no_gpu.reason
        gpu, version = find_gpu(), self.builder().__version__
        here = Machine(self.flavour, version, gpu.name, gpu.compute_capability)
        return gpu_refusal(self.engine.targets, here) or ""
