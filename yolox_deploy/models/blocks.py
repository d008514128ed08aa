"""The convolutional building blocks that every YOLOX network is made of.

Attribute names are those of the published checkpoints, because they become the state-dict keys.
All tensors are float32 NCHW.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

# Values of the published models; PyTorch's defaults (1e-5, 0.1) give other outputs.
BN_EPS = 1e-3
BN_MOMENTUM = 0.03

Activation: TypeAlias = Literal["silu", "lrelu"]


class BaseConv(nn.Module):
    """Convolution without bias, batch normalisation, activation ("same" padding).

    ``lrelu`` (slope 0.1) is that of Darknet-53, all other networks have ``silu``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        act: Activation = "silu",
    ) -> None:
        super().__init__()
        padding = (kernel - 1) // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.act = nn.SiLU() if act == "silu" else nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.bn(self.conv(x)))
        return result


class DWConv(nn.Module):
    """A depthwise convolution followed by a pointwise one."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, act: Activation
    ) -> None:
        super().__init__()
        self.dconv = BaseConv(inputs, inputs, kernel, stride, groups=inputs, act=act)
        self.pconv = BaseConv(inputs, outputs, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.pconv(self.dconv(x))
        return result


def spatial_conv(
    inputs: int, outputs: int, stride: int = 1, *, depthwise: bool, act: Activation = "silu"
) -> nn.Module:
    """Return a 3x3 convolution block, depthwise separable on request."""
    kind = DWConv if depthwise else BaseConv
    return kind(inputs, outputs, 3, stride, act=act)


class Focus(nn.Module):
    """The stem: every 2x2 patch becomes four channel groups, then a 3x3 convolution.

    The patch order (top-left, bottom-left, top-right, bottom-right) is part of the weights.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = BaseConv(4 * inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
        result: Tensor = self.conv(torch.cat(patches, 1))
        return result


class Bottleneck(nn.Module):
    """1x1 then 3x3 convolution, with the input added when ``shortcut`` holds."""

    def __init__(self, channels: int, *, shortcut: bool, depthwise: bool) -> None:
        super().__init__()
        self.conv1 = BaseConv(channels, channels, 1)
        self.conv2 = spatial_conv(channels, channels, depthwise=depthwise)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class CSPLayer(nn.Module):
    """Cross-stage partial layer: half the channels through ``blocks`` bottlenecks, half around."""

    def __init__(
        self, inputs: int, outputs: int, blocks: int, *, shortcut: bool = True, depthwise: bool
    ) -> None:
        super().__init__()
        hidden = outputs // 2
        self.conv1 = BaseConv(inputs, hidden, 1)
        self.conv2 = BaseConv(inputs, hidden, 1)
        self.conv3 = BaseConv(2 * hidden, outputs, 1)
        bottlenecks = (
            Bottleneck(hidden, shortcut=shortcut, depthwise=depthwise) for _ in range(blocks)
        )
        self.m = nn.Sequential(*bottlenecks)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv3(torch.cat((self.m(self.conv1(x)), self.conv2(x)), 1))
        return result


class SPPBottleneck(nn.Module):
    """Spatial pyramid pooling: the input beside its 5x5, 9x9 and 13x13 maxima."""

    def __init__(self, inputs: int, outputs: int, *, act: Activation = "silu") -> None:
        super().__init__()
        hidden = inputs // 2
        self.conv1 = BaseConv(inputs, hidden, 1, act=act)
        self.m = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in (5, 9, 13))
        self.conv2 = BaseConv(4 * hidden, outputs, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        result: Tensor = self.conv2(torch.cat((x, *(pool(x) for pool in self.m)), 1))
        return result


class ResLayer(nn.Module):
    """Darknet-53's residual block: 1x1 to half the channels, 3x3 back, input added."""

    def __init__(self, channels: int, *, act: Activation) -> None:
        super().__init__()
        self.layer1 = BaseConv(channels, channels // 2, 1, act=act)
        self.layer2 = BaseConv(channels // 2, channels, 3, act=act)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.layer2(self.layer1(x))
        return result
