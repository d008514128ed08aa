"""The decoupled, anchor-free head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolox_deploy.models.blocks import Activation, BaseConv, spatial_conv


class YOLOXHead(nn.Module):
    """One classification and one regression branch a stride."""

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
        """Return per stride the box (N, 4, h, w), objectness (N, 1, h, w) and class logits."""
        result = []
        for i, feature in enumerate(features):
            x = self.stems[i](feature)
            regression = self.reg_convs[i](x)
            result.append(
                (
                    self.reg_preds[i](regression),
                    self.obj_preds[i](regression),
                    self.cls_preds[i](self.cls_convs[i](x)),
                )
            )
        return result

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the raw output (N, A, 5 + C): box raw, objectness and class scores in 0..1.

        Rows run stride by stride, each row-major.
        """
        maps = [
            torch.cat((box, objectness.sigmoid(), classes.sigmoid()), 1).flatten(2)
            for box, objectness, classes in self.levels(features)
        ]
        return torch.cat(maps, 2).transpose(1, 2)
