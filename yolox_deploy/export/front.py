"""The front of a graph: from the bytes of a picture to what the network takes, as ONNX nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from yolox_deploy.export.onnx import INPUT_NAME
from yolox_deploy.pictures.convention import RAW_INPUT
from yolox_deploy.spec import ModelSpec

PLANES = "pixels/planes"


def with_front(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Return the graph with what ``spec.pixels`` asks for before it.

    It then takes (N, H, W, 3) uint8, blue, green and red.  What is left to do outside is the
    resize, and the grey around the picture.
    """
    if not spec.pixels:
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    for node in graph.node:
        node.input[:] = [PLANES if name == INPUT_NAME else name for name in node.input]
    steps = list(_steps(spec))
    name = INPUT_NAME
    for index, (operator, constant, attributes) in enumerate(steps):
        inputs = [name]
        name = PLANES if index == len(steps) - 1 else f"pixels/{operator.lower()}"
        if constant is not None:
            inputs.append(f"{name}_by")
            graph.initializer.append(numpy_helper.from_array(constant, inputs[-1]))
        node = helper.make_node(operator, inputs, [name], f"pixels/{operator}", **attributes)
        graph.node.insert(index, node)
    shape = ["batch" if side is None else side for side in spec.input_shape]
    graph.input[0].CopyFrom(
        helper.make_tensor_value_info(INPUT_NAME, onnx.TensorProto.UINT8, shape)
    )
    onnx.checker.check_model(made, full_check=True)
    return made


Step = tuple[str, NDArray[np.float32] | NDArray[np.int64] | None, dict[str, Any]]


def _steps(spec: ModelSpec) -> list[Step]:
    """Return operators, their second inputs and their attributes, in order."""
    convention = spec.input
    # First the bytes: a quarter of the memory of floats.
    steps: list[Step] = [("Transpose", None, {"perm": [0, 3, 1, 2]})]
    if convention.colour_order == "RGB":
        steps.append(("Gather", np.array([2, 1, 0]), {"axis": 1}))
    steps.append(("Cast", None, {"to": int(onnx.TensorProto.FLOAT)}))
    if convention.scale == 1 / 255:
        # As the letterbox does it, which agrees with the original to the bit.
        steps.append(("Div", np.array(255, np.float32), {}))
    elif convention.scale != RAW_INPUT.scale:
        steps.append(("Mul", np.array(convention.scale, np.float32), {}))
    if convention.mean != RAW_INPUT.mean:
        steps.append(("Sub", np.array(convention.mean, np.float32)[None, :, None, None], {}))
    if convention.std != RAW_INPUT.std:
        factor = np.reciprocal(np.array(convention.std))
        steps.append(("Mul", factor.astype(np.float32)[None, :, None, None], {}))
    return steps
