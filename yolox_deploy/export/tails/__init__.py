"""The table of tails, the end of a graph by task: decoding, and the suppression behind it.

A tail's nodes are ONNX graphs of their own, appended to a graph with raw output, so that they look
the same whatever exporter or precision came before.  A tail is one file beside this one, and one
row here.  Another package adds a row through the entry points of the group ``yolox_deploy.tails``.
"""

from __future__ import annotations

import onnx
from onnx import compose, helper

from yolox_deploy.export.onnx import OUTPUT_NAME, output_shape, set_shape
from yolox_deploy.export.tails.base import BoxTail
from yolox_deploy.registry import Registry
from yolox_deploy.spec import ModelSpec

__all__ = ["TAILS", "BoxTail", "with_tail"]

TAILS: Registry[BoxTail] = Registry("task", "yolox_deploy.tails", [BoxTail("detect")])


def with_tail(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Return the graph with what ``spec.output`` asks for appended: decoding, and then NMS."""
    if spec.output == "raw":
        return model
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    tail = TAILS.choose(spec.task)
    model = _appended(model, tail.decode(spec), opset)
    if spec.output == "detections":
        model = _appended(model, tail.suppress(spec), opset)
    set_shape(model.graph.output[0], output_shape(spec))
    onnx.checker.check_model(model, full_check=True)
    return model


def _appended(model: onnx.ModelProto, tail: onnx.GraphProto, opset: int) -> onnx.ModelProto:
    """Return ``model`` followed by ``tail``; its output is the only one, under the old name."""
    for node in tail.node:
        # Engines name their layers after the nodes; unnamed ones cannot be told apart.
        node.name = node.output[0]
    ending = helper.make_model(tail, opset_imports=[helper.make_opsetid("", opset)])
    ending.ir_version = model.ir_version
    ending = compose.add_prefix(ending, f"{tail.name}/")
    joint = ending.graph.input[0].name
    first = onnx.ModelProto()
    first.CopyFrom(model)
    _rename(first.graph, OUTPUT_NAME, joint)
    joined = compose.merge_models(first, ending, io_map=[(joint, joint)])
    joined.producer_name, joined.producer_version = model.producer_name, model.producer_version
    # Merging adds an entry each time; the standard has one a domain.
    del joined.opset_import[:]
    joined.opset_import.append(helper.make_opsetid("", opset))
    _rename(joined.graph, joined.graph.output[0].name, OUTPUT_NAME)
    return joined


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in graph.output:
        value.name = new if value.name == old else value.name
