"""Rewrites of the trained network, exact up to the rounding of float32.

Batch normalisation is folded into the convolutions, the Focus stem becomes one 6x6 convolution of
stride 2, and the first convolution's weights take over a power of two from the input.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from yolox_deploy.models import YOLOX
from yolox_deploy.models.backbones import CSPDarknet, Darknet53
from yolox_deploy.models.blocks import BaseConv, Focus
from yolox_deploy.pictures.convention import InputConvention
from yolox_deploy.pictures.stem import FOCUS_OFFSETS

# Input below this magnitude counts as normalised: its stem weights are of ordinary size.
NORMALISED_INPUT = 16.0


class PreparedNetwork(nn.Module):
    """The network as it is exported: ``(N, 3, H, W)`` to the raw output ``(N, A, 5 + C)``."""

    def __init__(self, network: YOLOX, input_scale: float) -> None:
        super().__init__()
        self.network = network
        self.input_scale = input_scale

    def forward(self, images: Tensor) -> Tensor:
        """Return the raw output for ``images`` (float32, prepared by the letterbox)."""
        if self.input_scale != 1.0:
            images = images * self.input_scale
        result: Tensor = self.network(images)
        return result


def prepare(
    network: YOLOX, convention: InputConvention, *, scale_stem: bool = True
) -> PreparedNetwork:
    """Return a rewritten copy of ``network`` (in evaluation mode); the original is untouched."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, BaseConv):
            fold_batch_norm(module)
    first = replace_stem(network.backbone.backbone)
    exponent = stem_exponent(convention) if scale_stem else 0
    with torch.no_grad():
        first.conv.weight.mul_(2.0**exponent)
    return PreparedNetwork(network, 2.0**-exponent).eval()


def replace_stem(backbone: CSPDarknet | Darknet53) -> BaseConv:
    """Replace a Focus stem, in place, and return the block that sees the picture first."""
    if isinstance(backbone, CSPDarknet):
        first = focus_to_convolution(backbone.stem)
        setattr(backbone, "stem", first)  # noqa: B010 (declared as a Focus)
        return first
    assert isinstance(backbone.stem[0], BaseConv)
    return backbone.stem[0]


def fold_batch_norm(block: BaseConv) -> None:
    """Fold the block's batch normalisation into its convolution, in place."""
    if isinstance(block.bn, nn.BatchNorm2d):
        block.conv = fuse_conv_bn_eval(block.conv, block.bn)
        setattr(block, "bn", nn.Identity())  # noqa: B010 (declared as a batch normalisation)


def focus_to_convolution(focus: Focus) -> BaseConv:
    """Return ``focus`` as one 6x6 convolution of stride 2 and padding 2 (BN already folded).

    A 3x3 tap ``(u, v)`` of the channel group with offset ``(dy, dx)`` reads the pixel
    ``(2u + dy, 2v + dx)`` of a 6x6 window, so the weights only change places.
    """
    block = focus.conv
    weight = block.conv.weight.detach()
    outputs, channels = weight.shape[0], weight.shape[1] // 4
    large = weight.new_zeros(outputs, channels, 6, 6)
    for group, (dy, dx) in enumerate(FOCUS_OFFSETS):
        large[:, :, dy::2, dx::2] = weight[:, group * channels : (group + 1) * channels]
    conv = nn.Conv2d(channels, outputs, 6, stride=2, padding=2)
    conv.weight = nn.Parameter(large)
    conv.bias = block.conv.bias
    block.conv = conv
    return block


def stem_exponent(convention: InputConvention) -> int:
    """Return the power of two that brings the network's input to a magnitude of about 1.

    8 for raw 0..255 input, whose stem weights reach down to 6e-8 and would vanish where FP16
    subnormals are flushed to zero; 0 for input that is normalised already.
    """
    largest = convention.largest_value
    return round(math.log2(largest)) if largest > NORMALISED_INPUT else 0
