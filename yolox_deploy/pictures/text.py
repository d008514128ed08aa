"""Text in pictures, with the font that OpenCV brings.

From version 5 on OpenCV's font holds most scripts.  The font of version 4 holds ASCII only: there,
accents are left out and any other character becomes a question mark.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

FONT = cv2.FONT_HERSHEY_SIMPLEX
HAS_UNICODE = int(cv2.__version__.split(".")[0]) >= 5
# The strokes of letters of scale 1 in pixels; those of version 4 are thin.
STROKE = 1.5 if HAS_UNICODE else 2.0
# Smaller text cannot be read.
SMALLEST_SCALE = 0.3


class Text(NamedTuple):
    """A line of text that is ready to be written: ``width`` and ``height`` with its margin."""

    content: str
    scale: float
    width: int
    height: int
    # From the top of the label to the line that the letters stand on.
    baseline: int

    def write(self, canvas: NDArray[np.uint8], left: int, top: int, bgr: tuple[int, ...]) -> None:
        """Write into ``canvas`` (h, w, 3) in place; ``left`` and ``top`` are the label's corner."""
        place = (left + margin_of(self.scale), top + self.baseline)
        stroke = stroke_of(self.scale)
        cv2.putText(canvas, self.content, place, FONT, self.scale, bgr, stroke, cv2.LINE_AA)


def margin_of(scale: float) -> int:
    """Return the space around letters of a scale in pixels."""
    return max(1, round(3 * scale))


def stroke_of(scale: float) -> int:
    """Return how thick the strokes of letters of a scale are in pixels."""
    return max(1, round(STROKE * scale))


def printable(content: str) -> str:
    """Return ``content`` in characters that OpenCV's font has, on one line."""
    line = "".join(c if c.isprintable() else "?" for c in content)
    if HAS_UNICODE or line.isascii():
        return line
    # NFKD takes an accent from its letter: what is left of "é" is "e".
    letters = (unicodedata.normalize("NFKD", c).encode("ascii", "ignore").decode() for c in line)
    return "".join(letter or "?" for letter in letters)


def measure(content: str, scale: float) -> Text:
    """Return a text that holds only printable characters, with its size at a scale."""
    (width, height), below = cv2.getTextSize(content, FONT, scale, stroke_of(scale))
    margin = margin_of(scale)
    return Text(content, scale, width + 2 * margin, height + below + 2 * margin, height + margin)


def fit(content: str, scale: float, limits: tuple[int, int]) -> Text | None:
    """Return a text that is no larger than ``limits`` (height, width).

    A text that is too large gets smaller letters; one that is still too wide is cut off and ends in
    two dots.  ``None`` means that nothing of it can be shown.
    """
    content = printable(content)
    if not content:
        return None
    height, width = limits
    text = measure(content, scale)
    if text.width > width or text.height > height:
        factor = min(width / text.width, height / text.height)
        text = measure(content, min(scale, max(SMALLEST_SCALE, scale * factor)))
    while text.width > width and len(content) > 1:
        content = content[:-1]
        text = measure(f"{content}..", text.scale)
    return text if text.width <= width and text.height <= height else None
