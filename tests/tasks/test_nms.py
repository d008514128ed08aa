"""NMS against a slow greedy statement of it in exact arithmetic."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from yolox_deploy.tasks.nms import BLOCK, CROWD, nms


def stated(
    boxes: list[tuple[int, int, int, int]],
    scores: list[float],
    class_ids: list[int],
    threshold: Fraction,
    agnostic: bool,
) -> list[int]:
    """One box after the other, best first, equal scores in their order."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(
            overlap(boxes[i], boxes[j]) <= threshold
            for j in kept
            if agnostic or class_ids[i] == class_ids[j]
        ):
            kept.append(i)
    return kept


def overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> Fraction:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return Fraction(width * height, union) if union else Fraction(0)


def arrays(
    boxes: list[tuple[int, int, int, int]], scores: list[float], class_ids: list[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    return (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(class_ids, np.int64),
    )


# Small integers: overlaps are exact in float32, ties at the threshold and boxes without area
# are frequent; few scores, so that equal ones are too.
CORNER, SIDE = st.integers(-4, 12), st.integers(0, 8)
BOX = st.tuples(CORNER, CORNER, SIDE, SIDE).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
ROW = st.tuples(BOX, st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0]), st.integers(0, 2))
THRESHOLD = st.sampled_from([Fraction(0), Fraction(1, 4), Fraction(1, 2), Fraction(1)])


@given(rows=st.lists(ROW, max_size=40), threshold=THRESHOLD, agnostic=st.booleans())
def test_equals_the_greedy_statement(
    rows: list[tuple[tuple[int, int, int, int], float, int]], threshold: Fraction, agnostic: bool
) -> None:
    boxes, scores, class_ids = map(list, zip(*rows, strict=True)) if rows else ([], [], [])
    found = nms(*arrays(boxes, scores, class_ids), float(threshold), class_agnostic=agnostic)
    assert found.tolist() == stated(boxes, scores, class_ids, threshold, agnostic)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("count", [CROWD, CROWD + 1, CROWD + BLOCK, 3 * CROWD + 5, 9 * BLOCK])
def test_many_boxes_equal_the_greedy_statement(count: int, agnostic: bool) -> None:
    rng = np.random.default_rng(count)
    corners = rng.integers(0, 80, (count, 2))
    boxes = [
        tuple(map(int, row))
        for row in np.concatenate((corners, corners + rng.integers(0, 60, (count, 2))), 1)
    ]
    scores = (rng.integers(1, 50, count) / 64).tolist()
    class_ids = rng.integers(0, 3, count).tolist()
    found = nms(*arrays(boxes, scores, class_ids), 0.5, class_agnostic=agnostic)
    assert found.tolist() == stated(boxes, scores, class_ids, Fraction(1, 2), agnostic)
    assert 0 < len(found) < count


def test_a_box_suppressed_across_a_block_boundary_suppresses_nothing_itself() -> None:
    # A chain: each box overlaps only its neighbours, so every second one stays.
    count = CROWD + 2 * BLOCK + 11
    boxes = [(6 * i, 0, 6 * i + 10, 10) for i in range(count)]
    scores = [1 - i / 1024 for i in range(count)]
    found = nms(*arrays(boxes, scores, [0] * count), 0.125)
    assert found.tolist() == list(range(0, count, 2))


def test_no_boxes_leave_no_boxes() -> None:
    assert nms(*arrays([], [], []), 0.5).shape == (0,)


def test_the_arguments_are_left_as_they_were() -> None:
    given_arrays = arrays([(0, 0, 4, 4), (0, 0, 4, 4)], [0.5, 0.9], [0, 0])
    copies = [a.copy() for a in given_arrays]
    assert nms(*given_arrays, 0.5).tolist() == [1]
    for before, after in zip(copies, given_arrays, strict=True):
        np.testing.assert_array_equal(before, after)


def test_boxes_of_absurd_size_are_handled_without_a_warning() -> None:
    from yolox_deploy.spec import ModelSpec
    from yolox_deploy.tasks.detect import Detect

    output = np.zeros((21, 6), np.float32)
    output[:3, 4:] = 1
    output[:2, 2:4] = 60  # exp(60) * stride: finite, its square is not
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Detect().decoder(ModelSpec("x", ("a",), 32, 32)).candidates(output, 0.5)
        kept = nms(found.xyxy, found.scores, found.class_ids, 0.5)
    ordinary = [i for i in kept if np.abs(found.xyxy[i]).max() < 100]
    assert len(ordinary) == 1
    assert len(kept) <= 2
