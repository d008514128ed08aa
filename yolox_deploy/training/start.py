"""The network that a run starts from: random weights, or those of a checkpoint that fit."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from yolox_deploy.models import YOLOX, build_network
from yolox_deploy.models.blocks import BN_EPS
from yolox_deploy.models.checkpoint import Checkpoint

# Objectness and class scores start here, so that the many negatives do not drown the few
# positives (focal loss, arXiv 1708.02002, section 3.3).
PRIOR = 0.01


def initial_network(
    arch: str, num_classes: int, seed: int, weights: Checkpoint | None
) -> tuple[YOLOX, list[str]]:
    """Return the network, and sentences about what was taken from ``weights``."""
    torch.manual_seed(seed)
    network = build_network(arch, num_classes)
    for layer in (*network.head.cls_preds, *network.head.obj_preds):
        nn.init.constant_(cast("Tensor", layer.bias), math.log(PRIOR / (1 - PRIOR)))
    return network, [] if weights is None else _take_over(network, weights)


def _take_over(network: YOLOX, weights: Checkpoint) -> list[str]:
    own, given = network.state_dict(), weights.network.state_dict()
    kept = {key: value for key, value in given.items() if own[key].shape == value.shape}
    network.load_state_dict(kept, strict=False)
    fresh = sorted(own.keys() - kept.keys())
    notes = [f"{weights.path}: kept {len(kept)} of {len(own)} tensors"]
    if fresh:
        notes[0] += (
            f"; re-initialised {', '.join(fresh)}"
            f" ({weights.network.num_classes} classes before, {network.num_classes} now)"
        )
    if _batch_norm_is_folded(weights.network):
        notes.append(
            f"{weights.path}: its batch norm statistics are the identity (folded into the"
            " convolutions), so fine-tuning starts little better than from scratch; weights with"
            " real statistics, such as the legacy release, start better"
        )
    return [*weights.notes, *notes]


def _batch_norm_is_folded(network: YOLOX) -> bool:
    """Whether every normalisation is the identity; its variance is then 1, or 1 less epsilon."""
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    means = torch.cat([cast("Tensor", layer.running_mean) for layer in layers])
    variances = torch.cat([cast("Tensor", layer.running_var) for layer in layers])
    return bool((means == 0).all()) and bool(((variances - 1).abs() <= 2 * BN_EPS).all())
