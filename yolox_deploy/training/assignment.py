"""SimOTA: which anchor points learn which box.

Training an anchor-free detector needs a rule that says which points of the grids are positives for
which box.  SimOTA (YOLOX, arXiv 2107.08430, section 2.1) gives every box its ``k`` cheapest points,
where ``k`` grows with how well the network already covers the box, and is a cheap approximation of
the optimal transport problem of OTA (arXiv 2103.14259).  The whole batch is assigned at once:
every box is compared with all points of its own picture, so there is no loop over pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# A point is a candidate for a box if it lies less than this number of strides from the centre of
# the box on both axes.  The first release of the original used 2.5, later releases and the
# published losses use 1.5.
CENTRE_RADIUS = 1.5
# k is the rounded-down sum of a box's CANDIDATES best IoUs (dynamic k, OTA section 3.3).
CANDIDATES = 10
IOU_WEIGHT = 3.0
# Added for points that are candidates of other boxes only, so that they are taken last.
FAR_COST = 1e6


@dataclass(frozen=True)
class Points:
    """The anchor points of all levels, stride by stride and row-major, as the head returns them.

    ``grid`` is (A, 2) float32 in cells (x, y), ``stride`` (A,) float32 in pixels.
    """

    grid: Tensor
    stride: Tensor

    @property
    def centres(self) -> Tensor:
        """(A, 2) pixels: the middle of every cell."""
        return (self.grid + 0.5) * self.stride[:, None]

    @classmethod
    def of(
        cls, sizes: Sequence[tuple[int, int]], strides: Sequence[int], device: torch.device
    ) -> Points:
        """Return the points of feature maps with these (height, width) and strides."""
        grids, steps = [], []
        for (height, width), stride in zip(sizes, strides, strict=True):
            sides = (torch.arange(side, device=device) for side in (height, width))
            grids.append(torch.cartesian_prod(*sides).flip(1))
            steps.append(torch.full((height * width,), stride, device=device))
        return cls(torch.cat(grids).float(), torch.cat(steps).float())


@dataclass(frozen=True)
class Assignment:
    """The positives: three (M,) int64 tensors and the IoU of prediction and box, (M,) float32."""

    image: Tensor
    point: Tensor
    target: Tensor
    iou: Tensor


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of boxes ``(..., 4)`` given as centre x, centre y, width, height in pixels."""
    upper = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    lower = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    shared = (lower - upper).clamp(min=0).prod(-1)
    return shared / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared + 1e-16)


def class_cost(
    objectness: Tensor, classes: Tensor, image: Tensor, label: Tensor, candidate: Tensor
) -> Tensor:
    """Return the (K, A) cross entropy of each box's one-hot class and each point's scores.

    ``objectness`` (B, A) and ``classes`` (B, A, C) are logits, ``image`` and ``label`` (K,) int64,
    ``candidate`` (B, A) bool says which points matter.  The score is the geometric mean of both
    probabilities.  Written as "all classes absent" plus a correction for the one that is present,
    so that no (K, A, C) tensor is needed.
    """
    score = (classes[candidate].sigmoid() * objectness[candidate].sigmoid()[:, None]).sqrt()
    all_absent = torch.zeros_like(objectness)
    all_absent[candidate] = _cross_entropy(1 - score).sum(-1)
    mine = classes.transpose(1, 2)[image, label].sigmoid() * objectness[image].sigmoid()
    mine = mine.sqrt()
    return all_absent[image] + _cross_entropy(mine) - _cross_entropy(1 - mine)


def _cross_entropy(probability: Tensor) -> Tensor:
    """Return the negative logarithm, bounded like PyTorch's binary cross entropy."""
    return -probability.log().clamp(min=-100)


@torch.no_grad()
def simota(
    boxes: Tensor, objectness: Tensor, classes: Tensor, points: Points, targets: Tensor
) -> Assignment:
    """Return the positives of a batch.

    ``boxes`` (B, A, 4) float32, decoded: centre x, centre y, width, height in pixels;
    ``objectness`` (B, A) and ``classes`` (B, A, C) float32 logits; ``targets`` (K, 6) float32:
    picture, class, centre x, centre y, width, height in pixels.
    """
    image, label, truth = targets[:, 0].long(), targets[:, 1].long(), targets[:, 2:]
    if not len(targets):
        return Assignment(image, image, image, truth.sum(-1))
    offset = (points.centres[None] - truth[:, None, :2]).abs().amax(-1)
    near = offset < CENTRE_RADIUS * points.stride
    wanted = torch.zeros_like(objectness).index_add_(0, image, near.float()) > 0
    candidate = wanted[image]

    iou = pairwise_iou(truth[:, None], boxes[image]) * candidate
    cost = class_cost(objectness, classes, image, label, wanted) - IOU_WEIGHT * (iou + 1e-8).log()
    cost = (cost + FAR_COST * ~near).masked_fill(~candidate, torch.inf)

    width = min(CANDIDATES, iou.shape[1])
    k = iou.topk(width, 1).values.sum(1).int().clamp(min=1)
    cheapest = cost.topk(width, 1, largest=False)
    taken = torch.arange(width, device=k.device) < k[:, None]
    target, rank = (taken & cheapest.values.isfinite()).nonzero(as_tuple=True)
    return _one_box_per_point(cost, image, target, cheapest.indices[target, rank], iou)


def _one_box_per_point(
    cost: Tensor, image: Tensor, target: Tensor, point: Tensor, iou: Tensor
) -> Assignment:
    """Give every point that several boxes of a picture took to the cheapest box of the picture."""
    total = cost.shape[1]
    place, count = torch.unique(image[target] * total + point, return_counts=True)
    owner = place.new_empty(len(place))
    owner[torch.searchsorted(place, image[target] * total + point)] = target
    shared = count > 1
    rivals = cost[:, place[shared] % total]
    elsewhere = image[:, None] != place[shared] // total
    owner[shared] = rivals.masked_fill(elsewhere, torch.inf).argmin(0)
    return Assignment(place // total, place % total, owner, iou[owner, place % total])
