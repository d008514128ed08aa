"""Bounds that a caller may give, checked."""

from __future__ import annotations

import numpy as np

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
