"""The INT8 graph: an ONNX graph with rounding (Q/DQ) in the units that are quantized.

One mechanism serves every engine, since all of them read ``QuantizeLinear`` and
``DequantizeLinear``.  The graph stays as it is but for these nodes, so that Sigmoid and Mul are
seen by the engine as one SiLU.  What joins boxes and scores, and the decoding behind it, is never
rounded: boxes and scores share no scale.

A *unit* is what can be quantized or left in floating point, named ``block`` or ``block/part``: the
stem, each stage of the backbone and of the pyramid, and of the head, for each stride, the branches
and the predictions.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from yolox_deploy.errors import UsageError
from yolox_deploy.export.quantization.layout import Layout

# Lowest and highest value of each tensor.
Ranges = Mapping[str, tuple[float, float]]

PREDICTIONS = "predictions"
# What engines compute on bytes beside convolutions.
ON_BYTES = ("Sigmoid", "Mul", "LeakyRelu", "Concat", "Add", "MaxPool", "Resize")
# What returns nothing but values that it was given.
SAME_VALUES = ("MaxPool", "Resize")
WEIGHT_NAMES = (
    (re.compile(r"backbone\.backbone\.(\w+)\.(\d+)\."), "{0}/{0}.{1}"),
    (re.compile(r"backbone\.backbone\.(\w+)\."), "{0}"),
    (re.compile(r"backbone\.(\w+)\."), "neck/{0}"),
    (re.compile(r"head\.(\w+)_preds\.(\d+)\."), PREDICTIONS + "/{0} of stride {stride}"),
    (re.compile(r"head\.stems\.(\d+)\."), "head of stride {stride}/stem"),
    (re.compile(r"head\.(\w+?)_convs\.(\d+)\."), "head of stride {stride}/{0}"),
)


def unit_of_weight(name: str, strides: Sequence[int]) -> str:
    """Return the unit of a convolution by its weight's name, ``network.head.stems.0.conv.weight``.

    Raises :class:`UsageError` for a name that no part of a YOLOX network has.
    """
    for pattern, words in WEIGHT_NAMES:
        if found := pattern.search(name):
            last = found.groups()[-1]
            stride = strides[int(last)] if last.isdigit() and int(last) < len(strides) else last
            return words.format(*found.groups(), stride=stride)
    raise UsageError(f"INT8: {name} belongs to no known part of a YOLOX network: leave --int8 out")


def block_of(unit: str) -> str:
    """Return the block that a unit is a part of."""
    return unit.partition("/")[0]


@dataclass(frozen=True)
class Quantizable:
    """A float32 graph with raw output, and which of its nodes belong to which unit.

    ``units`` has one entry per node, "" for nodes before the first convolution.  Behind the
    predictions nothing is quantized.
    """

    model: onnx.ModelProto
    units: tuple[str, ...]
    layout: Layout

    @classmethod
    def of(cls, model: onnx.ModelProto, strides: Sequence[int], layout: Layout) -> Quantizable:
        """Find the units of a graph; raises :class:`UsageError` for a graph that is no YOLOX."""
        made_by: dict[str, str] = {}
        units = []
        for node in model.graph.node:
            unit = next((made_by[name] for name in node.input if made_by.get(name)), "")
            if node.op_type == "Conv":
                unit = unit_of_weight(node.input[1], strides)
            made_by.update(dict.fromkeys(node.output, unit))
            units.append(unit)
        return cls(model, tuple(units), layout)

    def names(self) -> list[str]:
        """Return the units in the order of the graph."""
        nodes = zip(self.model.graph.node, self.units, strict=True)
        return list(dict.fromkeys(unit for node, unit in nodes if node.op_type == "Conv"))

    def rounded(self, floating: Collection[str]) -> set[str]:
        """Return the tensors that are rounded if the units ``floating`` are not quantized."""
        found: set[str] = set()
        for node, unit in zip(self.model.graph.node, self.units, strict=True):
            if not unit or unit in floating:
                continue
            if node.op_type == "Conv":
                found.add(node.input[0])
            if not self.layout.dense or block_of(unit) == PREDICTIONS:
                continue
            if node.op_type == "Conv" or node.op_type in ON_BYTES:
                found.update(node.output)
            if node.op_type in SAME_VALUES:
                found.add(node.input[0])
        return found

    def quantized(self, ranges: Ranges, floating: Collection[str]) -> onnx.ModelProto:
        """Return the INT8 graph in which the units ``floating`` compute in float32.

        Raises :class:`UsageError` if ``ranges`` is of another graph.
        """
        rounded = self.rounded(floating)
        if missing := sorted(rounded - set(ranges)):
            raise UsageError(
                f"INT8: the range of {len(missing)} tensors is not known, {missing[0]} first: the "
                "calibration is of another graph (--opset, --no-simplify): search again"
            )
        shared = self._with_shared_ranges(ranges, rounded)
        writer = _Writer(self.model, self.layout)
        for value in self.model.graph.input:
            if value.name in rounded:
                writer.round(value.name, *shared[value.name])
        for node, unit in zip(self.model.graph.node, self.units, strict=True):
            inside = bool(unit) and unit not in floating
            # The predictions' maps are read in floating point by what joins them.
            writer.add(node, quantize=inside and (node.op_type == "Conv" or self.layout.dense))
            for name in node.output:
                if name in rounded:
                    writer.round(name, *shared[name])
        return writer.finish()

    def _with_shared_ranges(
        self, ranges: Ranges, rounded: Collection[str]
    ) -> dict[str, tuple[float, float]]:
        """Return the ranges with one for both sides of what only passes values on."""
        shared = {name: ranges[name] for name in rounded}
        for node in self.model.graph.node:
            if node.op_type in SAME_VALUES and {node.input[0], node.output[0]} <= set(shared):
                shared[node.output[0]] = shared[node.input[0]]
        return shared


class _Writer:
    """Writes a graph node by node, with rounding where it is told."""

    def __init__(self, model: onnx.ModelProto, layout: Layout) -> None:
        self.symmetric = layout.symmetric
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        # Tensors that were rounded, and what their rounded form is called.
        self.rounded: dict[str, str] = {}

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def round(self, name: str, low: float, high: float) -> None:
        """Add the rounding of an activation."""
        low, high = min(low, 0.0), max(high, 0.0)
        if self.symmetric:
            step, zero = max(-low, high) / 127, np.array(0, np.int8)
        else:
            step = (high - low) / 255
            zero = np.array(np.clip(np.rint(-low / step), 0, 255) if step else 0, np.uint8)
        scale = self.constant(f"{name}/scale", np.array(step or 1.0, np.float32))
        point = self.constant(f"{name}/zero", zero)
        self.rounded[name] = f"{name}/rounded"
        self._rounding("QuantizeLinear", [name, scale, point], f"{name}/bytes")
        self._rounding("DequantizeLinear", [f"{name}/bytes", scale, point], self.rounded[name])

    def _rounding(self, kind: str, inputs: list[str], output: str, axis: int = 1) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, axis=axis))

    def add(self, node: onnx.NodeProto, *, quantize: bool) -> None:
        """Add a node; with ``quantize`` it reads what was rounded, and its weights are bytes."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if quantize:
            copy.input[:] = [self.rounded.get(name, name) for name in node.input]
            if node.op_type == "Conv":
                copy.input[1] = self._weight(node.input[1])
        self.nodes.append(copy)

    def _weight(self, name: str) -> str:
        """Add a convolution's weights (O, I, h, w) as bytes, and return their rounded form."""
        weight = numpy_helper.to_array(self.constants[name])
        largest = np.abs(weight).reshape(len(weight), -1).max(1)
        # A channel of zeros has no scale of its own.
        steps = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        levels = np.rint(weight / steps[:, None, None, None])
        stored = self.constant(f"{name}/bytes", levels.astype(np.int8))
        scale = self.constant(f"{name}/scale", steps)
        zero = self.constant(f"{name}/zero", np.zeros(len(weight), np.int8))
        self._rounding("DequantizeLinear", [stored, scale, zero], f"{name}/rounded", axis=0)
        return f"{name}/rounded"

    def finish(self) -> onnx.ModelProto:
        """Return the graph, checked, with the constants that are used."""
        graph = self.model.graph
        used = {name for node in self.nodes for name in node.input}
        constants = [tensor for name, tensor in self.constants.items() if name in used]
        kept = onnx.GraphProto()
        kept.node.extend(self.nodes)
        kept.initializer.extend(constants)
        del graph.node[:], graph.initializer[:]
        graph.node.extend(kept.node)
        graph.initializer.extend(kept.initializer)
        # Of tensors that may be gone.
        del graph.value_info[:]
        onnx.checker.check_model(self.model, full_check=True)
        return self.model
