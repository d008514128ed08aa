"""What the numbers of an output tell: whether a YOLOX head made it, and how boxes are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ArtifactError
from yolox_deploy.pictures.convention import RAW_INPUT
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.spec import ModelSpec, OutputKind
from yolox_deploy.tasks.boxes import BOX, OBJECTNESS
from yolox_deploy.tasks.grid import grid_and_strides

# Rounding in half precision may leave 0..1 by a little.
ROUNDING = 1e-3
# Correlation of a box column with the grid: decoded centres 0.996, raw ones at most 0.82 (inputs of
# 64 pixels; 0.53 from 160 pixels on).
GRID_CORRELATION = 0.9
# Corners follow the grid in all four columns (0.9), widths and heights do not (0.45).
CORNERS_CORRELATION = 0.8
# 95 % of all boxes lie within 1.9 cells of their own, and have up to 1.1 times the input's side.
MOST_CELLS, LARGEST_BOX = 6.0, 4.0
# What is above would leave the range of float32.
MOST_EXPONENT = 80
QUANTILE = 0.95
# Correlation of an output with that of the picture moved by (rows, columns) pixels, cell by cell:
# at least 0.60 in the right order of rows, with either input, and at most 0.38 in any other.
# Smaller inputs have too few cells to tell.
MOVE = (32, 64)
MOVED_CORRELATION = 0.5
SMALLEST_MOVED = 160

Array = NDArray[np.float32]
Run = Callable[[Array], Array]

ADVICE = "export it again with its original code, or from its checkpoint with yolox-export"


def output_kind(
    where: str, spec: ModelSpec, run: Run, pictures: Sequence[NDArray[np.uint8]]
) -> tuple[OutputKind, str]:
    """Return how the boxes of a model without a spec are stored, and what was seen, in words.

    ``where`` names the artifact.  ``run`` takes (1, 3, H, W) and returns (1, A, 5 + C) for the H,
    W and C of ``spec``; ``pictures`` are (h, w, 3) uint8 BGR.  They are given to the model as plain
    0..255 values: models of legacy input answer well enough to be judged, and the other way round
    they do not.

    Raises :class:`ArtifactError` for an output that is none of a YOLOX detector.
    """
    letterbox = Letterbox(spec.height, spec.width, RAW_INPUT)
    views = [np.empty((3, spec.height, spec.width), np.float32) for _ in pictures]
    for picture, view in zip(pictures, views, strict=True):
        letterbox(picture, view)
    outputs = np.concatenate([run(view[None]).copy() for view in views])
    _check_probabilities(where, outputs[..., OBJECTNESS.start :])
    kind, seen = _judged_boxes(where, spec, outputs[..., BOX])
    if kind == "raw" and min(spec.height, spec.width) >= SMALLEST_MOVED:
        moved = np.concatenate([run(_moved(view, letterbox.pad)[None]).copy() for view in views])
        _check_order(where, spec, outputs, moved)
    return kind, seen


def _check_probabilities(where: str, columns: Array) -> None:
    """Refuse objectness and class scores (..., 1 + C) that cannot be probabilities."""
    if not np.isfinite(columns).all():
        raise ArtifactError(f"{where} returns values that are not finite: {ADVICE}")
    low, high = columns.min(), columns.max()
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ArtifactError(
            f"{where} returns {low:.4g} to {high:.4g} in the columns of objectness and "
            "classes, where a YOLOX detector returns 0 to 1: these are logits (the sigmoid is "
            f"missing), or it is another network; {ADVICE}"
        )
    if np.ptp(columns[..., 0]) == 0:
        raise ArtifactError(
            f"{where} returns the objectness {columns[..., 0].max():.4g} everywhere, so it is no "
            f"YOLOX detector, or not a trained one; {ADVICE}"
        )


def _judged_boxes(where: str, spec: ModelSpec, boxes: Array) -> tuple[OutputKind, str]:
    """Return how boxes (N, A, 4) are stored; raises :class:`ArtifactError` for any other way."""
    grid, stride = grid_and_strides(spec.height, spec.width, spec.strides)
    centres = np.broadcast_to((grid + 0.5) * stride, (*boxes.shape[:2], 2))
    follows = [_correlation(boxes[..., i], centres[..., i % 2]) for i in range(4)]
    follow = min(follows[:2])
    # How far boxes are from their own cells, in cells, if they are raw and if they are decoded.
    raw, decoded = (
        float(np.quantile(np.abs(away), QUANTILE))
        for away in (boxes[..., :2], (boxes[..., :2] - centres) / stride)
    )
    if decoded <= min(raw, MOST_CELLS) and min(follows[2:]) < CORNERS_CORRELATION:
        return "decoded", f"they follow the grid (correlation {follow:.3f})"
    if follow > GRID_CORRELATION:
        growth = float(np.polyfit(centres[..., 0].ravel(), boxes[..., 0].ravel(), 1)[0])
        problem = (
            "as two corners, expected are centre and size"
            if min(follows[2:]) > CORNERS_CORRELATION
            else f"in units of {1 / growth:.4g} pixels, expected are pixels of the input"
        )
        raise ArtifactError(f"{where} returns boxes {problem}; {ADVICE}")
    sides = np.exp(np.minimum(boxes[..., 2:], MOST_EXPONENT)) * stride
    largest = float(np.quantile(sides, QUANTILE)) / max(spec.height, spec.width)
    if raw <= MOST_CELLS and largest <= LARGEST_BOX:
        return "raw", f"they do not follow the grid (correlation {follow:.2f})"
    raise ArtifactError(
        f"{where} returns boxes that are neither decoded nor raw: their correlation with the grid "
        f"is {follow:.2f} (decoded boxes: 0.99), and taken for raw they would lie {raw:.3g} cells "
        f"from their own (raw boxes: 2) and be {largest:.3g} times as large as the input: columns "
        f"or rows have another order, or it is another network; {ADVICE}"
    )


def _check_order(where: str, spec: ModelSpec, outputs: Array, moved: Array) -> None:
    """Refuse outputs (N, A, 5 + C) that do not move with the picture."""
    found, weights, start = [], [], 0
    for stride in spec.strides:
        rows, columns = spec.height // stride, spec.width // stride
        down, right = MOVE[0] // stride, MOVE[1] // stride
        end = start + rows * columns
        here, there = (
            output[:, start:end, : OBJECTNESS.stop].reshape(-1, rows, columns, OBJECTNESS.stop)
            for output in (outputs, moved)
        )
        here, there = here[:, : rows - down, : columns - right], there[:, down:, right:]
        for mine, theirs in zip(here, there, strict=True):
            for column in range(OBJECTNESS.stop):
                found.append(_correlation(mine[..., column], theirs[..., column]))
                weights.append(mine[..., column].size)
        start = end
    together = float(np.average(found, weights=weights))
    if together < MOVED_CORRELATION:
        raise ArtifactError(
            f"{where} returns rows in another order than a YOLOX detector (strides 8, 16, 32, "
            "each row by row): when a picture is moved, the output does not move with it "
            f"(correlation {together:.2f}, expected is more than {MOVED_CORRELATION:g}); {ADVICE}"
        )


def _moved(view: Array, pad: Array) -> Array:
    """Return a picture (3, H, W), moved to the lower right by ``MOVE``."""
    down, right = MOVE
    result = np.empty_like(view)
    result[:] = pad[:, None, None]
    result[:, down:, right:] = view[:, :-down, :-right]
    return result


def _correlation(a: Array, b: Array) -> float:
    """Return Pearson's correlation, 0 if one of them is constant."""
    a, b = (values - values.mean(dtype=np.float64) for values in (a, b))
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0
