"""What an engine really does: precision and threads, asked of the engine and not of the caller.

An engine may compute in another precision than it was asked for, silently, where the processor
lacks it; a figure under the wrong name is worse than none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from yolox_deploy.benchmarks.environment import require_psutil
from yolox_deploy.runtimes import Runtime

# As OpenVINO writes them, in its hint and in the executed graph.
OPENVINO_TYPES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8"}


class EngineFacts(NamedTuple):
    """The precision most of the work is done in, and the number of CPU threads, if known."""

    precision: str
    threads: int | None


def engine_facts(runtime: Runtime) -> EngineFacts:
    """Return what the engine of an opened runtime says of itself."""
    ask = ASK.get(runtime.name)
    if ask is None:
        precision = runtime.precision
        if runtime.spec.precision != "fp32" and precision == "fp32":
            precision = runtime.spec.precision
        return EngineFacts(precision, runtime.threads)
    return ask(runtime)


def _openvino(runtime: Any) -> EngineFacts:
    compiled = runtime.request.get_compiled_model()
    try:
        threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
    except (RuntimeError, TypeError, ValueError):  # other devices than the CPU have no such thing
        threads = None
    return EngineFacts(_executed_precision(compiled), threads)


def _executed_precision(compiled: Any) -> str:
    """Return the precision of most convolutions of the executed graph, else the hint."""
    counts: defaultdict[str, int] = defaultdict(int)
    for node in compiled.get_runtime_model().get_ops():
        about = node.get_rt_info()
        if "layerType" in about and "Convolution" in str(about["layerType"].astype(str)):
            counts[str(about["runtimePrecision"].astype(str)).lower()] += 1
    if counts:
        found = max(counts, key=lambda key: counts[key])
    else:
        found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return OPENVINO_TYPES.get(found, found)


def _onnxruntime(runtime: Any) -> EngineFacts:
    options = runtime.session.get_session_options()
    # 0 is the engine's choice: one thread a physical core.
    return EngineFacts(runtime.spec.precision, options.intra_op_num_threads or _physical_cores())


def _ncnn(runtime: Any) -> EngineFacts:
    return EngineFacts(runtime.precision, int(runtime.net.opt.num_threads))


def _torch(runtime: Any) -> EngineFacts:
    import torch

    weight = next(runtime.network.parameters())
    names = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    return EngineFacts(names.get(weight.dtype, str(weight.dtype)), torch.get_num_threads())


def _physical_cores() -> int | None:
    found = require_psutil().cpu_count(logical=False)
    return None if found is None else int(found)


ASK: dict[str, Callable[[Any], EngineFacts]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "ncnn": _ncnn,
    "torch": _torch,
}
