"""ONNX: the hub, from which all other formats are converted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from yolox_deploy.export.quantization.layout import ONNX_RUNTIME
from yolox_deploy.export.targets.base import Target
from yolox_deploy.files import write_atomically
from yolox_deploy.runtimes.content import hashes_of, put_into_onnx
from yolox_deploy.spec import ModelSpec

if TYPE_CHECKING:
    import onnx


class OnnxTarget(Target):
    """One ``.onnx`` file, the spec in its metadata."""

    name = "onnx"
    description = "ONNX, for ONNX Runtime and OpenVINO"
    suffix = ".onnx"
    backend = "onnxruntime"
    package = "onnx"
    pixels = True
    extra = "export"
    fp16_in_graph = True
    int8 = ONNX_RUNTIME

    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
        import onnx

        onnx.save_model(graph, main)

    def embed(self, main: Path, spec: ModelSpec) -> None:
        write_atomically(main, put_into_onnx(main, spec.to_json(hashes_of(main))))
