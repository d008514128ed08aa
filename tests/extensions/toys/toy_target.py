"""A target that writes ``.toy`` files, with a setting of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from yolox_deploy.export.targets.base import Setting, Target
from yolox_deploy.runtimes.content import hashes_of
from yolox_deploy.spec import ModelSpec

if TYPE_CHECKING:
    import onnx


class ToyTarget(Target):
    """A line of JSON, and then the graph."""

    name = "toy"
    description = "a line of JSON and an ONNX graph"
    suffix = ".toy"
    backend = "toy"
    package = "onnx"
    extra = "export"
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("producer", "--producer", "what the graph says made it", "NAME", default="toys"),
    )

    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
        import onnx

        signed = onnx.ModelProto()
        signed.CopyFrom(graph)
        signed.producer_name = self.values.get("producer", "toys")
        main.write_bytes(b"{}\n" + signed.SerializeToString())

    def embed(self, main: Path, spec: ModelSpec) -> None:
        _, graph = main.read_bytes().split(b"\n", 1)
        line = json.dumps(json.loads(spec.to_json(hashes_of(main))))
        main.write_bytes(line.encode() + b"\n" + graph)
