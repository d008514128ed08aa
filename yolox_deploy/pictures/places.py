"""Where labels go: beside their boxes, where they cover least."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# What is bad about a place, as weights of shares (0..1): of the label that other labels cover; of
# each object that the label hides; of the label that lies on another object, or on its own.
ON_LABEL, HIDING, ON_OTHER, ON_OWN = 8.0, 2.0, 0.5, 0.3
# What each place further down the list costs, so that of equal places the first is taken.
RANK = 0.02
# After the first round, labels move again, now that the places of all the others are known.
ROUNDS = 3

Boxes = NDArray[np.float32]


def places_for(
    boxes: Boxes,
    sizes: Mapping[int, tuple[int, int]],
    picture: tuple[int, int],
    most_covered: float = np.inf,
) -> dict[int, tuple[int, int]]:
    """Return the left and top edges of labels in pixels, the least important label first.

    ``boxes`` (N, 4) are the objects' xyxy with their lines, the most important object first;
    ``sizes`` are the labels' (width, height) by index of their box, none larger than ``picture``
    (height, width).  Labels lie inside the picture.  A label of which more important ones cover
    more than the share ``most_covered`` is left out (default: none is).  The same input always
    gives the same places.
    """
    limits = np.array((picture[1], picture[0]), np.float32)
    objects = np.clip(boxes, 0, np.tile(limits, 2)).astype(np.float32)
    places = [
        _candidates(boxes[i], np.array(size, np.float32), limits) for i, size in sizes.items()
    ]
    costs = [_cost_on_objects(p, objects, i) for i, p in zip(sizes, places, strict=True)]
    chosen = np.zeros((len(places), 4), np.float32)
    for _ in range(ROUNDS):
        before = chosen.copy()
        for own, (label, cost) in enumerate(zip(places, costs, strict=True)):
            chosen[own] = 0
            covered = _overlaps(label, chosen).sum(1) / _areas(label)
            chosen[own] = label[(cost + ON_LABEL * covered).argmin()]
        if (before == chosen).all():
            break
    covered = np.tril(_overlaps(chosen, chosen), -1)
    kept: dict[int, tuple[int, int]] = {}
    for own, (index, label) in enumerate(zip(sizes, chosen, strict=True)):
        if covered[own].sum() > most_covered * _areas(label[None])[0]:
            covered[:, own] = 0
        else:
            kept[index] = (int(label[0]), int(label[1]))
    return dict(reversed(kept.items()))


def _candidates(box: Boxes, size: Boxes, limits: Boxes) -> Boxes:
    """Return the places (K, 4) xyxy of a label about its box (4,), the usual ones first."""
    x1, y1, x2, y2 = box
    width, height = size
    middle = (x1 + x2 - width) / 2
    corners = [
        *((x1, y1 - height), (x2 - width, y1 - height)),  # above
        *((x1, y2), (x2 - width, y2)),  # below
        *((x1, y1), (x2 - width, y1)),  # inside, top
        *((x1, y2 - height), (x2 - width, y2 - height)),  # inside, bottom
        *((x1 - width, y1), (x2, y1), (x1 - width, y2 - height), (x2, y2 - height)),  # beside
        *((middle, y1 - height), (middle, y2)),
    ]
    low = np.clip(np.array(corners, np.float32), 0, limits - size).astype(np.int64)
    return np.concatenate((low, low + size), 1).astype(np.float32)


def _cost_on_objects(places: Boxes, objects: Boxes, own: int) -> Boxes:
    """Return what each of a label's places (K, 4) costs for what it covers of objects (N, 4)."""
    covered = _overlaps(places, objects)
    hidden = covered / np.maximum(_areas(objects), 1)
    lying = covered / _areas(places)[:, None] * ON_OTHER
    lying[:, own] *= ON_OWN / ON_OTHER
    result: Boxes = (HIDING * hidden + lying).sum(1)
    return result + np.arange(len(places), dtype=np.float32) * np.float32(RANK)


def _overlaps(a: Boxes, b: Boxes) -> Boxes:
    """Return the area that every box of ``a`` (K, 4) shares with every box of ``b``, (K, N)."""
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    result: Boxes = np.maximum(width, 0) * np.maximum(height, 0)
    return result


def _areas(boxes: Boxes) -> Boxes:
    result: Boxes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return result
