"""Drawing boxes and labels into pictures, readable on a thumbnail as on 8K."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import UsageError
from yolox_deploy.pictures.images import ImageLike, as_bgr
from yolox_deploy.pictures.places import places_for
from yolox_deploy.pictures.text import Text, fit

# Blue, green and red in 0..255.
Colour: TypeAlias = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

# Red, green and blue of the first classes.  Each colour is the one that is furthest, in OKLab
# (B. Ottosson, 2020, https://bottosson.github.io/posts/oklab/), from black, white, grey and all the
# colours before it: the choice of C. Glasbey et al., "Colour displays for categorical images"
# (2007).  Only colours of lightness 0.53 to 0.93 and of chroma above 0.09 were candidates.
PALETTE = bytes.fromhex(
    "ff3c2d e100ff 00ff00 3c4bff f0b400 0f9600 ff96e1 00d2ff c31e87 87e196 "
    "9696ff 873cd2 b46900 0078b4 ffb4a5 e1f000 1ea587 965a96 969600 d26978 "
    "ff4bd2 00fff0 d278ff ff873c 78d200 ff1e78 2d87ff f0e196 5a783c 69a5d2 "
    "6969c3 c31e4b b41ec3 d2b4ff 00ff96 00c369 c387b4 a500ff 7869ff c33c00 "
    "69d2c3 b4c32d 781eff d2a569 87b478 ff69a5 d269c3 a5ff00 a55a4b b4ff87 "
    "a569d2 87f0ff 00b4c3 008796 ff8787 96c3ff f05aff c34bff 876900 ffe14b "
    "96ffd2 5aa5ff b44b78 78b43c e10fd2 c3c378 ff00a5 f0a5c3 00874b 0069d2 "
    "a569ff 00e1b4 a53c96 d28769 c39600 ff78f0 7887c3 a587d2 e1694b 5a8700"
)

# The side in pixels of a square picture whose lines are 1 pixel wide, and of one whose text has
# OpenCV's scale 1 (capitals of about 21 pixels).
SIDE_PER_PIXEL, SIDE_PER_SCALE = 250, 1300
SMALLEST_AUTOMATIC_SCALE = 0.42
LARGEST_FONT_SCALE = 100
# A line is at most this share of the shorter side of its box, or small objects would vanish.
LARGEST_LINE = 1 / 8
# The share of the picture above which labels get smaller, and the share that they may cover at all.
MUCH_TEXT, MOST_TEXT = 0.15, 0.3
# A label of which other labels would cover more than this share is left out.
MOST_COVERED = 0.1


class DrawingOptions(TypedDict, total=False):
    """The options of :meth:`Detections.draw`, which ``save`` and ``show`` take as well."""

    thickness: int | None
    font_scale: float | None
    labels: bool
    colours: Colour | Mapping[int | str, Colour] | None


def class_colour(class_id: int) -> Colour:
    """Return the colour (blue, green, red in 0..255) of a class id, always the same one.

    The first 80 ids differ; then the colours begin again.

    >>> class_colour(0)
    (45, 60, 255)
    """
    start = 3 * class_id % len(PALETTE)
    red, green, blue = PALETTE[start : start + 3]
    return blue, green, red


def text_colour(background: Colour) -> Colour:
    """Return black or white: what has the higher contrast on a background (blue, green, red).

    The contrast ratio is that of WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio.

    >>> text_colour((0, 255, 255)), text_colour((128, 0, 0))
    ((0, 0, 0), (255, 255, 255))
    """
    return max((BLACK, WHITE), key=lambda colour: contrast_ratio(colour, background))


def contrast_ratio(one: Colour, other: Colour) -> float:
    """Return WCAG's contrast ratio of two colours (blue, green, red), from 1 to 21."""
    low, high = sorted((_relative_luminance(one), _relative_luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _relative_luminance(colour: Colour) -> float:
    """Return a colour's luminance in 0..1 (https://www.w3.org/TR/WCAG22/#dfn-relative-luminance)."""
    blue, green, red = (
        v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4
        for v in colour
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def draw_boxes(
    image: ImageLike,
    xyxy: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    labels: Sequence[str] = (),
    *,
    thickness: int | None = None,
    font_scale: float | None = None,
    colours: Colour | Mapping[int, Colour] | None = None,
) -> NDArray[np.uint8]:
    """Return ``image``, (h, w, 3) uint8 BGR, with every box drawn in, the first on top.

    ``image`` is of any kind that a detector takes; it is not changed.  ``xyxy`` is (N, 4) in
    pixels of the picture; ``labels`` are N texts, or none.  A label is written beside its box where
    it covers least of other labels and objects.  A text that does not fit into the picture is
    written smaller, and cut off where that is not enough.  In a crowd, text gets smaller, and the
    labels for which there is no room are left out, the last ones first; every box is drawn.

    ``thickness`` is that of the lines in pixels and ``font_scale`` OpenCV's scale of the text; by
    default both grow with the picture.  ``colours`` is one colour (blue, green, red) for all boxes,
    or a mapping of class ids to colours (default: :func:`class_colour`).

    Raises :class:`~yolox_deploy.errors.UsageError` for options that make no sense.
    """
    _check(thickness, font_scale)
    canvas = as_bgr(image).copy()
    height, width = canvas.shape[:2]
    side = math.sqrt(height * width)
    lines = _line_widths(xyxy, thickness, max(1, round(side / SIDE_PER_PIXEL)))
    chosen = [_colour_of(int(class_id), colours) for class_id in class_ids]
    # What lies further outside than its line is wide cannot be seen; and OpenCV takes 32 bits.
    beyond = 2 * max(lines, default=1)
    limits = np.array((width, height, width, height)) + beyond
    corners = xyxy.astype(np.float64).clip(-beyond, limits).round().astype(np.int64)
    for index in range(len(xyxy) - 1, -1, -1):
        x1, y1, x2, y2 = corners[index].tolist()
        cv2.rectangle(canvas, (x1, y1), (x2, y2), chosen[index], lines[index])
    if labels:
        outer = (np.array(lines).reshape(-1, 1) // 2) * (-1, -1, 1, 1) + (0, 0, 1, 1)
        scale = font_scale or max(SMALLEST_AUTOMATIC_SCALE, side / SIDE_PER_SCALE)
        texts = [fit(label, scale, (height, width)) for label in labels]
        if font_scale is None:
            texts = _smaller_where_many(texts, (height, width))
        _write_labels(canvas, (corners + outer).astype(np.float32), texts, chosen)
    return canvas


def _smaller_where_many(texts: list[Text | None], picture: tuple[int, int]) -> list[Text | None]:
    """Return the texts in smaller letters where they would cover much of the picture."""
    share = sum(text.width * text.height for text in texts if text) / math.prod(picture)
    if share <= MUCH_TEXT:
        return texts
    factor = math.sqrt(MUCH_TEXT / share)
    return [
        text and fit(text.content, max(SMALLEST_AUTOMATIC_SCALE, text.scale * factor), picture)
        for text in texts
    ]


def _write_labels(
    canvas: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    texts: Sequence[Text | None],
    colours: Sequence[Colour],
) -> None:
    """Write the labels of ``boxes`` (N, 4), with their lines, into ``canvas``, the best first.

    As many as there is room for: ``MOST_TEXT`` of the picture, but always the first.
    """
    height, width = canvas.shape[:2]
    room = MOST_TEXT * height * width
    shown: dict[int, Text] = {}
    for index, text in enumerate(texts):
        if text is not None:
            room -= text.width * text.height
            if room < 0 and shown:
                break
            shown[index] = text
    sizes = {index: (text.width, text.height) for index, text in shown.items()}
    places = places_for(boxes, sizes, (height, width), MOST_COVERED)
    for index, (left, top) in places.items():
        text, colour = shown[index], colours[index]
        canvas[top : top + text.height, left : left + text.width] = colour
        text.write(canvas, left, top, text_colour(colour))


def _line_widths(xyxy: NDArray[np.float32], thickness: int | None, usual: int) -> list[int]:
    """Return how wide the lines of each box are in pixels; narrower ones for small boxes."""
    if thickness is not None:
        return [thickness] * len(xyxy)
    shorter = (xyxy[:, 2:] - xyxy[:, :2]).min(1) if len(xyxy) else np.empty(0)
    return [max(1, min(usual, round(float(s) * LARGEST_LINE))) for s in shorter]


def _colour_of(class_id: int, colours: Colour | Mapping[int, Colour] | None) -> Colour:
    """Return the colour of a class, checked."""
    if isinstance(colours, Mapping):
        colour: Any = colours.get(class_id)
    else:
        colour = colours
    if colour is None:
        return class_colour(class_id)
    try:
        blue, green, red = (int(v) for v in colour)
        if isinstance(colour, str) or not all(0 <= v <= 255 for v in (blue, green, red)):
            raise ValueError(colour)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"a colour is (blue, green, red), each 0 to 255, got {colour!r}"
        ) from error
    return blue, green, red


def _check(thickness: int | None, font_scale: float | None) -> None:
    if thickness is not None and not (isinstance(thickness, (int, np.integer)) and thickness >= 1):
        raise UsageError(f"thickness must be a whole number of pixels from 1 up, got {thickness!r}")
    if font_scale is not None:
        try:
            good = 0 < font_scale <= LARGEST_FONT_SCALE
        except TypeError:
            good = False
        if not good:
            raise UsageError(
                f"font_scale must lie above 0, up to {LARGEST_FONT_SCALE}, got {font_scale!r}"
            )
