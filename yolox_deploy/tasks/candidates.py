"""Candidates: what is found in one picture before, and after, the suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Candidates:
    """Arrays by name with one leading axis, the candidates in the order of their rows.

    Every task has ``xyxy`` (K, 4) float32 in input pixels, ``scores`` (K,) float32 and
    ``class_ids`` (K,) int64; a task may add arrays of its own.  Indexing with a mask, a slice or
    indices picks from all arrays alike.
    """

    __slots__ = ("arrays", "class_ids", "scores", "xyxy")

    def __init__(
        self,
        xyxy: NDArray[np.float32],
        scores: NDArray[np.float32],
        class_ids: NDArray[np.int64],
        **more: NDArray[Any],
    ) -> None:
        self.xyxy = xyxy
        self.scores = scores
        self.class_ids = class_ids
        self.arrays: dict[str, NDArray[Any]] = more

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, indices: NDArray[np.int64]) -> Candidates:
        """Return the candidates of these indices; many times faster than indexing with few."""
        # The decoder's boxes are planes, of which NumPy would make rows first.
        boxes = self.xyxy.T.take(indices, 1).T
        found = Candidates(boxes, self.scores.take(indices), self.class_ids.take(indices))
        if self.arrays:
            found.arrays = {name: array.take(indices, 0) for name, array in self.arrays.items()}
        return found

    def __getitem__(self, index: NDArray[Any] | slice) -> Candidates:
        found = Candidates(self.xyxy[index], self.scores[index], self.class_ids[index])
        if self.arrays:
            found.arrays = {name: array[index] for name, array in self.arrays.items()}
        return found
