"""A backend for ``.toy`` files: a line of JSON with the spec, and then an ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from yolox_deploy.runtimes.base import Array, Opened, Runtime
from yolox_deploy.runtimes.content import Part, Stored
from yolox_deploy.runtimes.registry import Backend

BACKEND = Backend(
    name="toy",
    description="a line of JSON and an ONNX graph, on ONNX Runtime",
    runtime="toy_backend:ToyRuntime",
    package="onnxruntime",
    suffixes=(".toy",),
    stored={".toy": "toy_backend:stored"},
)


def stored(path: Path) -> Stored:
    """Return the spec, and the bytes that are hashed: those after the first line."""
    line, newline, graph = path.read_bytes().partition(b"\n")
    if not newline:
        raise ValueError("it has one line only")
    end = path.stat().st_size
    return Stored(line.decode(), {"toy": Part(path, [(end - len(graph), end)])})


class ToyRuntime(Runtime):
    """Runs the graph on ONNX Runtime with one thread."""

    name = "toy"
    settings: ClassVar[dict[str, tuple[str, ...]]] = {"arena": ("on", "off")}

    def _open(self) -> Opened:
        import onnxruntime

        spec_json = self.stored_spec()
        graph = self.path.read_bytes().partition(b"\n")[2]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session: Any = onnxruntime.InferenceSession(graph, options)
        shapes = [
            tuple(side if isinstance(side, int) else None for side in port[0].shape)
            for port in (self.session.get_inputs(), self.session.get_outputs())
        ]
        return Opened(spec_json, *shapes)

    def _infer(self, images: Array) -> Array:
        (result,) = self.session.run(None, {self.session.get_inputs()[0].name: images})
        return np.asarray(result, np.float32)

    def _close(self) -> None:
        self.__dict__.pop("session", None)
