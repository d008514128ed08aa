"""OpenVINO IR, or an ONNX file directly, on OpenVINO."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import openvino

from yolox_deploy.errors import ArtifactError, UsageError
from yolox_deploy.runtimes.base import Array, Opened, Runtime
from yolox_deploy.spec import SPEC_KEY

ELEMENT_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


@functools.cache
def core() -> openvino.Core:
    """Return the one ``Core`` of this process.

    A ``Core`` gives the thread another stack for signals and takes it back when it goes.  Two that
    go in the order in which they came leave a freed one behind, and the next signal, a Ctrl-C,
    ends the process with a segmentation fault (seen with OpenVINO 2026.4).
    """
    return openvino.Core()


class OpenVINORuntime(Runtime):
    """One inference request; ``device`` is ``cpu``, ``gpu``, ``npu`` or ``auto``.

    ``precision`` is what the engine computes in; fp32 is asked for by name, because on some
    processors OpenVINO would silently choose bf16.
    """

    name = "openvino"
    devices = ("cpu", "gpu", "npu", "auto")
    precisions = tuple(ELEMENT_TYPES)

    def _open(self) -> Opened:
        device = self.device.upper()
        kinds = {name.split(".")[0] for name in core().available_devices} | {"AUTO"}
        if device.split(".")[0] not in kinds:
            raise UsageError(
                f"OpenVINO sees no {device} here, only {', '.join(core().available_devices)}"
            )
        if self.path.suffix == ".xml" and not self.path.with_suffix(".bin").is_file():
            raise ArtifactError(
                f"{self.path.with_suffix('.bin')}: no such file; an OpenVINO model is a pair of "
                ".xml and .bin with the same name"
            )
        model = core().read_model(self.path)
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise ArtifactError(
                f"{self.path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs: a "
                "YOLOX detector has one of each"
            )
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": ELEMENT_TYPES[self.precision],
        }
        if threads := self.threads_within():
            config["INFERENCE_NUM_THREADS"] = threads
        opened = Opened(_spec_json(model), _shape(model.input(0)), _shape(model.output(0)))
        self.request = core().compile_model(model, device, config).create_infer_request()
        return opened

    def _infer(self, images: Array) -> Array:
        results = self.request.infer({0: images}, share_inputs=True, share_outputs=True)
        return np.asarray(results[0], np.float32)

    def _close(self) -> None:
        self.__dict__.pop("request", None)


def _spec_json(model: openvino.Model) -> str | None:
    # IR files of ours hold the key at the top; read from ONNX it lies under "framework".
    for path in ([SPEC_KEY], ["framework", SPEC_KEY]):
        if model.has_rt_info(path):
            return str(model.get_rt_info(path).value)
    return None


def _shape(port: Any) -> tuple[int | None, ...]:
    return tuple(d.get_length() if d.is_static else None for d in port.get_partial_shape())
