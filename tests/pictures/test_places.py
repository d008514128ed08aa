"""Places of labels: inside the picture, beside the objects, apart from each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from yolox_deploy.pictures.places import places_for

PICTURE = (100, 200)
SIZE = (40, 12)


def placed(*boxes: list[float], size: tuple[int, int] = SIZE) -> list[tuple[int, int]]:
    """Return the places of labels of one size, in the order of the boxes."""
    sizes = dict.fromkeys(range(len(boxes)), size)
    places = places_for(np.array(boxes, np.float32), sizes, PICTURE)
    return [places[i] for i in range(len(boxes))]


def shared(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the area that two boxes share."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(np.maximum(sides, 0).prod())


def as_box(place: tuple[int, int], size: tuple[int, int] = SIZE) -> NDArray[np.float64]:
    return np.array([*place, place[0] + size[0], place[1] + size[1]], float)


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ([50, 40, 110, 80], (50, 28)),  # above
        ([50, 4, 110, 60], (50, 60)),  # no room above: below
        ([170, 40, 190, 80], (160, 28)),  # no room to the right: moved to the left
        ([50, 4, 110, 96], (10, 4)),  # no room above or below: beside
        ([0, 0, 200, 100], (0, 0)),  # no room outside: inside
    ],
)
def test_a_lonely_label_takes_the_usual_place_with_room(
    box: list[float], place: tuple[int, int]
) -> None:
    assert placed(box) == [place]


def test_a_label_goes_below_where_another_object_is_above() -> None:
    (_, lower) = placed([50, 10, 110, 40], [50, 42, 110, 70])
    assert lower == (50, 70)


def test_labels_of_boxes_that_are_the_same_lie_apart() -> None:
    box = [60.0, 30.0, 120.0, 70.0]
    labels = [as_box(place) for place in placed(*[box] * 4)]
    for i, label in enumerate(labels):
        assert shared(label, np.array(box)) == 0
        assert all(shared(label, other) == 0 for other in labels[:i])


def test_small_objects_are_not_hidden() -> None:
    boxes = [[20.0, 40.0, 26.0, 46.0], [32.0, 40.0, 38.0, 46.0], [44.0, 40.0, 50.0, 46.0]]
    for place in placed(*boxes):
        assert all(shared(as_box(place), np.array(box)) == 0 for box in boxes)


def test_a_label_without_room_is_left_out_and_the_best_come_last() -> None:
    boxes = np.array([[0, 0, 30, 20]] * 3, np.float32)
    sizes = dict.fromkeys(range(3), (30, 15))
    assert list(places_for(boxes, sizes, (20, 30), 0.1)) == [0]
    assert list(places_for(boxes, sizes, (20, 30))) == [2, 1, 0]
    assert places_for(boxes[:0], {}, (20, 30)) == {}


@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_labels_lie_inside_apart_and_always_the_same(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(-50, 250, (count, 4)).astype(np.float32)
    boxes = np.concatenate((np.minimum(*np.split(corners, 2, 1)), corners[:, 2:]), 1)
    sizes = {i: (int(random.integers(1, 201)), int(random.integers(1, 101))) for i in range(count)}
    places = places_for(boxes, sizes, PICTURE, 0.1)
    assert places == places_for(boxes, sizes, PICTURE, 0.1)
    kept: list[NDArray[np.float64]] = []
    for index, place in reversed(places.items()):
        label = as_box(place, sizes[index])
        assert label[:2].min() >= 0
        assert label[2] <= PICTURE[1]
        assert label[3] <= PICTURE[0]
        assert sum(shared(label, other) for other in kept) <= 0.1001 * np.prod(sizes[index])
        kept.append(label)
    assert not count or 0 in places
