"""The YOLOX network that a row of the table of architectures describes."""

from __future__ import annotations

from torch import Tensor, nn

from yolox_deploy.architectures import Architecture, architecture
from yolox_deploy.models.head import YOLOXHead
from yolox_deploy.models.necks import YOLOFPN, YOLOPAFPN


class YOLOX(nn.Module):
    """Backbone with pyramid, and head: (N, 3, H, W) to the raw output (N, A, 5 + C)."""

    def __init__(self, arch: Architecture, num_classes: int) -> None:
        super().__init__()
        self.arch = arch
        self.num_classes = num_classes
        self.backbone: YOLOFPN | YOLOPAFPN
        if arch.darknet53:
            self.backbone = YOLOFPN(act=arch.act)
        else:
            self.backbone = YOLOPAFPN(
                arch.depth, arch.width, depthwise=arch.depthwise, act=arch.act
            )
        self.head = YOLOXHead(
            num_classes,
            arch.width,
            self.backbone.channels,
            depthwise=arch.depthwise,
            act=arch.act,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the raw output for ``images`` (float32, prepared by the letterbox)."""
        result: Tensor = self.head(self.backbone(images))
        return result


def build_network(arch: Architecture | str, num_classes: int = 80) -> YOLOX:
    """Return an untrained network, in training mode, for a row or its name."""
    return YOLOX(architecture(arch) if isinstance(arch, str) else arch, num_classes)
