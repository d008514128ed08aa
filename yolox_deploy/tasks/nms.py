"""Greedy non-maximum suppression in NumPy, per class or over all classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Rows of the overlap matrix made at a time: bounds memory for tens of thousands of boxes.
BLOCK = 256


def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    iou_threshold: float,
    *,
    class_agnostic: bool = False,
) -> NDArray[np.int64]:
    """Return the indices of the boxes that stay, best score first.

    ``boxes`` is (K, 4) xyxy, ``scores`` (K,), ``class_ids`` (K,).  A box goes when its IoU with a
    better box that stays, of the same class unless ``class_agnostic``, is above the threshold.
    Equal scores keep their order.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order]
    class_ids = class_ids[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(order), bool)
    for start in range(0, len(order), BLOCK):
        rows = start + np.flatnonzero(alive[start : start + BLOCK])
        overlaps = _overlaps(boxes, areas, rows, start, iou_threshold)
        if not class_agnostic:
            overlaps &= class_ids[rows, None] == class_ids[None, start:]
        for row, overlap in zip(rows, overlaps, strict=True):
            if alive[row]:
                overlap[row - start] = False
                alive[start:] &= ~overlap
    return order[alive]


def _overlaps(
    boxes: NDArray[np.float32],
    areas: NDArray[np.float32],
    rows: NDArray[np.int64],
    start: int,
    iou_threshold: float,
) -> NDArray[np.bool_]:
    """Return which of ``boxes[start:]`` each of ``boxes[rows]`` covers beyond the threshold."""
    x1, y1, x2, y2 = boxes[start:].T
    left, top, right, bottom = (boxes[rows, i, None] for i in range(4))
    width = np.minimum(right, x2) - np.maximum(left, x1)
    height = np.minimum(bottom, y2) - np.maximum(top, y1)
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    intersection = np.multiply(width, height, out=width)
    union = np.add(areas[rows, None], areas[start:], out=height)
    union -= intersection
    # Compared as a product: a box without area neither divides by zero nor suppresses.
    union *= np.float32(iou_threshold)
    result: NDArray[np.bool_] = intersection > union
    return result
