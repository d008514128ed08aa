"""Boxes must stay on what they surround, whatever happens to the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from yolox_deploy.training import Recipe
from yolox_deploy.training.data.augment import PAD, Sample, augment, flip, jitter_colours, letterbox

RED = (0, 0, 255)
RECIPE = Recipe(hsv_prob=0.0, mosaic_prob=1.0, mixup_prob=0.0)


def picture(seed: int, height: int = 90, width: int = 120) -> Sample:
    """A dark picture with one red rectangle, which is its box."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, width - 50), rng.integers(0, height - 50)
    w, h = rng.integers(25, 50, 2)
    image = np.zeros((height, width, 3), np.uint8)
    image[y : y + h, x : x + w] = RED
    return Sample(image, np.array([[x, y, x + w, y + h]], np.float32), np.array([3]))


def red(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (image[..., 2] > 140) & (image[..., 0] < 90)


def inside(boxes: NDArray[np.float32], shape: tuple[int, ...], margin: float) -> NDArray[np.bool_]:
    mask = np.zeros(shape[:2], bool)
    for x1, y1, x2, y2 in boxes:
        rows = slice(max(int(np.floor(y1 - margin)), 0), int(np.ceil(y2 + margin)))
        mask[rows, max(int(np.floor(x1 - margin)), 0) : int(np.ceil(x2 + margin))] = True
    return mask


@given(st.integers(0, 10_000))
def test_boxes_follow_the_pixels_through_a_mosaic(seed: int) -> None:
    def draw(rng: np.random.Generator) -> Sample:
        return picture(int(rng.integers(1000)))

    rng = np.random.default_rng(seed)
    # No shear and turn: a turned rectangle is smaller than its box, and full boxes can be checked.
    recipe = RECIPE.but(degrees=0.0, shear=0.0, scale=(0.7, 1.5))
    result = augment(picture(seed), draw, (128, 160), recipe, rng, mixed=True)
    assert result.image.shape == (128, 160, 3)
    coloured = red(result.image)
    for x1, y1, x2, y2 in np.round(result.boxes).astype(int):
        assert coloured[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].all()
    # What has no box is the rest of a rectangle that was cut: less than MIN_VISIBLE of it.
    outside = coloured & ~inside(result.boxes, coloured.shape, 2)
    assert outside.sum() < 4 * 0.2 * 50 * 50 * 1.5**2


@given(st.integers(0, 10_000))
def test_a_turned_and_mixed_picture_keeps_its_boxes_in_bounds(seed: int) -> None:
    recipe = Recipe(mixup_prob=1.0)
    result = augment(
        picture(seed),
        lambda rng: picture(7),
        (96, 96),
        recipe,
        np.random.default_rng(seed),
        mixed=True,
    )
    assert result.image.shape == (96, 96, 3)
    assert len(result.boxes) == len(result.labels)
    assert (result.boxes >= 0).all()
    assert (result.boxes <= 96).all()
    assert (result.boxes[:, 2:] - result.boxes[:, :2] >= 2).all()


@pytest.mark.parametrize("seed", range(3))
def test_flip_moves_box_and_pixels_together(seed: int) -> None:
    result = flip(picture(seed), 1.0, np.random.default_rng(0))
    x1, y1, x2, y2 = result.boxes[0].astype(int)
    assert red(result.image)[y1:y2, x1:x2].all()
    assert red(result.image).sum() == (x2 - x1) * (y2 - y1)


def test_the_letterbox_pads_at_the_bottom_right_with_grey() -> None:
    result = letterbox(picture(1, 60, 120), (100, 100))
    assert (result.image[50:] == PAD).all()
    assert not (result.image[:50] == PAD).all(-1).any()
    np.testing.assert_allclose(result.boxes, picture(1, 60, 120).boxes * 100 / 120, rtol=1e-6)


def test_unmixed_and_plain_is_the_letterboxed_picture() -> None:
    recipe = RECIPE.but(flip_prob=0.0)
    rng = np.random.default_rng(0)
    result = augment(picture(2), lambda _: picture(3), (96, 96), recipe, rng, mixed=False)
    expected = letterbox(picture(2), (96, 96))
    np.testing.assert_array_equal(result.image, expected.image)
    np.testing.assert_array_equal(result.boxes, expected.boxes)


def test_colour_jitter_changes_colours_and_not_boxes() -> None:
    sample = picture(4)
    recipe = Recipe(hsv=(20, 60, 60))
    result = jitter_colours(sample, recipe, np.random.default_rng(1))
    assert (result.image != sample.image).any()
    np.testing.assert_array_equal(result.boxes, sample.boxes)
    still = jitter_colours(sample, recipe.but(hsv=(0, 0, 0)), np.random.default_rng(1))
    assert np.abs(still.image.astype(int) - sample.image).max() <= 1
