"""FP16 inside the ONNX graph, float32 at its input and output.

Strongly typed engines (TensorRT 10 and newer) take their precision from the graph alone, and FP16
inputs of 0..255 pixels are a known source of NaN.  So the graph is converted, but not its ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from yolox_deploy.packages import install_line, require

Weights = NDArray[np.floating]

# Below the first magnitude FP16 has only subnormal numbers, below the second none.
SMALLEST_NORMAL = 2.0**-14
SMALLEST_SUBNORMAL = 2.0**-24


class Underflow(NamedTuple):
    """How many weights of the convolutions lie below FP16's normal range.

    ``small`` of ``weights`` lie below it, ``lost`` of them below its smallest number too (the
    converter raises those to 6e-8); ``layers`` of ``all_layers`` convolutions have small weights.
    """

    weights: int
    small: int
    lost: int
    layers: int
    all_layers: int

    def __str__(self) -> str:
        lost = f", {self.lost:,} of them below its smallest number" if self.lost else ""
        return (
            f"{self.small:,} of {self.weights:,} weights, in {self.layers} of {self.all_layers} "
            f"convolutions, lie below FP16's normal range (2^-14){lost}"
        )


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a raw-output graph that computes in FP16 behind float32 input and output.

    Raises :class:`MissingPackageError` without ONNX Runtime, which brings the converter.
    """
    require(
        "onnxruntime.transformers.float16",
        "FP16 ONNX is written by ONNX Runtime's converter",
        install_line("onnxruntime"),
    )
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

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


def underflow(model: onnx.ModelProto) -> Underflow:
    """Count the convolutions' weights that lie below FP16's normal range; ``model`` is FP32."""
    layers = [np.abs(array) for _, array in _convolution_weights(model)]
    below = [layer[(layer > 0) & (layer < SMALLEST_NORMAL)] for layer in layers]
    return Underflow(
        weights=sum(layer.size for layer in layers),
        small=sum(small.size for small in below),
        lost=sum(int((small < SMALLEST_SUBNORMAL).sum()) for small in below),
        layers=sum(small.size > 0 for small in below),
        all_layers=len(layers),
    )


def flushed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of ``model`` whose convolutions' small weights are zero.

    An engine that flushes FP16's subnormal numbers to zero computes this.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor, array in _convolution_weights(copy):
        kept = np.where(np.abs(array) < SMALLEST_NORMAL, array.dtype.type(0), array)
        tensor.CopyFrom(numpy_helper.from_array(kept, tensor.name))
    return copy


def _convolution_weights(model: onnx.ModelProto) -> Iterator[tuple[onnx.TensorProto, Weights]]:
    names = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    for tensor in model.graph.initializer:
        if tensor.name in names:
            yield tensor, numpy_helper.to_array(tensor)
