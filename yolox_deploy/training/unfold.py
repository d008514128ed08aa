"""Gives batch normalisation its statistics back where they were folded into the convolutions.

Published weights often have batch normalisation merged into the convolutions: right for inference,
and useless to go on from, because the first training step normalises by statistics that the layer
behind never saw.  Here the statistics are measured on pictures, and the normalisation is given the
scale and the shift that undo them, so that the network computes what it computed before.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from yolox_deploy.models import YOLOX
from yolox_deploy.models.blocks import BaseConv
from yolox_deploy.models.stem import is_identity, variance_of


def folded_blocks(network: YOLOX) -> list[BaseConv]:
    """Return the convolutions whose batch normalisation is the identity, apart from its scale."""
    blocks = [module for module in network.modules() if isinstance(module, BaseConv)]
    return [block for block in blocks if is_identity(block.bn)]


@torch.no_grad()
def unfold_normalisation(network: YOLOX, batches: Iterable[Tensor]) -> None:
    """Measure the statistics of every folded layer; the outputs stay, but for rounding.

    ``batches`` are prepared pictures (N, 3, H, W), on the network's device.  The weights of each
    output channel are brought to the size of untrained ones, which the normalisation cancels: the
    step that a learning rate makes is relative to that size, and folded weights are as small as
    1e-5 where the input is 0..255.
    """
    moments = {block: Moments() for block in folded_blocks(network)}
    hooks = [block.conv.register_forward_hook(found.add) for block, found in moments.items()]
    network.eval()
    for images in batches:
        network(images)
    for hook in hooks:
        hook.remove()
    for block, found in moments.items():
        _restore(block, found)


class Moments:
    """Mean and variance of each channel over everything that a layer gives."""

    def __init__(self) -> None:
        self.batches: list[tuple[Tensor, Tensor]] = []

    def add(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        """Take the output (N, C, h, w) of one batch, as a forward hook."""
        variance, mean = torch.var_mean(output, (0, 2, 3), correction=0)
        self.batches.append((variance.double(), mean.double()))

    def found(self) -> tuple[Tensor, Tensor]:
        """Return variance and mean, each (C,) float64; every batch counts the same."""
        variances, means = (torch.stack(part) for part in zip(*self.batches, strict=True))
        return variances.mean(0) + means.var(0, correction=0), means.mean(0)


def _restore(block: BaseConv, moments: Moments) -> None:
    norm, weight = block.bn, block.conv.weight
    variance, mean = moments.found()
    gain = norm.weight.double() / (variance_of(norm).double() + norm.eps).sqrt()
    shift = norm.bias.double() + gain * mean
    size = weight.double().pow(2).mean((1, 2, 3)).sqrt()
    usual = (3 * weight[0].numel()) ** -0.5  # of PyTorch's uniform initialisation
    # A channel whose weights are all zero stays as it is.
    factor = torch.where(size > 0, usual / size, 1.0)
    weight.mul_(factor[:, None, None, None])
    norm.running_mean = (mean * factor).float()
    norm.running_var = (variance * factor**2).float()
    norm.weight.copy_(gain / factor * (norm.running_var.double() + norm.eps).sqrt())
    norm.bias.copy_(shift)
