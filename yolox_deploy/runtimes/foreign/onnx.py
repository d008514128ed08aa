"""Reads of an ONNX file what its picture goes through first, without the package ``onnx``.

ONNX Runtime does not show the weights of a model.  The numbers of the fields are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.runtimes.foreign.front import MOST_WEIGHTS, Layer, Stem, find_stem
from yolox_deploy.runtimes.foreign.protobuf import Message, fields, messages, varint

# The numbers of the fields that are read, message by message.
GRAPH = 7
NODES, INITIALIZERS, INPUTS = 1, 5, 11
NODE_INPUTS, NODE_OUTPUTS, NODE_KIND, ATTRIBUTES = 1, 2, 4, 5
ATTRIBUTE_TENSOR = 5
INPUT_NAME = 1
DIMENSIONS, TYPE, FLOATS, TENSOR_NAME, RAW, EXTERNAL = 1, 2, 4, 8, 9, 13
KEY, VALUE = 1, 2
TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2")}


class OnnxFile:
    """The nodes and constants of an ONNX file; raises ``ValueError`` for any other content."""

    def __init__(self, path: Path) -> None:
        graph = _graph(path)
        self.nodes = messages(graph, NODES)
        self.inputs = [_text(m, INPUT_NAME) for m in messages(graph, INPUTS)]
        self.tensors = {_text(m, TENSOR_NAME): m for m in messages(graph, INITIALIZERS)}
        for node in self.nodes:
            if _text(node, NODE_KIND) == "Constant":
                for attribute in messages(node, ATTRIBUTES):
                    for tensor in messages(attribute, ATTRIBUTE_TENSOR):
                        self.tensors[_text(node, NODE_OUTPUTS)] = tensor

    def stem(self) -> Stem | None:
        """Return the first convolution, see :func:`~.front.find_stem`."""
        layers = (
            Layer(_text(node, NODE_KIND), _texts(node, NODE_INPUTS), _texts(node, NODE_OUTPUTS))
            for node in self.nodes
        )
        images = [name for name in self.inputs if name not in self.tensors]
        return find_stem(images[0], layers, self.constant) if images else None

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the values of a small tensor of floats in the file, else ``None``."""
        if name not in self.tensors:
            return None
        shape: list[int] = []
        kind, content = 0, memoryview(b"")
        tensor = self.tensors[name]
        for field in fields(tensor, len(tensor)):
            inside = tensor[field.content : field.end]
            if field.number == DIMENSIONS:
                # One by one, or all in one message.
                shape += _varints(inside) if inside else [field.value]
            elif field.number == TYPE:
                kind = field.value
            elif field.number in (RAW, FLOATS):
                content = inside
        if kind not in TYPES or math.prod(shape) > MOST_WEIGHTS:
            return None
        values = np.frombuffer(content, TYPES[kind])
        return values.reshape(shape) if values.size == math.prod(shape) else None


def external_files(path: Path) -> set[Path]:
    """Return the files beside an ONNX file that hold some of its weights; none for other files."""
    found: set[Path] = set()
    if path.suffix.lower() != ".onnx":
        return found
    with suppress(ValueError, OSError):
        for tensor in messages(_graph(path), INITIALIZERS):
            for entry in messages(tensor, EXTERNAL):
                if _text(entry, KEY) == "location":
                    found.add(path.parent / _text(entry, VALUE))
    return found


def _graph(path: Path) -> Message:
    graphs = messages(memoryview(path.read_bytes()), GRAPH)
    if len(graphs) != 1:
        raise ValueError(f"{path}: {len(graphs)} graphs in an ONNX file")
    return graphs[0]


def _varints(message: Message) -> list[int]:
    found, at = [], 0
    while at < len(message):
        value, at = varint(message, at)
        found.append(value)
    return found


def _texts(message: Message, wanted: int) -> tuple[str, ...]:
    return tuple(str(found, "utf-8", "replace") for found in messages(message, wanted))


def _text(message: Message, wanted: int) -> str:
    return next(iter(_texts(message, wanted)), "")
