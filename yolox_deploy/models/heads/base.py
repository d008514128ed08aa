"""What every head is: how a checkpoint of its task is recognised, and its torch module."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from yolox_deploy.architectures import Architecture
from yolox_deploy.models.blocks import Activation, BaseConv, spatial_conv
from yolox_deploy.spec import LARGEST_CLASS_COUNT

# Every YOLOX head predicts classes under this key.
CLASS_KEY = "head.cls_preds.0.weight"
# Scores of untrained networks, so that the many negatives do not drown the few positives (focal
# loss, arXiv 1708.02002, section 3.3), and not every cell is a detection.
PRIOR = 0.01

Shapes = Mapping[str, tuple[int, ...]]


class YOLOXHead(nn.Module):
    """The decoupled, anchor-free head: a classification and a regression branch per stride."""

    def __init__(
        self,
        num_classes: int,
        width: float,
        channels: Sequence[int],
        *,
        depthwise: bool,
        act: Activation,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        hidden = int(256 * width)

        def branch() -> nn.Sequential:
            return nn.Sequential(
                spatial_conv(hidden, hidden, depthwise=depthwise, act=act),
                spatial_conv(hidden, hidden, depthwise=depthwise, act=act),
            )

        def predictors(outputs: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(hidden, outputs, 1) for _ in channels)

        self.stems = nn.ModuleList(BaseConv(c, hidden, 1, act=act) for c in channels)
        self.cls_convs = nn.ModuleList(branch() for _ in channels)
        self.reg_convs = nn.ModuleList(branch() for _ in channels)
        self.cls_preds = predictors(num_classes)
        self.reg_preds = predictors(4)
        self.obj_preds = predictors(1)

    def levels(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return per stride the box (N, 4, h, w), and objectness and class logits beside it."""
        result = []
        for i, feature in enumerate(features):
            x = self.stems[i](feature)
            regression = self.reg_convs[i](x)
            box, objectness = self.reg_preds[i](regression), self.obj_preds[i](regression)
            result.append((box, objectness, self.cls_preds[i](self.cls_convs[i](x))))
        return result

    def maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return per stride the columns of its rows, (N, 5 + C, h * w).

        A head that predicts more overrides this method and adds columns after these.
        """
        return [
            torch.cat((box, objectness.sigmoid(), classes.sigmoid()), 1).flatten(2)
            for box, objectness, classes in self.levels(features)
        ]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the raw output (N, A, 5 + C): raw box, objectness and class scores in 0..1.

        Rows run stride by stride, within a stride row by row of the feature map.
        """
        return torch.cat(self.maps(features), 2).transpose(1, 2)


class TaskHead:
    """What is known of one task's head; this one is that of ``detect``, others are subclasses.

    ``name`` is the task's; a checkpoint has this head if it has the tensor called ``key``.
    """

    name: ClassVar[str] = "detect"
    key: ClassVar[str] = CLASS_KEY

    def recognises(self, shapes: Shapes) -> bool:
        """Whether tensors of these names and shapes include this head."""
        return self.key in shapes

    def num_classes(self, shapes: Shapes) -> int:
        """Return the number of classes; raises ``ValueError`` if the tensors give none."""
        shape = shapes.get(CLASS_KEY, ())
        if not shape or not 0 < shape[0] <= LARGEST_CLASS_COUNT:
            raise ValueError(f"{CLASS_KEY!r} has the shape {shape}, expected (C, ...)")
        return shape[0]

    def settings(self, shapes: Shapes) -> dict[str, Any]:
        """Return what else the tensors tell, such as a number of keypoints.

        It becomes the spec's ``task_settings``.  Raises ``ValueError`` if it makes no sense.
        """
        return {}

    def build(
        self,
        arch: Architecture,
        num_classes: int,
        channels: Sequence[int],
        settings: Mapping[str, Any],
    ) -> YOLOXHead:
        """Return an untrained head for feature maps of so many ``channels``, one per stride."""
        return YOLOXHead(num_classes, arch.width, channels, depthwise=arch.depthwise, act=arch.act)


def start_scores(head: YOLOXHead) -> None:
    """Make an untrained head's objectness and class scores start at :data:`PRIOR`."""
    for layer in (*head.cls_preds, *head.obj_preds):
        nn.init.constant_(cast("Tensor", layer.bias), math.log(PRIOR / (1 - PRIOR)))
