"""Several pictures with their boxes on one sheet, so that many are seen at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ImageError
from yolox_deploy.pictures.drawing import BLACK, WHITE, draw_boxes
from yolox_deploy.pictures.images import read_image
from yolox_deploy.pictures.text import fit

Image = NDArray[np.uint8]
# The longest side of a picture, the space between pictures, and the height of the line with its
# name, in pixels; and OpenCV's scale of that text.
SIDE, GAP, LINE, SCALE = 320, 8, 18, 0.4
# How many pictures a sheet shows, and how many of them are in a row.
SHOWN, COLUMNS = 12, 4


class Annotated(NamedTuple):
    """A picture's file, its boxes (n, 4) xyxy in pixels, their class ids (n,) and n labels."""

    path: Path
    xyxy: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    labels: Sequence[str]

    def draw(self, side: int = SIDE) -> Image:
        """Return the picture with its boxes, its longer side ``side`` pixels long.

        It is scaled before boxes and labels are drawn, which can so be read whatever its size was.
        Raises :class:`ImageError`.
        """
        image = read_image(self.path)
        height, width = image.shape[:2]
        factor = side / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        small = np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)
        return draw_boxes(small, self.xyxy * np.float32(factor), self.class_ids, self.labels)


def spread(pictures: Sequence[Annotated], count: int = SHOWN) -> list[Annotated]:
    """Return ``count`` pictures from all over the sequence, those with boxes if there are enough.

    >>> none, one = np.zeros((0, 4), np.float32), np.ones((1, 4), np.float32)
    >>> rows = [Annotated(Path(str(i)), one, np.zeros(1, int), ("x",)) for i in range(9)]
    >>> [row.path.name for row in spread(rows, 3)]
    ['0', '4', '8']
    """
    boxed = [picture for picture in pictures if len(picture.xyxy)]
    chosen = boxed if len(boxed) >= min(count, len(pictures)) else pictures
    places = np.linspace(0, len(chosen) - 1, min(count, len(chosen))).round().astype(int)
    return [chosen[i] for i in places]


def mosaic(pictures: Sequence[Annotated]) -> Image:
    """Return a sheet of some of the pictures with their boxes, each below its file name.

    Pictures that cannot be read are left out; raises :class:`ImageError` if all of them are.
    """
    cells = [(p.path.name, image) for p, image in _readable(spread(pictures))]
    if not cells:
        raise ImageError("none of the annotated pictures can be read, so none can be drawn")
    return sheet(cells, COLUMNS)


def _readable(pictures: Iterable[Annotated]) -> Iterator[tuple[Annotated, Image]]:
    for picture in pictures:
        try:
            yield picture, picture.draw()
        except ImageError:
            continue


def sheet(cells: Sequence[tuple[str, Image]], columns: int) -> Image:
    """Return pictures (h, w, 3) uint8 BGR in rows of ``columns``, each below its title."""
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    width = GAP + max(image.shape[1] for row in rows for _, image in row)
    heights = [LINE + GAP + max(image.shape[0] for _, image in row) for row in rows]
    canvas = np.full((sum(heights) + GAP, width * len(rows[0]) + GAP, 3), WHITE, np.uint8)
    for row, top in zip(rows, np.cumsum([GAP, *heights]), strict=False):
        for place, (title, image) in enumerate(row):
            left = GAP + place * width
            if text := fit(title, SCALE, (LINE, width - GAP)):
                text.write(canvas, left, int(top), BLACK)
            below = int(top) + LINE
            canvas[below : below + image.shape[0], left : left + image.shape[1]] = image
    return canvas
