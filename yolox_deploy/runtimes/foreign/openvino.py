"""The first convolution of a model that OpenVINO has read."""

from __future__ import annotations

import math
from typing import Any

from yolox_deploy.runtimes.foreign.front import MOST_WEIGHTS, Floats, Layer, Stem, find_stem

# The names of OpenVINO's layers that ONNX calls otherwise.
KINDS = {
    "Convert": "Cast",
    "Convolution": "Conv",
    "Multiply": "Mul",
    "StridedSlice": "Slice",
    "VariadicSplit": "Split",
}


def stem_of(model: Any) -> Stem | None:
    """Return the first convolution of an ``openvino.Model``, see :func:`find_stem`."""
    nodes = {node.get_name(): node for node in model.get_ordered_ops()}

    def constant(name: str) -> Floats | None:
        node = nodes[name]
        # Half precision is converted, and a bias takes its shape, when the model is compiled.
        while node.get_type_name() in ("Convert", "Reshape"):
            node = node.input_value(0).get_node()
        known = node.get_type_name() == "Constant"
        if not known or math.prod(node.get_output_shape(0)) > MOST_WEIGHTS:
            return None
        # A copy, because the data end with the model.
        values: Floats = node.get_data(copy=True)
        return values if values.dtype.kind == "f" else None

    layers = (
        Layer(
            KINDS.get(node.get_type_name(), node.get_type_name()),
            tuple(i.get_source_output().get_node().get_name() for i in node.inputs()),
            (name,),
        )
        for name, node in nodes.items()
    )
    return find_stem(model.input(0).get_node().get_name(), layers, constant)
