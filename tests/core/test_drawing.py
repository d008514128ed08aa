"""Drawing: on a copy, inside the picture, whatever the picture and the boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from yolox_deploy import Detections
from yolox_deploy.pictures.drawing import class_colour

BOX = Detections([[20, 30, 60, 70]], [0.9], [0], ("dog",))


def test_a_box_is_drawn_on_a_copy_where_it_lies() -> None:
    image = np.full((100, 120, 3), 7, np.uint8)
    drawn = BOX.draw(image)
    assert (image == 7).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    colour = class_colour(0)
    assert (drawn[70, 20:61] == colour).all()
    assert (drawn[30:71, 60] == colour).all()
    assert (drawn[40:68, 25:58] == 7).all()
    assert (drawn[:, 90:] == 7).all()


@pytest.mark.parametrize(
    ("box", "name"),
    [
        ([-50, -50, 500, 500], "dog"),
        ([0, 0, 0, 0], "dog"),
        ([1e9, 1e9, 2e9, 2e9], "dog"),
        ([-1e30, -1e30, 1e30, 1e30], "dog"),
        ([5, 5, 8, 8], "a very long class name that is wider than the picture itself"),
        ([5, 5, 8, 8], "猫 é"),
        ([5, 5, 8, 8], ""),
    ],
)
@pytest.mark.parametrize("shape", [(1, 1, 3), (50, 40, 3), (3, 500, 3)])
def test_extreme_boxes_names_and_pictures_are_drawn(
    box: list[float], name: str, shape: tuple[int, ...]
) -> None:
    drawn = Detections([box], [0.5], [0], (name,)).draw(np.zeros(shape, np.uint8))
    assert drawn.shape == shape


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((100, 120), np.uint8),
        np.zeros((100, 120, 4), np.uint8),
        np.zeros((100, 120, 3), np.uint16),
        np.zeros((100, 120, 3), np.uint8)[:, ::-1, ::-1],
    ],
    ids=["grey", "bgra", "16 bit", "reversed view"],
)
def test_any_array_that_is_detected_can_be_drawn_on(image: NDArray[Any]) -> None:
    drawn = BOX.draw(image)
    assert drawn.shape == (100, 120, 3)
    assert (drawn[70, 30:50] == class_colour(0)).all()


def test_class_colours_are_stable_and_differ() -> None:
    colours = [class_colour(i) for i in range(80)]
    assert colours == [class_colour(i) for i in range(80)]
    assert len(set(colours)) > 70
    assert all(0 <= v <= 255 for colour in colours for v in colour)
