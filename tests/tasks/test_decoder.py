"""The decoder against an independent float64 statement of grid, stride and score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from yolox_deploy.spec import ModelSpec, OutputKind
from yolox_deploy.tasks.boxes import BoxDecoder
from yolox_deploy.tasks.detect import Detect
from yolox_deploy.tasks.grid import grid_and_strides

SIZES = [(416, 416), (384, 640), (640, 384), (32, 32)]
Floats = NDArray[np.float32]


def decoder(height: int, width: int, classes: int = 3, *, decoded: bool = False) -> BoxDecoder:
    """The decoder of a detector of that size."""
    output: OutputKind = "decoded" if decoded else "raw"
    names = tuple(map(str, range(classes)))
    return Detect().decoder(ModelSpec("any", names, height, width, output=output))


def raw_output(height: int, width: int, classes: int = 3, seed: int = 0) -> Floats:
    rows = sum((height // s) * (width // s) for s in (8, 16, 32))
    rng = np.random.default_rng(seed)
    output = rng.normal(0, 1.5, (rows, 5 + classes))
    output[:, 4:] = rng.uniform(0, 1, (rows, 1 + classes))
    return output.astype(np.float32)


def stated(output: Floats, height: int, width: int) -> NDArray[np.float64]:
    """Row by row in Python floats: stride by stride, each row-major, no half-pixel offset."""
    decoded = output.astype(np.float64)
    row = 0
    for stride in (8, 16, 32):
        for y in range(height // stride):
            for x in range(width // stride):
                decoded[row, 0] = (float(output[row, 0]) + x) * stride
                decoded[row, 1] = (float(output[row, 1]) + y) * stride
                decoded[row, 2] = math.exp(float(output[row, 2])) * stride
                decoded[row, 3] = math.exp(float(output[row, 3])) * stride
                row += 1
    assert row == len(output)
    return decoded


@pytest.mark.parametrize("size", SIZES)
def test_decode_equals_the_statement(size: tuple[int, int]) -> None:
    output = raw_output(*size)
    before = output.copy()
    decoded = decoder(*size).decode(output)
    np.testing.assert_allclose(decoded, stated(output, *size), rtol=2e-6, atol=1e-4)
    np.testing.assert_array_equal(output, before)
    np.testing.assert_array_equal(decoder(*size).decode(output[None])[0], decoded)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.25, 0.9, 1.0])
@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize("size", [(384, 640), (64, 32)])
def test_candidates_equal_the_statement(
    size: tuple[int, int], decoded: bool, threshold: float
) -> None:
    output = raw_output(*size, seed=1)
    boxes = output.astype(np.float64) if decoded else stated(output, *size)
    expected = []
    for row, (x, y, w, h, *_) in enumerate(boxes):
        scores = output[row, 5:]
        best = max(range(len(scores)), key=lambda c, scores=scores: scores[c])
        score = output[row, 4] * scores[best]
        if score >= threshold:
            expected.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2, score, best))
    found = decoder(*size, decoded=decoded).candidates(output, threshold)
    assert len(found.scores) == len(expected)
    table = np.array(expected, np.float64).reshape(-1, 6)
    np.testing.assert_allclose(found.xyxy, table[:, :4], rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(found.scores, table[:, 4].astype(np.float32))
    np.testing.assert_array_equal(found.class_ids, table[:, 5].astype(int))
    assert found.xyxy.shape == (len(expected), 4)
    assert (found.xyxy.dtype, found.scores.dtype, found.class_ids.dtype) == (
        np.float32,
        np.float32,
        np.int64,
    )


def test_a_score_at_the_threshold_stays_and_one_below_goes() -> None:
    output = np.zeros((21, 7), np.float32)
    output[3, 4:] = (0.5, 0.25, 0.5)
    output[4, 4:] = (0.5, 0.25, np.nextafter(np.float32(0.5), np.float32(0)))
    output[5, 4:] = (0.25, 1.0, 0.0)
    found = decoder(32, 32).candidates(output, 0.25)
    np.testing.assert_array_equal(found.scores, [0.25, 0.25])
    np.testing.assert_array_equal(found.class_ids, [1, 0])


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("value", [np.nan, np.inf, 200.0])
def test_boxes_that_are_no_numbers_are_dropped(column: int, value: float) -> None:
    output = np.zeros((21, 6), np.float32)
    output[:2, 4:] = 1
    output[0, column] = value if column > 1 or value != 200 else np.inf
    found = decoder(32, 32).candidates(output, 0.5)
    np.testing.assert_allclose(found.xyxy, [[8 - 4, -4, 8 + 4, 4]])


@pytest.mark.parametrize("column", [4, 5])
def test_scores_that_are_no_numbers_are_dropped(column: int) -> None:
    output = np.zeros((21, 6), np.float32)
    output[:2, 4:] = 1
    output[0, column] = np.nan
    assert len(decoder(32, 32).candidates(output, 0.0).scores) == 20
    assert len(decoder(32, 32).candidates(np.full_like(output, np.nan), 0.0).scores) == 0


def test_nothing_found_is_an_empty_result_of_the_right_shape() -> None:
    found = decoder(32, 32).candidates(np.zeros((21, 85), np.float32), 0.25)
    assert found.xyxy.shape == (0, 4)
    assert found.scores.shape == found.class_ids.shape == (0,)


def test_the_grid_runs_stride_by_stride_row_by_row() -> None:
    grid, strides = grid_and_strides(32, 64, (8, 16, 32))
    assert len(grid) == len(strides) == 4 * 8 + 2 * 4 + 2
    np.testing.assert_array_equal(grid[:9, 0], [0, 1, 2, 3, 4, 5, 6, 7, 0])
    np.testing.assert_array_equal(grid[:9, 1], [0] * 8 + [1])
    np.testing.assert_array_equal(np.unique(strides, return_counts=True)[1], [32, 8, 2])
