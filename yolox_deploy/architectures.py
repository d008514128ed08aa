"""The seven published YOLOX architectures with everything that is published about them.

This is the only table of them: the network definition, the download of weights, the recipes of
training and the reports of benchmarks all read it.  It needs no PyTorch.

Sources: depth, width and test size are those of the original's experiment files (``exps/default``),
parameters, GFLOPs, AP and latency those of its model zoo (``README.md``), both in
https://github.com/Megvii-BaseDetection/YOLOX; its releases name the files of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from yolox_deploy.errors import UsageError, suggest

# How reports name the source of `ap` and `v100_ms`.
ZOO = "Megvii's model zoo, one V100, batch 1, FP16, without post-processing"


@dataclass(frozen=True)
class Architecture:
    """What makes one YOLOX network differ from another, and what is published about it.

    ``depth`` and ``width`` scale the number of blocks and of channels.  Figures are for 80 classes
    at an input of ``test_size`` x ``test_size`` pixels, and ``None`` where nothing is published:
    ``params_m`` in millions, ``gflops`` counting a multiplication and an addition as two, ``ap`` on
    COCO val2017 in per cent, ``v100_ms`` in milliseconds per picture (see :data:`ZOO`).
    ``release`` is the file name of the published weights without ``.pth``; ``aliases`` are other
    names that people use.
    """

    name: str
    depth: float
    width: float
    depthwise: bool = False
    darknet53: bool = False
    test_size: int = 640
    params_m: float | None = None
    gflops: float | None = None
    ap: float | None = None
    v100_ms: float | None = None
    release: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def act(self) -> Literal["silu", "lrelu"]:
        """The activation's name."""
        return "lrelu" if self.darknet53 else "silu"


# fmt: off
_ROWS = (
    #            name, depth, width, depthwise, darknet53
    #            side, parameters, GFLOPs, AP, V100 ms, weights
    Architecture("nano", 0.33, 0.25, True, False,
                 416, 0.91, 1.08, 25.8, None, "yolox_nano"),
    Architecture("tiny", 0.33, 0.375, False, False,
                 416, 5.06, 6.45, 32.8, None, "yolox_tiny"),
    Architecture("s", 0.33, 0.50, False, False,
                 640, 8.97, 26.8, 40.5, 9.8, "yolox_s"),
    Architecture("m", 0.67, 0.75, False, False,
                 640, 25.33, 73.8, 46.9, 12.3, "yolox_m"),
    Architecture("l", 1.00, 1.00, False, False,
                 640, 54.21, 155.6, 49.7, 14.5, "yolox_l"),
    Architecture("x", 1.33, 1.25, False, False,
                 640, 99.07, 281.9, 51.1, 17.3, "yolox_x"),
    Architecture("darknet53", 1.00, 1.00, False, True,
                 640, 63.72, 185.3, 47.7, 11.1, "yolox_darknet", ("yolov3", "darknet")),
)
# fmt: on

ARCHITECTURES: dict[str, Architecture] = {row.name: row for row in _ROWS}
# The names in the order of their cost (GFLOPs), the cheapest first: nano, tiny, s, ..., x.
BY_COST = tuple(row.name for row in sorted(_ROWS, key=lambda row: row.gflops or 0.0))


def architecture(name: str) -> Architecture:
    """Return the row called ``name``.

    The spellings ``s``, ``yolox_s`` and ``YOLOX-S`` are understood, and aliases such as ``yolov3``.
    Raises :class:`UsageError` for any other word.
    """
    word = name.lower().replace("-", "_").removeprefix("yolox_")
    for row in _ROWS:
        if word in (row.name, *row.aliases):
            return row
    raise UsageError(
        f"unknown architecture {name!r}: expected one of {', '.join(ARCHITECTURES)}"
        + suggest(word, ARCHITECTURES)
    )


def published(name: str | None, height: int, width: int) -> Architecture | None:
    """Return the row called ``name`` if its figures are for an input of this size.

    ``None`` for any other size and for an architecture that nobody published.
    """
    row = ARCHITECTURES.get(name or "")
    return row if row is not None and height == width == row.test_size else None
