"""OpenVINO IR, or an ONNX file directly, on OpenVINO."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino

from yolox_deploy.errors import ArtifactError, DeviceError
from yolox_deploy.runtimes.base import Array, EngineFacts, Opened, Runtime
from yolox_deploy.runtimes.devices import Device
from yolox_deploy.runtimes.foreign.front import Stem
from yolox_deploy.runtimes.foreign.openvino import stem_of
from yolox_deploy.runtimes.texts import shape_text
from yolox_deploy.spec import LARGEST_INPUT

# Our names of precisions, and OpenVINO's.
ELEMENT_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
PRECISIONS = {**{ours: name for name, ours in ELEMENT_TYPES.items()}, "i8": "int8", "u8": "int8"}


@functools.cache
def core() -> openvino.Core:
    """Return the only ``Core`` of this process; never make another one.

    A ``Core`` gives the thread a signal stack, and restores the former one when it is deleted.  If
    two are deleted in the order in which they were made, the thread is left with a stack that was
    freed, and the next signal, such as Ctrl-C, ends the process with a segmentation fault (seen
    with OpenVINO 2026.4).

    It reads the weights into memory.  By itself it would map their file, and a program that writes
    to the file would change the detections, or end the process with SIGBUS.
    """
    made = openvino.Core()
    made.set_property({"ENABLE_MMAP": False})
    return made


class OpenVINORuntime(Runtime):
    """One inference request; ``device`` is ``cpu``, ``gpu`` (``gpu:1``), ``npu`` or ``auto``.

    ``precision`` is the precision that the engine computes in.  FP32 is asked for explicitly,
    because on some processors OpenVINO would silently choose BF16.
    """

    name = "openvino"
    devices = ("cpu", "gpu", "npu", "auto")
    precisions = tuple(ELEMENT_TYPES)
    why_not_measured = "OpenVINO does not compute in it on this device, and would take fp32 instead"

    @classmethod
    def precisions_on(cls, kind: str) -> tuple[str, ...]:
        """Return fp32 and what OpenVINO names among the capabilities of the device."""
        try:
            able = core().get_property(kind.upper(), "OPTIMIZATION_CAPABILITIES")
        except RuntimeError:  # there is no such device
            return cls.precisions
        return tuple(name for name in cls.precisions if name == "fp32" or name.upper() in able)

    def _open(self) -> Opened:
        device = engine_device(self.placed, core().available_devices)
        if self.path.suffix == ".xml":
            self.demand_weights("an OpenVINO model")
        spec_json = self.stored_spec()
        model = core().read_model(self.path)
        self.demand_one_of_each(model.inputs, model.outputs)
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": ELEMENT_TYPES[self.precision],
        }
        if threads := self.threads_within():
            config["INFERENCE_NUM_THREADS"] = threads
        kind = "uint8" if model.input(0).element_type == openvino.Type.u8 else "float32"
        opened = Opened(spec_json, _shape(model.input(0)), _shape(model.output(0)), kind)
        # OpenVINO allocates the activations when it compiles.
        if math.prod(side or 1 for side in opened.input_shape) > LARGEST_INPUT:
            raise ArtifactError(
                f"{self.path} takes {shape_text(opened.input_shape)}, more than {LARGEST_INPUT:,} "
                "numbers: export it for a smaller batch or input"
            )
        self.request = core().compile_model(model, device, config).create_infer_request()
        return opened

    def _infer(self, images: Array) -> Array:
        results = self.request.infer({0: images}, share_inputs=True, share_outputs=True)
        return np.asarray(results[0], np.float32)

    def facts(self) -> EngineFacts:
        """Return the precision of most convolutions of the executed graph, and the threads."""
        compiled = self.request.get_compiled_model()
        try:
            threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        except (RuntimeError, TypeError, ValueError):  # only the CPU has this property
            threads = None
        return EngineFacts(_executed_precision(compiled), threads)

    def read_stem(self) -> Stem | None:
        """Return the first convolution of the model, which is read again."""
        return stem_of(core().read_model(self.path))

    def _close(self) -> None:
        self.__dict__.pop("request", None)


def engine_device(device: Device, available: Sequence[str]) -> str:
    """Return OpenVINO's name for a device, "GPU.1" for gpu:1.

    ``available`` are the devices that OpenVINO sees: one GPU is "GPU", several are "GPU.0", ....

    Raises :class:`DeviceError` for a device that is not among them.
    """
    kind = device.kind.upper()
    name = kind if device.number is None else f"{kind}.{device.number}"
    # OpenVINO understands the kind alone, and the number 0, of a single device as well.
    found = {f for f in available if f.split(".")[0] == kind}
    if name not in ({*found, kind, f"{kind}.0"} if found else {"AUTO"}):
        raise DeviceError(
            f"OpenVINO sees no device {device} on this machine, only "
            + ", ".join(found.lower().replace(".", ":") for found in available)
        )
    return name


def _executed_precision(compiled: Any) -> str:
    """Return the precision of most convolutions, or the precision asked for if there are none."""
    rows = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    counts = Counter(
        str(row["runtimePrecision"].astype(str)).lower()
        for row in rows
        if "layerType" in row and "Convolution" in str(row["layerType"].astype(str))
    )
    if counts:
        ((found, _),) = counts.most_common(1)
    else:
        found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return PRECISIONS.get(found, found)


def _shape(port: Any) -> tuple[int | None, ...]:
    return tuple(d.get_length() if d.is_static else None for d in port.get_partial_shape())
