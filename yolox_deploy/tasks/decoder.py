"""The one decoder: head output of any engine to scored boxes in input pixels.

``xy = (raw_xy + grid) * stride``, ``wh = exp(raw_wh) * stride``, score = objectness times the best
class score (YOLOX, arXiv 2107.08430, and its reference implementation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Squares of larger coordinates leave float32's range in the NMS.
LARGEST_COORDINATE = 1e6


class Candidates(NamedTuple):
    """Scored boxes before NMS, in the order of the rows they come from.

    ``xyxy`` (K, 4) float32 in input pixels, ``scores`` (K,) float32, ``class_ids`` (K,) int64.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]


def grid_and_strides(
    height: int, width: int, strides: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cells' column and row (A, 2) and their stride (A, 1), stride by stride."""
    grids, scales = [], []
    for stride in strides:
        rows, columns = height // stride, width // stride
        y, x = np.mgrid[:rows, :columns].astype(np.float32)
        grids.append(np.stack((x, y), -1).reshape(-1, 2))
        scales.append(np.full((rows * columns, 1), stride, np.float32))
    return np.concatenate(grids), np.concatenate(scales)


class Decoder:
    """Decodes outputs of one input size; the grid is made once.

    Holds no other state, so one instance serves any number of threads.
    """

    def __init__(
        self,
        height: int,
        width: int,
        strides: Sequence[int] = (8, 16, 32),
        *,
        decoded: bool = False,
    ) -> None:
        self.decoded = decoded
        self.grid, self.stride = grid_and_strides(height, width, strides)

    def decode(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return all rows of a raw output (..., A, 5 + C) with boxes as centre and size (pixels).

        For comparing whole outputs; :meth:`candidates` decodes only the rows that matter.
        """
        if self.decoded:
            return output
        result = output.copy()
        result[..., :2] = (output[..., :2] + self.grid) * self.stride
        with np.errstate(over="ignore"):
            result[..., 2:4] = np.exp(output[..., 2:4]) * self.stride
        return result

    def candidates(self, output: NDArray[np.float32], score_threshold: float) -> Candidates:
        """Return the boxes of one picture's output (A, 5 + C) with ``score >= score_threshold``.

        Rows whose objectness alone is below the threshold are never read further: class scores
        are at most 1.  Boxes beyond a million pixels, which only overflow makes, are dropped.
        """
        rows = np.flatnonzero(output[:, 4] >= score_threshold)
        picked = output[rows]
        class_ids = picked[:, 5:].argmax(1)
        scores = picked[:, 4] * picked[np.arange(len(rows)), 5 + class_ids]
        good = scores >= score_threshold
        if not good.all():
            rows, picked, class_ids, scores = (
                rows[good],
                picked[good],
                class_ids[good],
                scores[good],
            )
        if self.decoded:
            centre, half = picked[:, :2], picked[:, 2:4] / 2
        else:
            centre = (picked[:, :2] + self.grid[rows]) * self.stride[rows]
            with np.errstate(over="ignore"):
                half = np.exp(picked[:, 2:4]) * (self.stride[rows] / 2)
        xyxy: NDArray[np.float32] = np.concatenate((centre - half, centre + half), 1)
        # NaN fails the comparison too.
        sane = (np.abs(xyxy) < LARGEST_COORDINATE).all(1)
        if not sane.all():
            return Candidates(xyxy[sane], scores[sane], class_ids[sane])
        return Candidates(xyxy, scores, class_ids)
