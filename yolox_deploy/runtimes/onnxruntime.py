"""ONNX files on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
import onnxruntime

from yolox_deploy.errors import ArtifactError, DeviceError, MissingPackageError
from yolox_deploy.processors import physical_cores
from yolox_deploy.runtimes.base import Array, EngineFacts, Opened, Runtime
from yolox_deploy.runtimes.foreign.front import Stem
from yolox_deploy.runtimes.foreign.onnx import OnnxFile
from yolox_deploy.runtimes.gpu import find_gpu

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# Without TensorFloat-32, which would keep 10 of the 23 bits of a float32 mantissa.
PROVIDER_OPTIONS: dict[str, Callable[[int], dict[str, str]]] = {
    "cpu": lambda index: {},
    "cuda": lambda index: {"device_id": str(index), "use_tf32": "0"},
}
# ONNX Runtime's names of types, and NumPy's.
INPUT_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
ERRORS_ONLY = 3


class OnnxRuntime(Runtime):
    """One session of ONNX Runtime; ``device`` is ``cpu`` or ``cuda`` (``cuda:1``).

    With the setting ``spinning`` "no" threads sleep while they wait for work.  That is slower
    alone, and faster beside other busy programs.

    Raises :class:`~yolox_deploy.errors.DeviceError` if there is no such GPU, or if ONNX Runtime
    cannot load the libraries that it needs for a GPU, and
    :class:`~yolox_deploy.errors.MissingPackageError` if it was built without GPUs.
    """

    name = "onnxruntime"
    devices = tuple(PROVIDERS)
    settings: ClassVar[Mapping[str, tuple[str, ...]]] = {"spinning": ("yes", "no")}

    def _open(self) -> Opened:
        spec_json = self.stored_spec()
        kind, index = self.placed.kind, self.placed.index
        provider = PROVIDERS[kind]
        if kind == "cuda":
            find_gpu(index)
        if provider not in onnxruntime.get_available_providers():
            raise MissingPackageError(
                f"the installed onnxruntime cannot run on device {kind}: it has no {provider}, "
                f"only {', '.join(onnxruntime.get_available_providers())}: "
                "pip uninstall -y onnxruntime; pip install onnxruntime-gpu"
            )
        if kind == "cuda":
            # CUDA's libraries may be in Python packages, where the system's loader does not look.
            getattr(onnxruntime, "preload_dlls", lambda: None)()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        if self.chosen_settings.get("spinning") == "no":
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads := self.threads_within():
            options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(self.path), options, providers=[(provider, PROVIDER_OPTIONS[kind](index))]
        )
        if provider not in self.session.get_providers():
            # ONNX Runtime only logs this, and runs on the CPU.
            raise DeviceError(
                f"onnxruntime {onnxruntime.__version__} could not load its {provider} and would "
                "run on the CPU: the libraries of CUDA and cuDNN are missing or of another "
                'version: pip install "onnxruntime-gpu[cuda,cudnn]"'
            )
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.demand_one_of_each(inputs, outputs)
        if inputs[0].type not in INPUT_TYPES:
            raise ArtifactError(f"{self.path} takes {inputs[0].type}, expected float32")
        self.input_name = inputs[0].name
        return Opened(
            spec_json,
            tuple(d if isinstance(d, int) else None for d in inputs[0].shape),
            tuple(d if isinstance(d, int) else None for d in outputs[0].shape),
            INPUT_TYPES[inputs[0].type],
        )

    def _infer(self, images: Array) -> Array:
        (result,) = self.session.run(None, {self.input_name: images})
        return np.asarray(result, np.float32)

    def facts(self) -> EngineFacts:
        """Return the precision of the file, which ONNX Runtime computes in, and its threads."""
        threads = self.session.get_session_options().intra_op_num_threads
        # 0 is the engine's own choice: one thread for each physical core.
        return EngineFacts(self.spec.precision, threads or physical_cores())

    def read_stem(self) -> Stem | None:
        return OnnxFile(self.path).stem()

    def _close(self) -> None:
        self.__dict__.pop("session", None)
