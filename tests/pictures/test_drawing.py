"""Drawing: on a copy, inside the picture, whatever the picture and the boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from yolox_deploy import Detections
from yolox_deploy.errors import UsageError
from yolox_deploy.pictures.drawing import (
    Colour,
    class_colour,
    contrast_ratio,
    draw_boxes,
    text_colour,
)

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


def test_labels_and_boxes_leave_the_rest_of_the_picture() -> None:
    """Boxes without labels differ from boxes with labels only where a label is."""
    image = np.full((100, 120, 3), 7, np.uint8)
    with_labels, without = BOX.draw(image), BOX.draw(image, labels=False)
    rows, columns = np.nonzero((with_labels != without).any(2))
    assert rows.max() < 30
    assert rows.min() > 0
    assert columns.max() - columns.min() < 80


@pytest.mark.parametrize("size", [(150, 200), (480, 640), (1080, 1920), (4320, 7680)])
def test_lines_and_labels_grow_with_the_picture(size: tuple[int, int]) -> None:
    height, width = size
    box = np.array([[0.3 * width, 0.4 * height, 0.7 * width, 0.8 * height]])
    found = Detections(box, [0.9], [0], ("person",))
    image = np.zeros((height, width, 3), np.uint8)
    lines = (found.draw(image, labels=False)[height // 2, : width // 2] > 0).any(1).sum()
    usual = (height * width) ** 0.5 / 250
    assert max(1, usual - 1) <= lines <= usual + 2
    label = (found.draw(image) != found.draw(image, labels=False)).any(2)
    tall, wide = (label.any(axis).sum() for axis in (1, 0))
    assert tall >= 10
    assert 0.02 <= tall / height <= 0.13
    assert wide / width <= 0.45


def test_the_lines_of_small_boxes_leave_the_object_visible() -> None:
    image = np.zeros((2000, 3000, 3), np.uint8)
    drawn = Detections([[100, 100, 116, 116]], [0.9], [0]).draw(image, labels=False)
    assert (drawn[104:112, 104:112] == 0).all()
    assert (drawn[100, 100:117] > 0).any(1).all()


def test_the_best_detections_keep_their_labels_in_a_crowd() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 100, (300, 2))
    boxes = np.concatenate((corners, corners + random.uniform(4, 60, (300, 2))), 1)
    found = Detections(boxes, np.linspace(0.99, 0.3, 300), random.integers(0, 80, 300))
    image = np.zeros((150, 200, 3), np.uint8)
    drawn = found.draw(image)
    assert (drawn == found.draw(image)).all()
    label = (drawn != found.draw(image, labels=False)).any(2)
    assert 0.05 < label.mean() < 0.31
    # The best one's is there, wherever it is: without it the picture is another one.
    others = ["", *found.labels()[1:]]
    assert (drawn != draw_boxes(image, found.xyxy, found.class_ids, others)).any()


@pytest.mark.parametrize(
    "options",
    [
        {"thickness": 5},
        {"font_scale": 1.5},
        {"labels": False},
        {"colours": (1, 2, 3)},
        {"colours": {"dog": (1, 2, 3)}},
        {"colours": {0: (1, 2, 3)}},
        {"colours": [1, 2, 3]},
        {"thickness": np.int64(3), "font_scale": np.float32(1)},
    ],
)
def test_every_option_changes_the_drawing(options: dict[str, Any]) -> None:
    image = np.zeros((200, 240, 3), np.uint8)
    drawn = BOX.draw(image, **options)
    assert (drawn != BOX.draw(image)).any()
    if "colours" in options:
        assert (drawn[50, 20] == (1, 2, 3)).all()


def test_classes_without_a_chosen_colour_keep_their_own() -> None:
    image = np.zeros((100, 120, 3), np.uint8)
    found = Detections([[20, 30, 60, 70]] * 2, [0.9, 0.8], [1, 0], ("dog", "cat"))
    drawn = found.draw(image, colours={"dog": (1, 2, 3)})
    assert (drawn[50, 20] == class_colour(1)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thickness": 0}, "thickness"),
        ({"thickness": -1}, "-1"),
        ({"thickness": 1.5}, "whole number"),
        ({"font_scale": 0}, "font_scale"),
        ({"font_scale": float("nan")}, "nan"),
        ({"font_scale": "big"}, "big"),
        ({"font_scale": 1e9}, "100"),
        ({"colours": {"dgo": (1, 2, 3)}}, "did you mean 'dog'"),
        ({"colours": {7: (1, 2, 3)}}, "7"),
        ({"colours": (1, 2)}, r"\(blue, green, red\)"),
        ({"colours": (1, 2, 256)}, "256"),
        ({"colours": "red"}, "'red'"),
        ({"colours": {"dog": "red"}}, "'red'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BOX.draw(np.zeros((100, 120, 3), np.uint8), **options)


def test_another_picture_than_the_detected_one_is_refused() -> None:
    found = Detections([[20, 30, 60, 70]], [0.9], [0], ("dog",), (100, 120))
    assert found.draw(np.zeros((100, 120, 3), np.uint8)).shape == (100, 120, 3)
    with pytest.raises(UsageError, match=r"\(100, 120\).*\(50, 60\)"):
        found.draw(np.zeros((50, 60, 3), np.uint8))
    assert found[:0].draw(np.zeros((50, 60, 3), np.uint8)).shape == (50, 60, 3)


def in_oklab(colours: list[Colour]) -> NDArray[np.float64]:
    """Return BGR colours in OKLab (https://bottosson.github.io/posts/oklab/), (N, 3)."""
    rgb = np.array(colours)[:, ::-1] / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lms = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    result: NDArray[np.float64] = np.cbrt(lms) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )
    return result


# 0.02 is about what an eye can just tell apart side by side.
@pytest.mark.parametrize(("count", "distance"), [(10, 0.16), (20, 0.11), (40, 0.08), (80, 0.06)])
def test_colours_of_classes_can_be_told_apart(count: int, distance: float) -> None:
    lab = in_oklab([class_colour(i) for i in range(count)])
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(count, 1)]
    assert distances.min() >= distance
    # They stand out from grey, too, and are not too dark for a thin line.
    assert np.hypot(lab[:, 1], lab[:, 2]).min() > 0.05
    assert lab[:, 0].min() > 0.5


def test_class_colours_are_stable() -> None:
    # Written down: drawings of other versions have the same colours.
    assert [class_colour(i) for i in (0, 1, 79)] == [(45, 60, 255), (255, 0, 225), (0, 135, 90)]
    assert class_colour(80) == class_colour(0)
    assert class_colour(10**12) == class_colour(10**12 % 80)


def test_text_can_be_read_on_every_colour() -> None:
    # WCAG asks for 4.5; black or white always reaches that.
    for class_id in range(80):
        background = class_colour(class_id)
        assert contrast_ratio(text_colour(background), background) >= 4.5
    # The values that WCAG's own formula gives.
    assert contrast_ratio((255, 255, 255), (0, 0, 0)) == pytest.approx(21)
    assert contrast_ratio((0, 0, 255), (255, 255, 255)) == pytest.approx(3.998, abs=0.001)
    assert text_colour((255, 255, 255)) == (0, 0, 0)
    assert text_colour((0, 0, 0)) == (255, 255, 255)
