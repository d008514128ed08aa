"""Drawing boxes into pictures, readable at any picture size."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.pictures.images import ImageLike, as_bgr

# The golden ratio's conjugate spreads hues so that neighbouring class ids differ most.
HUE_STEP = 0.618034
FONT = cv2.FONT_HERSHEY_SIMPLEX


@lru_cache(maxsize=1024)
def class_colour(class_id: int) -> tuple[int, int, int]:
    """Return a BGR colour for a class id, always the same one."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * HUE_STEP % 1, 0.85, 0.95)
    return int(255 * blue), int(255 * green), int(255 * red)


def draw_boxes(
    image: ImageLike,
    xyxy: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    labels: Sequence[str],
) -> NDArray[np.uint8]:
    """Return ``image``, (h, w, 3) uint8 BGR, with every box drawn in, the first on top.

    ``image`` is of any kind that a detector takes; it is not changed.  ``xyxy`` is (N, 4) in
    pixels of the picture; ``class_ids`` (N,) choose the colours; ``labels`` are N texts.
    """
    canvas = as_bgr(image).copy()
    thickness = max(1, round(max(canvas.shape[:2]) / 400))
    scale = max(0.35, max(canvas.shape[:2]) / 1400)
    for index in range(len(xyxy) - 1, -1, -1):
        x1, y1, x2, y2 = (int(v) for v in xyxy[index].round().clip(-32000, 32000))
        colour = class_colour(int(class_ids[index]))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness)
        # OpenCV's fonts hold ASCII only; anything else would come out as question marks.
        text = labels[index].encode("ascii", "replace").decode()
        (text_width, text_height), base = cv2.getTextSize(text, FONT, scale, 1)
        top = max(0, y1 - text_height - base - 2)
        left = max(0, min(x1, canvas.shape[1] - text_width))
        box_end = (left + text_width, top + text_height + base + 2)
        cv2.rectangle(canvas, (left, top), box_end, colour, cv2.FILLED)
        dark = sum(colour) > 330
        cv2.putText(
            canvas,
            text,
            (left, top + text_height + 1),
            FONT,
            scale,
            (0, 0, 0) if dark else (255, 255, 255),
            1,
            cv2.LINE_AA,
        )
    return canvas
