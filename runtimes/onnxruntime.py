"""ONNX files on ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime

from yolox_deploy.errors import ArtifactError, UsageError
from yolox_deploy.runtimes.base import Array, Opened, Runtime
from yolox_deploy.spec import SPEC_KEY

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
ERRORS_ONLY = 3


class OnnxRuntime(Runtime):
    """One session; ``device`` is ``cpu`` or ``cuda``; batches as the file allows."""

    name = "onnxruntime"
    devices = tuple(PROVIDERS)

    def _open(self) -> Opened:
        kind, _, index = self.device.partition(":")
        provider = PROVIDERS[kind]
        if provider not in onnxruntime.get_available_providers():
            raise UsageError(
                f"this onnxruntime has no {provider}, only "
                f"{', '.join(onnxruntime.get_available_providers())}: pip install onnxruntime-gpu"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        if self.threads:
            options.intra_op_num_threads = self.threads
        self.session = onnxruntime.InferenceSession(
            str(self.path), options, providers=[(provider, {"device_id": index} if index else {})]
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
