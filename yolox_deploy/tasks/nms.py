"""Greedy non-maximum suppression in NumPy, per class or over all classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
Indices = NDArray[np.int64]

# Up to so many boxes of a class every pair is compared, all classes at once; a crowd of more is
# compared in blocks of rows, with those boxes only that are left by then.
CROWD = 96
BLOCK = 64


def nms(
    boxes: Boxes,
    scores: NDArray[np.float32],
    class_ids: Indices,
    iou_threshold: float,
    *,
    class_agnostic: bool = False,
) -> Indices:
    """Return the indices of the boxes that stay, best score first.

    ``boxes`` is (K, 4) xyxy, ``scores`` (K,), ``class_ids`` (K,).  A box goes when its IoU with a
    better box that stays, of the same class unless ``class_agnostic``, is above the threshold.
    Equal scores keep their order.
    """
    count = len(scores)
    order: Indices = (-scores).argsort(kind="stable")
    if count < 2:
        return order
    boxes = boxes.take(order, 0)
    by_class = None
    ends = np.full(count, count)
    if not class_agnostic:
        classes = class_ids.take(order)
        by_class = classes.argsort(kind="stable")
        classes = classes.take(by_class)
        boxes = boxes.take(by_class, 0)
        ends = classes.searchsorted(classes, side="right")
    threshold = np.float32(iou_threshold)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    gone = np.zeros(count, bool)
    # How many boxes of the same class come after each box.
    later = ends - np.arange(1, count + 1)
    start = 0
    while later.max() >= CROWD:
        start += int((later[start:] >= CROWD).argmax())
        crowd = slice(start, int(ends[start]))
        gone[crowd] = _gone_of_crowd(boxes[crowd], areas[crowd], threshold)
        later[crowd] = 0
    first = np.arange(count).repeat(later)
    # The pairs of box i begin behind those of the boxes before it, with box i + 1.
    second = np.arange(len(first))
    second += (np.arange(1, count + 1) + later - later.cumsum()).repeat(later)
    covered = _covers(
        boxes.take(first, 0), areas.take(first), boxes.take(second, 0), areas.take(second), threshold
    )
    _settle(gone, first[covered], second[covered])
    kept: Indices = (~gone).nonzero()[0]
    if by_class is not None:
        kept = by_class.take(kept)
        kept.sort()
    return order.take(kept)


def _gone_of_crowd(boxes: Boxes, areas: Boxes, threshold: np.float32) -> NDArray[np.bool_]:
    """Return which of many boxes of one class, best score first, go."""
    gone = np.zeros(len(boxes), bool)
    for start in range(0, len(boxes), BLOCK):
        rest = start + (~gone[start:]).nonzero()[0]
        count = int(rest.searchsorted(start + BLOCK))
        rows = rest[:count]
        covers = _covers(boxes[rows, None], areas[rows, None], boxes[rest], areas[rest], threshold)
        first, second = np.triu(covers[:, :count], 1).nonzero()
        gone_here = np.zeros(count, bool)
        _settle(gone_here, first, second)
        gone[rows] = gone_here
        gone[rest[count:]] = covers[~gone_here, count:].any(0)
    return gone


def _settle(gone: NDArray[np.bool_], better: Indices, worse: Indices) -> None:
    """Mark what goes; ``better[i]`` covers ``worse[i]``, pairs in the order of the better box."""
    marks = memoryview(gone)
    for i, j in zip(better.tolist(), worse.tolist(), strict=True):
        if not marks[i]:
            marks[j] = True


def _covers(
    a: Boxes, areas_of_a: Boxes, b: Boxes, areas_of_b: Boxes, threshold: np.float32
) -> NDArray[np.bool_]:
    """Return where boxes ``a`` (..., 4) and ``b`` (..., 4) overlap beyond the threshold."""
    width = np.minimum(a[..., 2], b[..., 2])
    width -= np.maximum(a[..., 0], b[..., 0])
    np.maximum(width, 0, out=width)
    height = np.minimum(a[..., 3], b[..., 3])
    height -= np.maximum(a[..., 1], b[..., 1])
    np.maximum(height, 0, out=height)
    intersection = np.multiply(width, height, out=width)
    union = np.add(areas_of_a, areas_of_b, out=height)
    union -= intersection
    # Compared as a product: a box without area neither divides by zero nor suppresses.
    union *= threshold
    result: NDArray[np.bool_] = intersection > union
    return result
