"""The first convolution of an NCNN model.

The format of the weights: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from yolox_deploy.runtimes.foreign.front import MOST_WEIGHTS, MOVES, Floats, Layer, Stem, find_stem
from yolox_deploy.runtimes.ncnn_graph import Graph

# The names of ncnn's layers that ONNX calls otherwise.
KINDS = {
    "BatchNorm": "BatchNormalization",
    "Convolution": "Conv",
    "Permute": "Transpose",
    "Reorg": "SpaceToDepth",
}
# How the weights of a layer are stored: the number before them says it.
STORED: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 0x01306B47: np.dtype("<f2")}
# The parameters of a multiplication by a number, and those of a convolution.
MULTIPLY = {0: "2", 1: "1"}
FACTOR = 2
OUTPUTS, WIDTH, BIAS, WEIGHTS, HEIGHT = 0, 1, 5, 6, 11


def stem_of(graph: Graph, weights: Path) -> Stem | None:
    """Return the first convolution of a model, see :func:`~.front.find_stem`.

    ``graph`` has only layers of ncnn; ``weights`` is the ``.bin``.
    """
    constants: dict[str, Floats] = {}
    layers, first = [], True
    for layer in graph.layers:
        kind, inputs = KINDS.get(layer.kind, layer.kind), tuple(layer.inputs)
        if kind == "BinaryOp" and MULTIPLY.items() <= layer.params.items():
            kind, inputs = "Mul", (*inputs, layer.name)
            constants[layer.name] = np.array([float(layer.params[FACTOR])], np.float32)
        elif kind == "Conv" and first:
            values = enumerate(_weights(weights, layer.params))
            read = {f"{layer.name}.{number}": array for number, array in values}
            constants |= read
            inputs = (*inputs, *read)
        # The weights of any layer before would come first in the .bin.
        first &= kind in {*MOVES, "Input", "Mul"}
        layers.append(Layer(kind, inputs, tuple(layer.outputs)))
    images = [layer.outputs[0] for layer in layers if layer.kind == "Input"]
    return find_stem(images[0], layers, constants.get) if images else None


def _weights(path: Path, params: Mapping[int, str]) -> Iterator[Floats]:
    """Yield weight and bias of the convolution whose weights are the first of the file."""
    count, outputs, width = (int(params[key]) for key in (WEIGHTS, OUTPUTS, WIDTH))
    if not 0 < count <= MOST_WEIGHTS:
        return
    with path.open("rb") as file:
        kind = STORED.get(int.from_bytes(file.read(4), "little"))
        if kind is None:
            return
        values = np.frombuffer(file.read(count * kind.itemsize), kind)
        yield values.reshape(outputs, -1, int(params.get(HEIGHT, width)), width)
        # What comes next begins at a multiple of four bytes.
        file.seek(-file.tell() % 4, 1)
        if params.get(BIAS) == "1":
            yield np.frombuffer(file.read(outputs * 4), "<f4")
