"""What a caller may give, checked: bounds, and the shapes of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import UsageError


def bound(name: str, value: float, most: float = np.inf) -> np.float32:
    """Return a bound of :meth:`Detections.filter`, checked."""
    try:
        good = 0 <= value <= most
    except (TypeError, ValueError):
        good = False
    if not good:
        where = f"in 0..{most}" if np.isfinite(most) else "0 or more"
        raise UsageError(f"{name} must be {where}, got {value!r}")
    return np.float32(value)


def shapes_expected(
    shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, NDArray[Any]]
) -> str:
    """Return in one sentence which arrays (N, *shape) belong together, and which came."""
    rows = [("N", *shape) for shape in shapes.values()]
    expected = ", ".join(
        f"{name} ({', '.join(map(str, row))}{',' * (len(row) == 1)})"
        for name, row in zip(shapes, rows, strict=True)
    )
    found = ", ".join(str(array.shape) for array in arrays.values())
    return f"detections need {expected}, got {found}"
