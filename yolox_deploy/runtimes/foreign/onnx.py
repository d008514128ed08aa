"""Reads of an ONNX file what its picture goes through first, without the package ``onnx``.

ONNX Runtime does not show the weights of a model.  The numbers of the fields are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, the encoding is that of
https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.runtimes.foreign.front import MOST_WEIGHTS, Layer, Stem, find_stem

# The ways in which a field is stored, and how many bytes those of fixed size have.
VARINT, LENGTH = 0, 2
FIXED = {1: 8, 5: 4}
# The numbers of the fields that are read, message by message.
GRAPH = 7
NODES, INITIALIZERS, INPUTS = 1, 5, 11
NODE_INPUTS, NODE_OUTPUTS, NODE_KIND, ATTRIBUTES = 1, 2, 4, 5
ATTRIBUTE_TENSOR = 5
INPUT_NAME = 1
DIMENSIONS, TYPE, FLOATS, TENSOR_NAME, RAW, EXTERNAL = 1, 2, 4, 8, 9, 13
KEY, VALUE = 1, 2
TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2")}

Message = memoryview


class OnnxFile:
    """The nodes and constants of an ONNX file; raises ``ValueError`` for any other content."""

    def __init__(self, path: Path) -> None:
        graph = _graph(path)
        self.nodes = _messages(graph, NODES)
        self.inputs = [_text(m, INPUT_NAME) for m in _messages(graph, INPUTS)]
        self.tensors = {_text(m, TENSOR_NAME): m for m in _messages(graph, INITIALIZERS)}
        for node in self.nodes:
            if _text(node, NODE_KIND) == "Constant":
                for attribute in _messages(node, ATTRIBUTES):
                    for tensor in _messages(attribute, ATTRIBUTE_TENSOR):
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
        for number, value, message in _fields(self.tensors[name]):
            if number == DIMENSIONS:
                # One by one, or all in one message.
                shape += _varints(message) if message else [value]
            elif number == TYPE:
                kind = value
            elif number in (RAW, FLOATS):
                content = message
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
        for tensor in _messages(_graph(path), INITIALIZERS):
            for entry in _messages(tensor, EXTERNAL):
                if _text(entry, KEY) == "location":
                    found.add(path.parent / _text(entry, VALUE))
    return found


def _graph(path: Path) -> Message:
    graphs = _messages(memoryview(path.read_bytes()), GRAPH)
    if len(graphs) != 1:
        raise ValueError(f"{path}: {len(graphs)} graphs in an ONNX file")
    return graphs[0]


def _fields(message: Message) -> Iterator[tuple[int, int, Message]]:
    """Yield the number of each field with its value, or with its content if that has a length."""
    at, nothing = 0, message[:0]
    while at < len(message):
        key, at = _varint(message, at)
        number, way = key >> 3, key & 7
        if way == VARINT:
            value, at = _varint(message, at)
            yield number, value, nothing
            continue
        size, at = _varint(message, at) if way == LENGTH else (FIXED.get(way, len(message)), at)
        if at + size > len(message):
            raise ValueError("a field ends beyond its message")
        yield number, 0, message[at : at + size]
        at += size


def _varint(message: Message, at: int) -> tuple[int, int]:
    """Return the number of variable length that begins at ``at``, and where it ends."""
    value = 0
    for i in range(10):
        if at + i == len(message):
            break
        byte = message[at + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, at + i + 1
    raise ValueError("a number without an end")


def _varints(message: Message) -> list[int]:
    found, at = [], 0
    while at < len(message):
        value, at = _varint(message, at)
        found.append(value)
    return found


def _messages(message: Message, wanted: int) -> list[Message]:
    return [found for number, _, found in _fields(message) if number == wanted]


def _texts(message: Message, wanted: int) -> tuple[str, ...]:
    return tuple(str(found, "utf-8", "replace") for found in _messages(message, wanted))


def _text(message: Message, wanted: int) -> str:
    return next(iter(_texts(message, wanted)), "")
