"""The YOLOX network that a row of the table of architectures describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from yolox_deploy.architectures import Architecture, architecture
from yolox_deploy.models.heads import DETECT, TaskHead
from yolox_deploy.models.necks import YOLOFPN, YOLOPAFPN


class YOLOX(nn.Module):
    """Backbone with pyramid, and head: (N, 3, H, W) to the raw output (N, A, width).

    ``task`` is the name of the head's task, which says what a row of the output means;
    ``task_settings`` is what the head was built with besides the classes.
    """

    def __init__(
        self,
        arch: Architecture,
        num_classes: int,
        head: TaskHead = DETECT,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.arch = arch
        self.num_classes = num_classes
        self.task = head.name
        self.task_settings = dict(settings or {})
        self.backbone: YOLOFPN | YOLOPAFPN
        if arch.darknet53:
            self.backbone = YOLOFPN(act=arch.act)
        else:
            self.backbone = YOLOPAFPN(arch.depth, arch.width, depthwise=arch.depthwise)
        self.head = head.build(arch, num_classes, self.backbone.channels, self.task_settings)

    def forward(self, images: Tensor) -> Tensor:
        """Return the raw output for ``images`` (float32, prepared by the letterbox)."""
        result: Tensor = self.head(self.backbone(images))
        return result


def build_network(
    arch: Architecture | str,
    num_classes: int = 80,
    head: TaskHead = DETECT,
    settings: Mapping[str, Any] | None = None,
) -> YOLOX:
    """Return an untrained network, in training mode, for an architecture or its name."""
    row = architecture(arch) if isinstance(arch, str) else arch
    return YOLOX(row, num_classes, head, settings)
