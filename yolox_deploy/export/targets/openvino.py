"""OpenVINO's intermediate representation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolox_deploy.errors import ConversionError
from yolox_deploy.export.quantization.layout import OPENVINO
from yolox_deploy.export.targets.base import Target
from yolox_deploy.files import check_space, write_atomically
from yolox_deploy.runtimes.content import hashes_of, put_into_xml
from yolox_deploy.runtimes.texts import one_line
from yolox_deploy.spec import SPEC_KEY, ModelSpec

if TYPE_CHECKING:
    import onnx


class OpenVINOTarget(Target):
    """``.xml`` with the spec in it, and ``.bin`` with the weights."""

    name = "openvino"
    description = "OpenVINO IR, for processors and GPUs of Intel"
    suffix = ".xml"
    backend = "openvino"
    package = "openvino"
    pixels = True
    extra = "openvino"
    int8 = OPENVINO

    def files(self, main: Path) -> tuple[Path, ...]:
        return main.with_suffix(".bin"), main

    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
        import openvino

        from yolox_deploy.runtimes.openvino import core

        try:
            # Not convert_model: its optimisations multiply the stem's scale back into the weights
            # before they are rounded to FP16.  The plugin fuses the two when it compiles.
            model = core().read_model(graph.SerializeToString())
            _name_anew(model)
            # The place that ``embed`` fills.
            model.set_rt_info("", [SPEC_KEY])
            openvino.save_model(model, main, compress_to_fp16=spec.precision == "fp16")
        except Exception as error:
            check_space(main.parent, 2 * graph.ByteSize())
            raise ConversionError(f"OpenVINO could not convert: {one_line(error)}") from error

    def embed(self, main: Path, spec: ModelSpec) -> None:
        write_atomically(main, put_into_xml(main, spec.to_json(hashes_of(main))))


def _name_anew(model: Any) -> None:
    """Give nodes that OpenVINO named new numbers, so that the same graph gives the same file.

    It names them after their type and a counter of everything that the process has made.
    """
    for number, node in enumerate(model.get_ordered_ops()):
        kind, _, counted = node.get_friendly_name().rpartition("_")
        if kind == node.get_type_name() and counted.isdecimal():
            node.set_friendly_name(f"{kind}_{number}")
