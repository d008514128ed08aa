"""ONNX files on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime

from yolox_deploy.errors import ArtifactError, DeviceError, UsageError
from yolox_deploy.runtimes.base import Array, Opened, Runtime
from yolox_deploy.runtimes.gpu import find_gpu
from yolox_deploy.spec import SPEC_KEY

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# fp32 means fp32: TensorFloat-32 would keep 10 of 23 bits.
PROVIDER_OPTIONS: dict[str, Callable[[int], dict[str, str]]] = {
    "cpu": lambda index: {},
    "cuda": lambda index: {"device_id": str(index), "use_tf32": "0"},
}
ERRORS_ONLY = 3


class OnnxRuntime(Runtime):
    """One session; ``device`` is ``cpu`` or ``cuda`` (``cuda:1``); batches as the file allows.

    Raises :class:`~yolox_deploy.errors.DeviceError` where there is no such GPU, or ONNX Runtime
    cannot load what it needs for one.
    """

    name = "onnxruntime"
    devices = tuple(PROVIDERS)

    def _open(self) -> Opened:
        kind, index = self.device_kind_and_index()
        provider = PROVIDERS[kind]
        if provider not in onnxruntime.get_available_providers():
            raise UsageError(
                f"this onnxruntime has no {provider}, only "
                f"{', '.join(onnxruntime.get_available_providers())}: pip install onnxruntime-gpu"
            )
        if kind == "cuda":
            find_gpu(index)
            # Its CUDA libraries may lie in wheels, where the system's loader does not look.
            getattr(onnxruntime, "preload_dlls", lambda: None)()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        if threads := self.threads_within():
            options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(self.path), options, providers=[(provider, PROVIDER_OPTIONS[kind](index))]
        )
        if provider not in self.session.get_providers():
            # It only logs that, and runs on the CPU.
            raise DeviceError(
                f"onnxruntime {onnxruntime.__version__} could not load its {provider} and would "
                "run on the CPU: CUDA's and cuDNN's libraries are missing or of another version: "
                'pip install "onnxruntime-gpu[cuda,cudnn]"'
            )
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)":
            raise ArtifactError(
                f"{self.path} has {len(inputs)} inputs and {len(outputs)} outputs: a YOLOX "
                "detector has one of each, float32"
            )
        self.input_name = inputs[0].name
        return Opened(
            self.session.get_modelmeta().custom_metadata_map.get(SPEC_KEY),
            tuple(d if isinstance(d, int) else None for d in inputs[0].shape),
            tuple(d if isinstance(d, int) else None for d in outputs[0].shape),
        )

    def _infer(self, images: Array) -> Array:
        (result,) = self.session.run(None, {self.input_name: images})
        return np.asarray(result, np.float32)

    def _close(self) -> None:
        self.__dict__.pop("session", None)
