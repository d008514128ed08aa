"""The grid of cells that the rows of an output belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


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
