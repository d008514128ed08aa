"""Drawing boxes into pictures, readable at any picture size."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.pictures.images import ImageLike, as_bgr
from yolox_deploy.tasks.detections import Detections

# The golden ratio's conjugate spreads hues so that neighbouring class ids differ most.
HUE_STEP = 0.618034
FONT = cv2.FONT_HERSHEY_SIMPLEX


@lru_cache(maxsize=1024)
def class_colour(class_id: int) -> tuple[int, int, int]:
    """Return a BGR colour for a class id, always the same one."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * HUE_STEP % 1, 0.85, 0.95)
    return int(255 * blue), int(255 * green), int(255 * red)


def draw_detections(image: ImageLike, detections: Detections) -> NDArray[np.uint8]:
    """Return ``image``, (h, w, 3) uint8 BGR, with every detection drawn in, best on top.

    ``image`` is of any kind that a detector takes; it is not changed.
    """
    canvas = as_bgr(image).copy()
    thickness = max(1, round(max(canvas.shape[:2]) / 400))
    scale = max(0.35, max(canvas.shape[:2]) / 1400)
    for index in range(len(detections) - 1, -1, -1):
        (detection,) = detections[index]
        x1, y1, x2, y2 = (int(v) for v in detection.xyxy.round().clip(-32000, 32000))
        colour = class_colour(detection.class_id)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness)
        # OpenCV's fonts hold ASCII only; anything else would come out as question marks.
        name = detection.name.encode("ascii", "replace").decode()
        text = f"{name} {detection.score:.2f}"
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
