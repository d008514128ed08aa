"""OpenVINO's intermediate representation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from yolox_deploy.errors import ConversionError
from yolox_deploy.export.targets.base import Target
from yolox_deploy.runtimes.base import one_line
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
    extra = "openvino"

    def files(self, main: Path) -> tuple[Path, ...]:
        return main.with_suffix(".bin"), main

    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
        import openvino

        from yolox_deploy.runtimes.openvino import core

        try:
            # Not convert_model: its optimisations multiply the stem's scale back into the weights
            # before they are rounded to FP16.  The plugin fuses the two when it compiles.
            model = core().read_model(graph.SerializeToString())
            openvino.save_model(model, main, compress_to_fp16=spec.precision == "fp16")
        except Exception as error:
            raise ConversionError(f"OpenVINO could not convert: {one_line(error)}") from error

    def embed(self, main: Path, spec: ModelSpec) -> None:
        import openvino

        from yolox_deploy.runtimes.openvino import core

        model = core().read_model(main)
        model.set_rt_info(spec.to_json(), [SPEC_KEY])
        # Written beside and renamed: the weights are still mapped from the file they replace.
        draft = main.with_name(f"{main.stem}.draft.xml")
        openvino.save_model(model, draft, compress_to_fp16=False)
        del model
        draft.with_suffix(".bin").replace(main.with_suffix(".bin"))
        draft.replace(main)
