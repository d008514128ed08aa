"""FP16 inside the ONNX graph, float32 at its input and output.

Strongly typed engines (TensorRT 10 and newer) take their precision from the graph alone, and FP16
inputs of 0..255 pixels are a known source of NaN; so the graph is converted and its ends are not.
"""

from __future__ import annotations

import onnx

from yolox_deploy.errors import MissingPackageError


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a raw-output graph that computes in FP16 behind float32 input and output.

    Raises :class:`MissingPackageError` where ONNX Runtime, whose converter this is, is missing.
    """
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel
    except ImportError as error:
        raise MissingPackageError(
            "FP16 ONNX is written by ONNX Runtime's converter: "
            'pip install "yolox-deploy[onnxruntime]"'
        ) from error
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # Nothing is blocked: every operator of the raw graph has an FP16 form.
    converted = convert_float_to_float16(copy, keep_io_types=True, op_block_list=[])
    # The converter appends its casts at the end of the node list.
    ordered = OnnxModel(converted)
    ordered.topological_sort()
    result: onnx.ModelProto = ordered.model
    onnx.checker.check_model(result, full_check=True)
    return result
