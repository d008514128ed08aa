"""Build a TensorRT or TensorRT-RTX engine from an ONNX graph with whatever version is installed.

Names come and go between versions (11 has no FP16 flag, 8.6 no strong typing, only RTX knows
targets), so every step asks whether a name is there, never for a version number.
"""

from __future__ import annotations

import contextlib
import operator
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolox_deploy.errors import ConversionError, OutputError, UsageError, suggest
from yolox_deploy.export.targets.base import Advance, ignore_progress
from yolox_deploy.export.targets.tensorrt.watch import interruptible, progress_monitor
from yolox_deploy.files import cache_folder, write_atomically
from yolox_deploy.runtimes.tensorrt.log import log_of
from yolox_deploy.runtimes.tensorrt.sidecar import EnginePrecision, Flavour
from yolox_deploy.runtimes.texts import one_line

if TYPE_CHECKING:
    import onnx

MIB = 1 << 20
QUANTIZED = {"QuantizeLinear", "DequantizeLinear"}
# Nodes that export/tails/ appends to the network; they compute in FP32.
TAIL = re.compile(r"(node_of_)?(decode|nms)/")


@dataclass(frozen=True)
class BuildRequest:
    """What :func:`build_engine` needs beside the graph; ``workspace`` is in bytes.

    ``profile`` has the smallest, preferred and largest shape of the input, ``None`` if its shape is
    fixed.  ``timing_cache`` keeps the measured times of kernels, for versions that measure them.
    """

    precision: EnginePrecision = "fp32"
    profile: tuple[tuple[int, ...], ...] | None = None
    workspace: int | None = None
    targets: tuple[str, ...] = ()
    hardware_compatible: bool = False
    version_compatible: bool = False
    timing_cache: Path | None = None


def build_engine(
    trt: Any, graph: onnx.ModelProto, request: BuildRequest, advance: Advance = ignore_progress
) -> bytes:
    """Return the serialized engine of ``graph``; ``trt`` is the module that builds it.

    ``advance`` is told the progress, if the version has a progress monitor.  Raises
    :class:`UsageError` for a request that the version cannot serve, and :class:`ConversionError`
    if the build fails.
    """
    check_request(trt, request)
    log = log_of(trt)
    log.lines.clear()
    builder = trt.Builder(log)
    network = builder.create_network(network_flags(trt))
    _parse(trt, network, graph, log)
    config = builder.create_builder_config()
    _set_precision(trt, config, network, request.precision, graph)
    _set_limits(trt, config, request)
    if request.profile:
        profile = builder.create_optimization_profile()
        profile.set_shape(graph.graph.input[0].name, *request.profile)
        config.add_optimization_profile(profile)
    cache = _attach_timing_cache(trt, config, request.timing_cache)
    with interruptible() as interrupted:
        if _has(trt, "IProgressMonitor", "IBuilderConfig.progress_monitor"):
            monitor = progress_monitor(trt, advance, interrupted)
            config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ConversionError(f"{_name(trt)} could not convert: {_reason(log, request)}")
    if cache is not None and request.timing_cache:
        # A cache that cannot be kept only costs time at the next build.
        with contextlib.suppress(OutputError):
            write_atomically(request.timing_cache, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def check_request(trt: Any, request: BuildRequest) -> None:
    """Raise :class:`UsageError` for what the installed version cannot build."""
    known = targets_of(trt)
    if request.targets and not known:
        raise UsageError(
            f"{_name(trt)} builds for the GPU it runs on: --targets belongs to --to trt-rtx"
        )
    for name in request.targets:
        if name not in known:
            raise UsageError(
                f"{_name(trt)} has no target {name!r}: expected {', '.join(known)}"
                + suggest(name, known)
            )
    if len(set(request.targets)) != len(request.targets):
        raise UsageError(f"a target is named twice: {', '.join(request.targets)}")
    # TensorRT-RTX is given names of GPUs instead: its builder ignores one of these two requests and
    # fails at the other.
    if request.hardware_compatible and (
        known or not _has(trt, "HardwareCompatibilityLevel.AMPERE_PLUS")
    ):
        raise UsageError(
            f"{_name(trt)} has no hardware-compatible engines: leave --hardware-compatible out"
            + (" and name the GPUs, --targets" if known else "")
        )
    if request.version_compatible and (known or not _has(trt, "BuilderFlag.VERSION_COMPATIBLE")):
        raise UsageError(
            f"{_name(trt)} has no version-compatible engines: leave --version-compatible out"
        )


def targets_of(trt: Any) -> tuple[str, ...]:
    """Return the names that ``--targets`` can have; TensorRT, unlike TensorRT-RTX, has none."""
    if not _has(trt, "ComputeCapability"):
        return ()
    return tuple(name.lower() for name in trt.ComputeCapability.__members__ if name[:2] == "SM")


def network_flags(trt: Any) -> int:
    """Return the flags of a network: explicit batch and, if the version has it, strong typing."""
    kind = trt.NetworkDefinitionCreationFlag
    names = ("EXPLICIT_BATCH", "STRONGLY_TYPED")
    return sum(1 << int(getattr(kind, name)) for name in names if hasattr(kind, name))


def is_quantized(graph: onnx.ModelProto) -> bool:
    """Return whether the graph has nodes that quantize, which make an INT8 engine of it."""
    return any(node.op_type in QUANTIZED for node in graph.graph.node)


def _parse(trt: Any, network: Any, graph: onnx.ModelProto, log: Any) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse(graph.SerializeToString()):
        return
    problems, nodes = [], graph.graph.node
    for error in map(parser.get_error, range(parser.num_errors)):
        number = error.node()
        where = f"node {number} ({nodes[number].op_type}): " if 0 <= number < len(nodes) else ""
        problems.append(where + one_line(ValueError(error.desc())))
    text = "; ".join(dict.fromkeys(problems)) or _last(log) or "its parser gave no reason"
    raise ConversionError(f"{_name(trt)} could not convert: {text}")


def _set_precision(
    trt: Any, config: Any, network: Any, precision: EnginePrecision, graph: onnx.ModelProto
) -> None:
    """Allow a weakly typed network its precisions; a strongly typed one has them in its graph."""
    if precision == "fp32":
        # TF32 is no FP32: it has the mantissa of FP16.
        config.clear_flag(trt.BuilderFlag.TF32)
    if not _has(trt, "BuilderFlag.FP16") or _has(
        trt, "NetworkDefinitionCreationFlag.STRONGLY_TYPED"
    ):
        return
    if is_quantized(graph):
        config.set_flag(trt.BuilderFlag.INT8)
    if precision != "fp16":
        return
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    floats = (trt.DataType.FLOAT, trt.DataType.HALF)
    for layer in map(network.get_layer, range(network.num_layers)):
        if TAIL.match(layer.name) and layer.get_output(0).dtype in floats:
            layer.precision = trt.DataType.FLOAT
            layer.set_output_type(0, trt.DataType.FLOAT)


def _set_limits(trt: Any, config: Any, request: BuildRequest) -> None:
    if request.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace)
    if request.targets:
        config.num_compute_capabilities = len(request.targets)
        for i, name in enumerate(request.targets):
            if not config.set_compute_capability(getattr(trt.ComputeCapability, name.upper()), i):
                raise UsageError(f"{_name(trt)} refuses to build for {name}")
    if request.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if request.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


def _attach_timing_cache(trt: Any, config: Any, file: Path | None) -> Any:
    """Give the builder what earlier builds measured; return the cache, which must stay alive."""
    # TensorRT-RTX measures nothing; its timing cache is an empty, deprecated one.
    if file is None or _has(trt, "ComputeCapability"):
        return None
    try:
        content = file.read_bytes()
    except OSError:
        content = b""
    # TensorRT refuses a cache that is damaged, or of another GPU or version: then begin anew.
    for data in (content, b""):
        with contextlib.suppress(RuntimeError, TypeError, ValueError):
            cache = config.create_timing_cache(data)
            if cache is not None and config.set_timing_cache(cache, False):
                return cache
    return None


def timing_cache_file(flavour: Flavour, version: str, gpu: str) -> Path:
    """Return where the times of a GPU's kernels are kept between builds."""
    name = re.sub(r"[^\w.-]+", "_", f"{flavour}-{version}-{gpu}")
    return cache_folder() / "timing" / f"{name}.cache"


def _reason(log: Any, request: BuildRequest) -> str:
    """Return one sentence on why a build failed and, if that is known, on what to do."""
    text = _last(log) or "it gave no reason"
    lower = text.lower()
    if "workspace" in lower:
        limit = f" of {request.workspace // MIB} MiB" if request.workspace else ""
        return f"a workspace{limit} is too small: give --workspace more MiB, or leave it out"
    if "out of memory" in lower or "cudaerror 2:" in lower:
        return f"GPU memory is exhausted: close other programs, or lower --batch ({text})"
    if "nms" in lower or "nonmaxsuppression" in lower:
        return f"NMS inside the engine is not supported: leave --nms out ({text})"
    return text


def _last(log: Any) -> str:
    return one_line(ValueError(log.lines[-1])) if log.lines else ""


def _name(trt: Any) -> str:
    flavour = "TensorRT-RTX" if _has(trt, "ComputeCapability") else "TensorRT"
    return f"{flavour} {getattr(trt, '__version__', '')}".strip()


def _has(trt: Any, *names: str) -> bool:
    """Return whether the module has every dotted name."""
    try:
        operator.attrgetter(*names)(trt)
    except AttributeError:
        return False
    return True
