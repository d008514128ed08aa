"""Published figures to put beside ours: other hardware, and without post-processing.

AP (COCO val2017, per cent) and milliseconds on one NVIDIA V100, batch 1, FP16, without
post-processing: the original's model zoo, https://github.com/Megvii-BaseDetection/YOLOX.  Nano and
tiny, of which the zoo gives no time, have none.
"""

from __future__ import annotations

from dataclasses import dataclass

ZOO = "Megvii's model zoo, one V100, batch 1, FP16, without post-processing"


@dataclass(frozen=True)
class Published:
    """One row: input side in pixels, AP in per cent, milliseconds where they are published."""

    side: int
    ap: float
    v100_ms: float | None


PUBLISHED: dict[str, Published] = {
    "nano": Published(416, 25.8, None),
    "tiny": Published(416, 32.8, None),
    "s": Published(640, 40.5, 9.8),
    "m": Published(640, 46.9, 12.3),
    "l": Published(640, 49.7, 14.5),
    "x": Published(640, 51.1, 17.3),
    "darknet53": Published(640, 47.7, 11.1),
}
# In the order of their cost, for "the next smaller model".
BY_COST = ("nano", "tiny", "s", "m", "l", "darknet53", "x")


def published(architecture: str | None, height: int, width: int) -> Published | None:
    """Return what is published of an architecture at its input size, ``None`` for another."""
    row = PUBLISHED.get(architecture or "")
    return row if row is not None and (height, width) == (row.side, row.side) else None
