"""What a model costs by its graph: operations of its convolutions, and bytes they move.

Convolutions are nearly all the work of a YOLOX network.  As in the published GFLOPs, a
multiplication and an addition are two operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from yolox_deploy.packages import is_installed, why_broken
from yolox_deploy.records import Amount, Count, Record
from yolox_deploy.runtimes import CHECKPOINT_SUFFIXES
from yolox_deploy.spec import ModelSpec

ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}


class Layer(NamedTuple):
    """One convolution: its weight (O, I / groups, h, w), input and output (N, C, H, W)."""

    weight: tuple[int, ...]
    given: tuple[int, ...]
    made: tuple[int, ...]


@dataclass(frozen=True)
class Cost(Record):
    """A model at one batch: ``gflops`` (10^9 operations), and the elements of its layers.

    ``weights`` is the number of weights, ``activations`` the number of elements that all layers
    read and write.  ``source`` is the suffix of the file that was read.
    """

    gflops: Amount
    weights: Count
    activations: Count
    source: str

    def gbytes(self, precision: str) -> float:
        """Return the bytes (10^9) that layers move if each reads and writes memory once."""
        return (self.weights + self.activations) * ELEMENT_BYTES.get(precision, 4) / 1e9


def cost_of(artifact: Path, checkpoint: Path, spec: ModelSpec, batch: int) -> Cost | None:
    """Return the cost from the graph of ``artifact``, else from the network of ``checkpoint``.

    ``None`` if neither can be read with the packages that are installed.
    """
    for path in (artifact, checkpoint):
        suffix = path.suffix.lower()
        package, layers = READERS.get(suffix, ("", None))
        if layers and is_installed(package) and not why_broken(package):
            return total_cost(list(layers(path, spec, batch)), suffix)
    return None


def total_cost(layers: list[Layer], source: str) -> Cost:
    """Return the sum over all layers; ``source`` names the graph."""
    operations = sum(2 * math.prod(layer.made) * math.prod(layer.weight[1:]) for layer in layers)
    return Cost(
        operations / 1e9,
        sum(math.prod(layer.weight) for layer in layers),
        sum(math.prod(layer.given) + math.prod(layer.made) for layer in layers),
        source,
    )


def _onnx_layers(path: Path, spec: ModelSpec, batch: int) -> Iterator[Layer]:
    import onnx

    model = onnx.load(str(path))
    fixed = (batch, *spec.input_shape[1:])
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, value in zip(dims, fixed, strict=True):
        dim.dim_value = value
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes.update({value.name: tuple(value.dims) for value in graph.initializer})
    for node in graph.node:
        if node.op_type == "Conv":
            yield Layer(shapes[node.input[1]], shapes[node.input[0]], shapes[node.output[0]])


def _openvino_layers(path: Path, spec: ModelSpec, batch: int) -> Iterator[Layer]:
    from yolox_deploy.runtimes.openvino import core

    model = core().read_model(path)
    model.reshape([batch, *spec.input_shape[1:]])
    for node in model.get_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            weight = tuple(node.input(1).get_shape())
            if node.get_type_name() == "GroupConvolution":  # (G, O / G, I / G, h, w)
                weight = (weight[0] * weight[1], *weight[2:])
            yield Layer(weight, tuple(node.input(0).get_shape()), tuple(node.output(0).get_shape()))


def _checkpoint_layers(path: Path, spec: ModelSpec, batch: int) -> Iterator[Layer]:
    from yolox_deploy.models.checkpoint import load_checkpoint

    network = load_checkpoint(path, spec.architecture).network.to("meta")
    yield from network_layers(network, spec.height, spec.width, batch)


def network_layers(network: Any, height: int, width: int, batch: int = 1) -> list[Layer]:
    """Return the convolutions of a PyTorch network on the meta device, which computes nothing."""
    import torch

    layers: list[Layer] = []

    def note(module: Any, given: Any, made: Any) -> None:
        layers.append(Layer(tuple(module.weight.shape), tuple(given[0].shape), tuple(made.shape)))

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(note)
    with torch.inference_mode():
        network(torch.empty(batch, 3, height, width, device="meta"))
    return layers


Reader = Callable[[Path, ModelSpec, int], Iterator[Layer]]
READERS: dict[str, tuple[str, Reader]] = {
    ".onnx": ("onnx", _onnx_layers),
    ".xml": ("openvino", _openvino_layers),
    **dict.fromkeys(CHECKPOINT_SUFFIXES, ("torch", _checkpoint_layers)),
}
