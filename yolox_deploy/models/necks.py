"""The feature pyramids; each holds its backbone, because the published state dicts name it so."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from yolox_deploy.models.backbones import CSPDarknet, Darknet53
from yolox_deploy.models.blocks import Activation, BaseConv, CSPLayer, spatial_conv


class YOLOPAFPN(nn.Module):
    """Path-aggregation pyramid: top-down, then bottom-up again."""

    def __init__(self, depth: float, width: float, *, depthwise: bool) -> None:
        super().__init__()
        c3, c4, c5 = (int(c * width) for c in (256, 512, 1024))
        self.channels = (c3, c4, c5)
        blocks = round(3 * depth)

        def csp(inputs: int, outputs: int) -> CSPLayer:
            return CSPLayer(inputs, outputs, blocks, shortcut=False, depthwise=depthwise)

        self.backbone = CSPDarknet(depth, width, depthwise=depthwise)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.lateral_conv0 = BaseConv(c5, c4, 1)
        self.C3_p4 = csp(2 * c4, c4)
        self.reduce_conv1 = BaseConv(c4, c3, 1)
        self.C3_p3 = csp(2 * c3, c3)
        self.bu_conv2 = spatial_conv(c3, c3, 2, depthwise=depthwise)
        self.C3_n3 = csp(2 * c3, c4)
        self.bu_conv1 = spatial_conv(c4, c4, 2, depthwise=depthwise)
        self.C3_n4 = csp(2 * c4, c5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pyramid's maps of stride 8, 16 and 32 for ``x`` of shape (N, 3, H, W)."""
        c3, c4, c5 = self.backbone(x)
        lateral5 = self.lateral_conv0(c5)
        p4 = self.C3_p4(torch.cat((self.upsample(lateral5), c4), 1))
        lateral4 = self.reduce_conv1(p4)
        out3 = self.C3_p3(torch.cat((self.upsample(lateral4), c3), 1))
        out4 = self.C3_n3(torch.cat((self.bu_conv2(out3), lateral4), 1))
        out5 = self.C3_n4(torch.cat((self.bu_conv1(out4), lateral5), 1))
        return out3, out4, out5


class YOLOFPN(nn.Module):
    """Darknet-53's top-down pyramid."""

    channels = (128, 256, 512)

    def __init__(self, *, act: Activation) -> None:
        super().__init__()

        def embedding(inputs: int, outputs: int) -> nn.Sequential:
            widths = (inputs, outputs, 2 * outputs, outputs, 2 * outputs, outputs)
            pairs = zip(pairwise(widths), (1, 3, 1, 3, 1), strict=True)
            return nn.Sequential(*(BaseConv(*pair, kernel, act=act) for pair, kernel in pairs))

        self.backbone = Darknet53(act=act)
        self.out1_cbl = BaseConv(512, 256, 1, act=act)
        self.out1 = embedding(512 + 256, 256)
        self.out2_cbl = BaseConv(256, 128, 1, act=act)
        self.out2 = embedding(256 + 128, 128)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pyramid's maps of stride 8, 16 and 32 for ``x`` of shape (N, 3, H, W)."""
        c3, c4, c5 = self.backbone(x)
        out4 = self.out1(torch.cat((self.upsample(self.out1_cbl(c5)), c4), 1))
        out3 = self.out2(torch.cat((self.upsample(self.out2_cbl(out4)), c3), 1))
        return out3, out4, c5
