"""Boxes of several views of one picture put together: every object once, and whole.

A view is the whole picture, or a tile of it.  Tiles show small objects larger, and cut objects that
lie on their borders.  A box at an *inner* border of its tile (one that is no border of the picture)
is therefore a piece, until some other view shows more:

1. A piece goes if another tile of its row or column shows its place clear of the borders by which
   it is cut: that one sees more of the object, and decides whether there is one.
2. Of two boxes that are no pieces the better one stays, by NMS.  If they come from two views and
   their IoU is above ``SAME``, this holds for boxes of different classes, too: the views disagree
   on what one object is.
3. A piece goes if a box that stays explains it: it covers what its tile can show of that box
   (IoU above ``SAME``, of any class: half an object may look like another one), or it is of the
   same class and lies in that box (intersection over the smaller area above ``SAME``, as SAHI has
   it: F. C. Akyon et al., 2022, https://arxiv.org/abs/2202.06934).
4. Pieces on both sides of a seam whose extents along it agree (IoU of the two intervals above
   ``SAME``) are one object: its box holds them all, its score and class are those of the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.tasks.detections import Detections
from yolox_deploy.tasks.nms import Boxes, Indices, nms

SAME = 0.5
# So near to a border, as a share of the box's side or of its tile's, a box is taken to end there:
# detectors misplace the edges of whole objects by as much.
TOUCHES, TOUCHES_OF_TILE = 0.1, 0.01
# So many pairs of boxes are compared at a time, which bounds the memory.
PAIRS = 1 << 20


class View(NamedTuple):
    """What was found in one view: ``window`` is x1, y1, x2, y2 in pixels of the picture.

    ``found`` is in pixels of the window; boxes may reach beyond it.
    """

    window: tuple[int, int, int, int]
    found: Detections


class Views:
    """Boxes (N, 4) of all views in pixels of the picture, each with its view's window.

    ``cut`` (N, 4) says at which sides (left, top, right, bottom) a box ends at an inner border;
    beyond inner borders nothing is known, so boxes end there.
    """

    def __init__(self, views: Sequence[View], boxes: Boxes, image_size: tuple[int, int]) -> None:
        whole = _borders(image_size)
        # Outside the borders of the picture is nothing that a box could be cut by.
        beyond = np.array((-np.inf, -np.inf, np.inf, np.inf), np.float32)
        windows = np.array([view.window for view in views], np.float32)
        limits = np.where(windows == whole, beyond, windows)
        counts = [len(view.found) for view in views]
        self.views = np.arange(len(views)).repeat(counts)
        self.limits: Boxes = limits.repeat(counts, 0)
        low, high = self.limits[:, :2], self.limits[:, 2:]
        corners = np.clip(boxes[:, :2], low, high), np.clip(boxes[:, 2:], low, high)
        self.boxes: Boxes = np.concatenate(corners, 1)
        boxes = self.boxes
        sides = np.maximum(
            TOUCHES * (boxes[:, 2:] - boxes[:, :2]),
            TOUCHES_OF_TILE * (windows[:, 2:] - windows[:, :2]).repeat(counts, 0),
        )
        self.near: Boxes = np.concatenate((sides, sides), 1)
        self.cut: NDArray[np.bool_] = np.abs(boxes - self.limits) <= self.near
        tiles = limits[np.isfinite(limits).any(1)]
        # Tiles form a grid: the places of its columns and rows are all places of tiles.
        self.grid = [np.unique(tiles[:, axis::2], axis=0) for axis in (0, 1)]

    def better_elsewhere(self, chosen: Indices) -> NDArray[np.bool_]:
        """Return of which of the chosen boxes another tile of the same row or column shows more.

        That is one that shows the box clear of those borders where its own tile cuts it.
        """
        better = np.zeros(len(chosen), bool)
        for axis, places in enumerate(self.grid):
            near = self.near[chosen, axis, None]
            start, end = (self.boxes[chosen, axis + side, None] for side in (0, 2))
            clear = (start - near > places[:, 0]) & (end + near < places[:, 1])
            better |= self.cut[chosen, axis::2].any(1) & clear.any(1)
        return better

    def explained(
        self, chosen: Indices, by: Boxes, same_class: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return which of the chosen pieces (K,) some box of ``by`` (M, 4) explains.

        ``same_class`` (K, M) says which pairs are of one class.
        """
        pieces, limits = self.boxes[chosen, None], self.limits[chosen, None]
        areas, seen = _area(pieces), _shared(by, limits)
        inside = _area(_shared(pieces, seen))
        same = inside > SAME * (areas + _area(seen) - inside)
        # A sliver may lie beside a box that is a little too small.
        sides = TOUCHES * (by[:, 2:] - by[:, :2])
        grown = by + np.concatenate((-sides, sides), 1)
        inside = _area(_shared(pieces, grown))
        same |= same_class & (inside > SAME * np.minimum(areas, _area(by)))
        return np.asarray(same.any(1))

    def across(self, piece: int, others: Indices) -> list[Indices]:
        """Return those of ``others`` that go on with a piece, for each side that it is cut at."""
        found = []
        box, limits = self.boxes[piece], self.limits[piece]
        boxes, bounds = self.boxes[others], self.limits[others]
        for side in np.flatnonzero(self.cut[piece]).tolist():
            axis, along = side % 2, 1 - side % 2
            sign, facing = (1, side - 2) if side >= 2 else (-1, side + 2)
            # The other tile begins within this one or where it ends, and reaches further.
            fits = self.cut[others, facing] & (sign * (bounds[:, side] - limits[side]) > 0)
            fits &= sign * (bounds[:, facing] - limits[side]) <= 0
            gap = sign * (boxes[:, facing] - box[side])
            fits &= gap <= self.near[others, axis] + self.near[piece, axis]
            shared = np.minimum(boxes[:, along + 2], box[along + 2])
            shared -= np.maximum(boxes[:, along], box[along])
            both = boxes[:, along + 2] - boxes[:, along] + box[along + 2] - box[along]
            fits &= shared > SAME * (both - shared)
            found.append(others[fits])
        return found


def merged(
    views: Sequence[View],
    image_size: tuple[int, int],
    *,
    iou: float,
    class_agnostic: bool,
    clip: bool,
) -> Detections:
    """Return what all views of a picture show together, see this module's docstring.

    ``image_size`` is the picture's (height, width).  ``iou`` is the threshold of the NMS, which is
    over all classes if ``class_agnostic``; ``clip`` keeps boxes within the picture.
    """
    found = replace(together([_placed(view) for view in views]), image_size=image_size)
    classes = np.zeros_like(found.class_ids) if class_agnostic else found.class_ids
    kept, boxes = _merged(Views(views, found.xyxy, image_size), found.scores, classes, iou)
    if clip:
        borders = _borders(image_size)
        boxes = np.clip(boxes, np.tile(borders[:2], 2), np.tile(borders[2:], 2))
    return found[kept].moved(boxes)


def together(parts: Sequence[Detections]) -> Detections:
    """Return the detections of all parts as one result, one part after the other."""
    arrays: dict[str, Any] = {
        name: np.concatenate([part.arrays()[name] for part in parts]) for name in parts[0].arrays()
    }
    return replace(parts[0], **arrays)


def _merged(seen: Views, scores: Boxes, classes: Indices, iou: float) -> tuple[Indices, Boxes]:
    """Return the indices of the boxes that stay, best score first, and what they are then."""
    some = _area(seen.boxes) > 0
    cut = seen.cut.any(1)
    whole, pieces = np.flatnonzero(some & ~cut), np.flatnonzero(some & cut)
    kept = whole[nms(seen.boxes[whole], scores[whole], classes[whole], iou)]
    kept = kept[_undisputed(seen.boxes[kept], seen.views[kept])]
    boxes = seen.boxes[kept]
    pieces = _left(seen, pieces[~seen.better_elsewhere(pieces)], classes, kept, boxes)
    pieces = pieces[np.argsort(-scores[pieces], kind="stable")]
    while len(pieces):
        best, members = pieces[:1], pieces[:1].tolist()
        for member in members:
            for others in seen.across(member, pieces):
                fresh = others[~np.isin(others, members)]
                if len(fresh):
                    # The best one of its class, else the best one.
                    of_class = fresh[classes[fresh] == classes[best]]
                    members.append(int((of_class if len(of_class) else fresh)[0]))
        parts = seen.boxes[members]
        box = np.concatenate((parts[:, :2].min(0), parts[:, 2:].max(0)))[None]
        kept, boxes = np.concatenate((kept, best)), np.concatenate((boxes, box))
        pieces = _left(seen, pieces[~np.isin(pieces, members)], classes, best, box)
    order = nms(boxes, scores[kept], classes[kept], iou)
    return kept[order], boxes[order]


def _undisputed(boxes: Boxes, views: Indices) -> NDArray[np.bool_]:
    """Return which boxes, best first, are not where a better one of another view is."""
    stays, areas = np.ones(len(boxes), bool), _area(boxes)
    for i in range(len(boxes) - 1):
        if stays[i]:
            shared = _area(_shared(boxes[i], boxes[i + 1 :]))
            same = shared > SAME * (areas[i] + areas[i + 1 :] - shared)
            stays[i + 1 :] &= ~same | (views[i + 1 :] == views[i])
    return stays


def _left(seen: Views, pieces: Indices, classes: Indices, kept: Indices, boxes: Boxes) -> Indices:
    """Return the pieces that none of the kept ones, with these boxes, explains."""
    if not (len(pieces) and len(kept)):
        return pieces
    rows = max(1, PAIRS // len(kept))
    chunks = [pieces[start : start + rows] for start in range(0, len(pieces), rows)]
    same = [classes[chunk, None] == classes[kept] for chunk in chunks]
    gone = [seen.explained(c, boxes, s) for c, s in zip(chunks, same, strict=True)]
    return pieces[~np.concatenate(gone)]


def _borders(image_size: tuple[int, int]) -> Boxes:
    height, width = image_size
    return np.array((0, 0, width, height), np.float32)


def _placed(view: View) -> Detections:
    """Return what was found in a view in pixels of the picture."""
    corner = np.array(view.window[:2] * 2, np.float32)
    return view.found.moved(view.found.xyxy + corner)


def _shared(a: Boxes, b: Boxes) -> Boxes:
    """Return what boxes (..., 4) have in common; sides are negative where that is nothing."""
    return np.concatenate(
        (np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])), -1
    )


def _area(boxes: Boxes) -> Boxes:
    """Return the areas (...) of boxes (..., 4); 0 where a side is negative."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], np.float32(0))
    return np.asarray(sides[..., 0] * sides[..., 1])
