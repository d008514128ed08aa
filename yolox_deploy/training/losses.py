"""The four YOLOX losses, built on the head's per-stride logits.

IoU loss on boxes, binary cross entropy on objectness and classes, and, in the last epochs, L1 on
the raw box outputs (arXiv 2107.08430, section 2.1).  Each is summed over the batch and divided by
the number of positives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, one_hot

from yolox_deploy.training.assignment import Points, pairwise_iou, simota

IOU_LOSS_WEIGHT = 5.0
STRIDES = (8, 16, 32)

Levels = Sequence[tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Losses:
    """Scalars; ``total`` is to be differentiated, ``positives`` is their mean number per box."""

    total: Tensor
    iou: Tensor
    objectness: Tensor
    classes: Tensor
    l1: Tensor
    positives: Tensor

    def stacked(self) -> Tensor:
        """Return all of them as one detached tensor in the order of the fields."""
        return torch.stack([getattr(self, field.name).detach().float() for field in fields(self)])


def yolox_losses(levels: Levels, targets: Tensor, *, with_l1: bool) -> Losses:
    """Return the losses of a batch.

    ``levels`` is what :meth:`YOLOXHead.levels` returns for strides 8, 16 and 32; ``targets``
    (K, 6) float32: picture, class, centre x, centre y, width, height in pixels.
    """
    raw, objectness, classes, points = joined(levels)
    boxes = decode(raw, points)
    found = simota(boxes.detach(), objectness.detach(), classes.detach(), points, targets)

    where = (found.image, found.point)
    truth = targets[found.target]
    is_object = torch.zeros_like(objectness)
    is_object[where] = 1.0
    label = one_hot(truth[:, 1].long(), classes.shape[-1]) * found.iou[:, None]

    iou = IOU_LOSS_WEIGHT * (1 - pairwise_iou(boxes[where], truth[:, 2:]) ** 2).sum()
    obj = binary_cross_entropy_with_logits(objectness, is_object, reduction="sum")
    cls = binary_cross_entropy_with_logits(classes[where], label, reduction="sum")
    l1 = raw.new_zeros(())
    if with_l1:
        l1 = l1_loss(raw[where], encode(truth[:, 2:], points, found.point), reduction="sum")

    share = 1 / max(len(found.target), 1)
    positives = raw.new_tensor(len(found.target) / max(len(targets), 1))
    total = (iou + obj + cls + l1) * share
    return Losses(total, iou * share, obj * share, cls * share, l1 * share, positives)


def joined(levels: Levels) -> tuple[Tensor, Tensor, Tensor, Points]:
    """Return raw boxes (B, A, 4), objectness (B, A) and class logits (B, A, C), and their points.

    All float32, whatever precision the network computed in.
    """
    sizes = [(box.shape[2], box.shape[3]) for box, _, _ in levels]
    raw, objectness, classes = (
        torch.cat([level[part].float().flatten(2) for level in levels], 2).transpose(1, 2)
        for part in range(3)
    )
    return raw, objectness.squeeze(-1), classes, Points.of(sizes, STRIDES, raw.device)


def decode(raw: Tensor, points: Points) -> Tensor:
    """Return (B, A, 4) boxes in pixels (centre, size) for raw outputs of the same shape.

    The differentiable twin of the package's NumPy decoder.
    """
    stride = points.stride[:, None]
    return torch.cat(((raw[..., :2] + points.grid) * stride, raw[..., 2:].exp() * stride), -1)


def encode(boxes: Tensor, points: Points, point: Tensor) -> Tensor:
    """Return the raw outputs (M, 4) that decode to ``boxes`` (M, 4) at the points (M,)."""
    scaled = boxes / points.stride[point, None]
    return torch.cat((scaled[:, :2] - points.grid[point], (scaled[:, 2:] + 1e-8).log()), -1)
