"""A task of boxes that have a direction: one more column per row, an angle in degrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import Comparison, Detections, Tolerance
from yolox_deploy.tasks.boxes import BoxTask, More
from yolox_deploy.tasks.detect import Detect
from yolox_deploy.tasks.detections import Column

if TYPE_CHECKING:
    import onnx

# What the network calls 1.
DEGREES = 90.0


@dataclass(frozen=True, eq=False, repr=False)
class OrientedBoxes(Detections):
    """Detections with ``angles`` (N, 1) float32, degrees."""

    angles: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 1), np.float32))

    columns: ClassVar[Mapping[str, Column]] = {
        **Detections.columns,
        "angles": Column((1,), np.float32),
    }
    header: ClassVar[tuple[str, ...]] = (*Detections.header, "angle")

    def to_dict(self) -> list[dict[str, Any]]:
        angles = self.angles[:, 0].tolist()
        return [
            {**entry, "angle": round(a, 3)}
            for entry, a in zip(super().to_dict(), angles, strict=True)
        ]

    def to_rows(self) -> list[tuple[Any, ...]]:
        angles = self.angles[:, 0].tolist()
        return [(*row, round(a, 3)) for row, a in zip(super().to_rows(), angles, strict=True)]


class Oriented(BoxTask):
    """Boxes with an angle."""

    name = "oriented"
    result = OrientedBoxes
    metric = "bbox"
    tolerances: ClassVar[Mapping[str, Tolerance]] = {
        precision: Tolerance({**limits.limits, "angle": angle}, limits.reason)
        for (precision, limits), angle in zip(
            Detect.tolerances.items(), (0.01, 1.0, 8.0, 16.0), strict=True
        )
    }

    def more_columns(self, spec: ModelSpec) -> dict[str, int]:
        return {"angles": 1}

    def more_decoded(self, more: More, grid: Any, stride: Any) -> More:
        return {"angles": more["angles"] * np.float32(DEGREES)}

    def compare_more(self, found: Comparison, more: More, expected: More) -> None:
        found.largest(angle_difference=np.abs(more["angles"] - expected["angles"]).max())

    def more_problems(self) -> dict[str, tuple[str, str]]:
        return {"angle_difference": ("angle", "angles differ by up to {:.2g} degrees")}


def __getattr__(name: str) -> Any:
    """Make what needs PyTorch or ONNX when it is asked for."""
    if name == "OrientedHead":
        return _head()
    if name == "OrientedTail":
        return _tail()
    raise AttributeError(name)


def _head() -> Any:
    import torch
    from torch import nn

    from yolox_deploy.models.heads import TaskHead, YOLOXHead

    class Module(YOLOXHead):
        """The usual head, with one more convolution per stride on the boxes' branch."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.angle_preds = nn.ModuleList(
                nn.Conv2d(layer.in_channels, 1, 1) for layer in self.reg_preds
            )

        def forward(self, features: Any) -> Any:
            angles = []
            for i, feature in enumerate(features):
                x = self.reg_convs[i](self.stems[i](feature))
                angles.append(self.angle_preds[i](x).tanh().flatten(2))
            return torch.cat((super().forward(features), torch.cat(angles, 2).transpose(1, 2)), 2)

    class OrientedHead(TaskHead):
        name = "oriented"
        key = "head.angle_preds.0.weight"

        def build(self, arch: Any, num_classes: int, channels: Any, settings: Any) -> Any:
            return Module(num_classes, arch.width, channels, depthwise=arch.depthwise, act=arch.act)

    return OrientedHead


def _tail() -> Any:
    import onnx
    from onnx import numpy_helper

    from yolox_deploy.export.tails import BoxTail

    class OrientedTail(BoxTail):
        def __init__(self) -> None:
            super().__init__("oriented")

        def decode(self, spec: ModelSpec) -> onnx.GraphProto:
            """Multiply the last column of what boxes decode to."""
            graph = super().decode(spec)
            factors = np.ones((1, 1, spec.num_classes + 6), np.float32)
            factors[..., -1] = DEGREES
            graph.initializer.append(numpy_helper.from_array(factors, "factors"))
            last = graph.node[-1]
            last.output[0] = "boxes_decoded"
            graph.node.append(
                onnx.helper.make_node("Mul", ["boxes_decoded", "factors"], ["decoded"])
            )
            return graph

    return OrientedTail
