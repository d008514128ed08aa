"""What a network's first layer tells of the input that it was trained on."""

from __future__ import annotations

from typing import Any, cast

from numpy.typing import NDArray
from torch import Tensor, nn

from yolox_deploy.models.backbones import CSPDarknet
from yolox_deploy.models.blocks import BaseConv
from yolox_deploy.models.network import YOLOX
from yolox_deploy.pictures.stem import InputFound, find_input


def input_of(network: YOLOX) -> InputFound:
    """Return which input convention the weights of ``network`` were trained with."""
    return input_of_block(first_block(network))


def input_of_block(first: BaseConv) -> InputFound:
    """Return which input convention a network's first block was trained with."""
    norm, weight = first.bn, first.conv.weight
    assert isinstance(norm, nn.BatchNorm2d)
    if is_identity(norm):
        # Folded into the convolution, or never trained.
        scale = norm.weight / (variance_of(norm) + norm.eps).sqrt()
        return find_input(_array(weight * scale[:, None, None, None]), _array(norm.bias))
    # The steps count only if they were the first ones: fine-tuning may count from 0 again.
    untouched = bool(((norm.weight - 1).abs() < 0.1).all() and (norm.bias.abs() < 0.1).all())
    steps = norm.num_batches_tracked if untouched else None
    return find_input(
        _array(weight),
        None,
        _array(cast("Tensor", norm.running_mean)),
        _array(variance_of(norm)),
        0 if steps is None else int(steps),
    )


def first_block(network: YOLOX) -> BaseConv:
    """Return the block that sees the picture first (behind the Focus layer, where there is one)."""
    backbone = network.backbone.backbone
    first = backbone.stem.conv if isinstance(backbone, CSPDarknet) else backbone.stem[0]
    assert isinstance(first, BaseConv)
    return first


def is_identity(norm: nn.BatchNorm2d) -> bool:
    """Whether the statistics are the identity; the variance is then 1, or 1 less epsilon."""
    still = bool((cast("Tensor", norm.running_mean) == 0).all())
    return still and bool(((variance_of(norm) - 1).abs() <= 2 * norm.eps).all())


def variance_of(norm: nn.BatchNorm2d) -> Tensor:
    """Return the running variance."""
    return cast("Tensor", norm.running_var)


def _array(values: Tensor) -> NDArray[Any]:
    return values.detach().float().cpu().numpy()
