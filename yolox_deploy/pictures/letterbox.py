"""The letterbox: a picture of any size becomes the network's input.

The picture is shrunk or enlarged by one ratio, pasted at the top left of a grey canvas, and laid
out as float32 planes.  Boxes go back to the picture by dividing by the ratio.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.pictures.convention import InputConvention


class Placed(NamedTuple):
    """Where a picture lies in its input tensor: the ratio, and its height and width there."""

    ratio: float
    size: tuple[int, int]


class Letterbox:
    """Writes pictures into input tensors of one size and one convention.

    Holds constants, and for each thread the memory of its last picture's size: one instance serves
    any number of threads, and pictures of one size need no new memory.
    """

    def __init__(self, height: int, width: int, convention: InputConvention) -> None:
        self.height = height
        self.width = width
        self.channels = (0, 1, 2) if convention.colour_order == "BGR" else (2, 1, 0)
        # A pixel has 256 values, so the formula is evaluated once a value instead of once a pixel;
        # the order of operations is that of the original, to agree to the bit.
        values = np.arange(256, dtype=np.float32)[None, :] * np.ones((3, 1), np.float32)
        if convention.scale == 1 / 255:
            values /= np.float32(255)
        else:
            values *= np.float32(convention.scale)
        # In place with float64 operands: computed in float64 and rounded after each step.
        values -= np.asarray(convention.mean)[:, None]
        values /= np.asarray(convention.std)[:, None]
        self.table: NDArray[np.float32] = values
        self.plain = bool((values == np.arange(256)).all())
        self.grey = convention.pad_value
        self.pad: NDArray[np.float32] = values[:, convention.pad_value].copy()
        self._kept = threading.local()

    def ratio(self, height: int, width: int) -> float:
        """Return the factor from pixels of a (height, width) picture to pixels of the input."""
        return min(self.height / height, self.width / width)

    def __call__(self, image: NDArray[np.uint8], out: NDArray[Any]) -> float:
        """Write ``image`` (h, w, 3) uint8 BGR into ``out``; return the ratio.

        ``out`` is (3, H, W) float32, or (H, W, 3) uint8 for graphs that prepare the pixels.
        Sizes are truncated like the original's, but never below one pixel.
        """
        return self.place(image, out).ratio

    def place(
        self,
        image: NDArray[np.uint8],
        out: NDArray[Any],
        padded: tuple[int, int] | None = None,
    ) -> Placed:
        """Write ``image`` into ``out`` as a call does; return its ratio and its size in there.

        ``padded`` is the size of the picture that ``out`` holds, if the grey around it is there.
        """
        ratio = self.ratio(*image.shape[:2])
        height = max(1, int(image.shape[0] * ratio))
        width = max(1, int(image.shape[1] * ratio))
        if out.dtype == np.uint8:
            part = out[:height, :width]
            cv2.resize(image, (width, height), part, interpolation=cv2.INTER_LINEAR)
            if padded != (height, width):
                out[height:] = self.grey
                out[:height, width:] = self.grey
            return Placed(ratio, (height, width))
        pixels, planes = self._memory(height, width)
        cv2.resize(image, (width, height), pixels, interpolation=cv2.INTER_LINEAR)
        # OpenCV takes the planes apart, NumPy makes floats of them: faster than either does both.
        cv2.split(pixels, planes)
        for target, source in enumerate(self.channels):
            part = out[target, :height, :width]
            if self.plain:
                part[...] = planes[source]
            else:
                cv2.LUT(planes[source], self.table[target], part)
        if padded != (height, width):
            out[:, height:, :] = self.pad[:, None, None]
            out[:, :height, width:] = self.pad[:, None, None]
        return Placed(ratio, (height, width))

    def _memory(self, height: int, width: int) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
        """Return this thread's memory for pixels (height, width, 3) and for their planes."""
        kept = self._kept.__dict__
        if kept.get("size") != (height, width):
            kept["pixels"] = np.empty((height, width, 3), np.uint8)
            kept["planes"] = [np.empty((height, width), np.uint8) for _ in range(3)]
            kept["size"] = height, width
        return kept["pixels"], kept["planes"]


class Canvas:
    """The input tensor of one batch, kept from call to call; one call at a time may use it.

    The grey around a picture is written again only where a picture of another size was.
    """

    def __init__(self, letterbox: Letterbox, tensor: NDArray[Any]) -> None:
        self.letterbox = letterbox
        self.tensor = tensor
        self._padded: list[tuple[int, int] | None] = [None] * len(tensor)

    def write(self, images: Sequence[NDArray[np.uint8]]) -> list[float]:
        """Write as many pictures (h, w, 3) uint8 BGR as there is room for; return the ratios."""
        ratios = []
        for index, image in enumerate(images):
            placed = self.letterbox.place(image, self.tensor[index], self._padded[index])
            self._padded[index] = placed.size
            ratios.append(placed.ratio)
        return ratios
