"""CSPDarknet and Darknet-53: pictures in, feature maps of stride 8, 16 and 32 out."""

from __future__ import annotations

from torch import Tensor, nn

from yolox_deploy.models.blocks import (
    Activation,
    BaseConv,
    CSPLayer,
    Focus,
    ResLayer,
    SPPBottleneck,
    spatial_conv,
)


class CSPDarknet(nn.Module):
    """The backbone of nano to x; ``width`` scales channels, ``depth`` blocks per stage."""

    def __init__(self, depth: float, width: float, *, depthwise: bool) -> None:
        super().__init__()
        channels = int(64 * width)
        blocks = max(round(3 * depth), 1)

        def stage(inputs: int, count: int) -> nn.Sequential:
            return nn.Sequential(
                spatial_conv(inputs, 2 * inputs, 2, depthwise=depthwise),
                CSPLayer(2 * inputs, 2 * inputs, count, depthwise=depthwise),
            )

        self.stem = Focus(3, channels)
        self.dark2 = stage(channels, blocks)
        self.dark3 = stage(2 * channels, 3 * blocks)
        self.dark4 = stage(4 * channels, 3 * blocks)
        top = 16 * channels
        self.dark5 = nn.Sequential(
            spatial_conv(8 * channels, top, 2, depthwise=depthwise),
            SPPBottleneck(top, top),
            CSPLayer(top, top, blocks, shortcut=False, depthwise=depthwise),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs of dark3, dark4 and dark5 for ``x`` of shape (N, 3, H, W)."""
        c3 = self.dark3(self.dark2(self.stem(x)))
        c4 = self.dark4(c3)
        return c3, c4, self.dark5(c4)


class Darknet53(nn.Module):
    """Darknet-53 (YOLOv3) with spatial pyramid pooling in its last stage."""

    def __init__(self, *, act: Activation) -> None:
        super().__init__()

        def stage(inputs: int, blocks: int) -> list[nn.Module]:
            down = BaseConv(inputs, 2 * inputs, 3, 2, act=act)
            return [down, *(ResLayer(2 * inputs, act=act) for _ in range(blocks))]

        self.stem = nn.Sequential(BaseConv(3, 32, 3, act=act), *stage(32, 1))
        self.dark2 = nn.Sequential(*stage(64, 2))
        self.dark3 = nn.Sequential(*stage(128, 8))
        self.dark4 = nn.Sequential(*stage(256, 8))
        self.dark5 = nn.Sequential(
            *stage(512, 4),
            BaseConv(1024, 512, 1, act=act),
            BaseConv(512, 1024, 3, act=act),
            SPPBottleneck(1024, 512, act=act),
            BaseConv(512, 1024, 3, act=act),
            BaseConv(1024, 512, 1, act=act),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs of dark3, dark4 and dark5 for ``x`` of shape (N, 3, H, W)."""
        c3 = self.dark3(self.dark2(self.stem(x)))
        c4 = self.dark4(c3)
        return c3, c4, self.dark5(c4)
