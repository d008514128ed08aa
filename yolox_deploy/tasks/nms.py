"""Greedy non-maximum suppression in NumPy, per class or over all classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
Indices = NDArray[np.int64]

# Up to so many boxes are all compared with one another, which takes the fewest calls of NumPy.
# As many as an integer of NumPy has bits.
FEW = 64
# Up to so many boxes of a class every pair is compared, all classes at once; a crowd of more is
# compared in blocks of rows, with those boxes only that are left by then.
CROWD = 96
BLOCK = 64
ZERO = np.float32(0)


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
    threshold = np.float32(iou_threshold)
    if count <= FEW:
        classes = None if class_agnostic else class_ids.take(order)
        return order.take(_kept_of_few(boxes.T.take(order, 1), classes, threshold))
    by_class = None
    if class_agnostic:
        ends = np.full(count, count)
        planes = boxes.T.take(order, 1)
    else:
        classes = class_ids.take(order)
        by_class = classes.argsort(kind="stable")
        classes = classes.take(by_class)
        planes = boxes.T.take(order.take(by_class), 1)
        ends = classes.searchsorted(classes, side="right")
    width, height = planes[2:] - planes[:2]
    areas = width * height
    gone = np.zeros(count, bool)
    # How many boxes of the same class come after each box.
    numbers = np.arange(1, count + 1)
    later = ends - numbers
    start = 0
    while np.maximum.reduce(later) >= CROWD:
        start += int((later[start:] >= CROWD).argmax())
        crowd = slice(start, int(ends[start]))
        gone[crowd] = _gone_of_crowd(planes[:, crowd], areas[crowd], threshold)
        later[crowd] = 0
    first = np.arange(count).repeat(later)
    # The pairs of box i begin behind those of the boxes before it, with box i + 1.
    second = np.arange(len(first))
    second += (numbers + later - later.cumsum()).repeat(later)
    a, b = planes.take(first, 1), planes.take(second, 1)
    covers = _covers(a, areas.take(first), b, areas.take(second), threshold).nonzero()[0]
    _settle(gone, first.take(covers), second.take(covers))
    kept: Indices = (~gone).nonzero()[0]
    if by_class is not None:
        kept = by_class.take(kept)
        kept.sort()
    return order.take(kept)


def _kept_of_few(planes: Boxes, classes: Indices | None, threshold: np.float32) -> list[int]:
    """Return which of few boxes (4, K), best score first, stay; ``None`` is one class for all."""
    width, height = planes[2:] - planes[:2]
    areas = width * height
    covers = np.zeros((len(areas), FEW), bool)
    of_first = covers[:, : len(areas)]
    _covers(planes[..., None], areas[:, None], planes[:, None], areas, threshold, of_first)
    if classes is not None:
        of_first &= classes[:, None] == classes
    # One integer per box, with the bits of the boxes that it covers.
    rows = np.packbits(covers, 1, "little").view(np.uint64)[:, 0].tolist()
    gone, kept = 0, []
    for i, row in enumerate(rows):
        if not gone >> i & 1:
            kept.append(i)
            gone |= row
    return kept


def _gone_of_crowd(planes: Boxes, areas: Boxes, threshold: np.float32) -> NDArray[np.bool_]:
    """Return which of many boxes (4, K) of one class, best score first, go."""
    gone = np.zeros(len(areas), bool)
    for start in range(0, len(areas), BLOCK):
        rest = start + (~gone[start:]).nonzero()[0]
        rows = rest[: int(rest.searchsorted(start + BLOCK))]
        count = len(rows)
        a, b = planes.take(rows, 1)[..., None], planes.take(rest, 1)[:, None]
        covers = _covers(a, areas.take(rows)[:, None], b, areas.take(rest), threshold)
        gone_here = np.zeros(count, bool)
        _settle(gone_here, *np.triu(covers[:, :count], 1).nonzero())
        gone[rows] = gone_here
        gone[rest[count:]] = covers[~gone_here, count:].any(0)
    return gone


def _settle(gone: NDArray[np.bool_], better: Indices, worse: Indices) -> None:
    """Mark what goes; ``better[i]`` covers ``worse[i]``, pairs in the order of the better box."""
    marks = gone.data
    for i, j in zip(better.tolist(), worse.tolist(), strict=True):
        if not marks[i]:
            marks[j] = True


def _covers(
    a: Boxes,
    areas_of_a: Boxes,
    b: Boxes,
    areas_of_b: Boxes,
    threshold: np.float32,
    out: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Return where boxes ``a`` (4, ...) and ``b`` (4, ...) overlap beyond the threshold."""
    sides = np.minimum(a[2:], b[2:])
    sides -= np.maximum(a[:2], b[:2])
    np.maximum(sides, ZERO, out=sides)
    intersection = np.multiply(sides[0], sides[1], out=sides[0])
    union = np.add(areas_of_a, areas_of_b, out=sides[1])
    union -= intersection
    # Compared as a product: a box without area neither divides by zero nor suppresses.
    union *= threshold
    result: NDArray[np.bool_] = np.greater(intersection, union, out=out)
    return result
