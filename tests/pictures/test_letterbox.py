"""The letterbox against an independent statement of the original's preprocessing, to the bit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT, InputConvention
from yolox_deploy.pictures.letterbox import Canvas, Letterbox

CONVENTIONS = {"raw": RAW_INPUT, "legacy": LEGACY_INPUT}
INPUTS = [(416, 416), (640, 640), (384, 640), (640, 384), (32, 64)]
PICTURES = [(576, 768), (768, 576), (100, 100), (416, 416), (427, 640), (37, 911), (1, 7), (13, 2)]


def picture(height: int, width: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(height * 10_000 + width)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def stated(image: NDArray[np.uint8], size: tuple[int, int], legacy: bool) -> NDArray[np.float32]:
    """The original's ``preproc`` and ``ValTransform``, step by step."""
    padded = np.ones((*size, 3), np.uint8) * 114
    ratio = min(size[0] / image.shape[0], size[1] / image.shape[1])
    width, height = int(image.shape[1] * ratio), int(image.shape[0] * ratio)
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    padded[:height, :width] = resized.astype(np.uint8)
    planes = np.ascontiguousarray(padded.transpose(2, 0, 1), dtype=np.float32)
    if legacy:
        planes = planes[::-1, :, :].copy()
        planes /= 255.0
        planes -= np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1)
        planes /= np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    return planes


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("size", INPUTS)
def test_equals_the_original_to_the_bit(convention: str, size: tuple[int, int]) -> None:
    letterbox = Letterbox(*size, CONVENTIONS[convention])
    for shape in PICTURES:
        image = picture(*shape)
        # Filled with NaN first: a pixel that is not written shows.
        out = np.full((3, *size), np.nan, np.float32)
        ratio = letterbox(image, out)
        assert ratio == min(size[0] / shape[0], size[1] / shape[1])
        np.testing.assert_array_equal(out, stated(image, size, convention == "legacy"), str(shape))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_equals_the_original_on_a_real_picture(convention: str, dog: NDArray[np.uint8]) -> None:
    for size in ((416, 416), (384, 640)):
        out = np.full((3, *size), np.nan, np.float32)
        Letterbox(*size, CONVENTIONS[convention])(dog, out)
        np.testing.assert_array_equal(out, stated(dog, size, convention == "legacy"))


@pytest.mark.parametrize("shape", [(5000, 3), (3, 5000), (1, 1), (1, 5000), (5000, 1)])
def test_extreme_pictures_keep_at_least_one_pixel(shape: tuple[int, int]) -> None:
    out = np.full((3, 416, 416), np.nan, np.float32)
    ratio = Letterbox(416, 416, RAW_INPUT)(np.full((*shape, 3), 7, np.uint8), out)
    height, width = (max(1, int(side * ratio)) for side in shape)
    assert (out[:, :height, :width] == 7).all()
    assert (out == 7).sum() == 3 * height * width
    assert (out[out != 7] == 114).all()


def test_views_with_any_strides_are_read_right() -> None:
    image = picture(60, 80)
    letterbox = Letterbox(416, 416, RAW_INPUT)
    for view in (image[::-1], image[:, ::-1, ::-1], image.transpose(1, 0, 2), image[::2, 10:50]):
        out, expected = (np.full((3, 416, 416), np.nan, np.float32) for _ in range(2))
        letterbox(view, out)
        letterbox(np.ascontiguousarray(view), expected)
        np.testing.assert_array_equal(out, expected)


def test_a_convention_of_its_own_is_applied_in_its_colour_order() -> None:
    convention = InputConvention("RGB", 0.5, (1.0, 2.0, 3.0), (2.0, 4.0, 8.0), pad_value=10)
    out = np.full((3, 32, 64), np.nan, np.float32)
    blue, green, red = 40, 80, 120
    Letterbox(32, 64, convention)(np.full((32, 32, 3), (blue, green, red), np.uint8), out)
    means_and_stds = ((1.0, 2.0), (2.0, 4.0), (3.0, 8.0))
    for plane, value, (mean, std) in zip(out, (red, green, blue), means_and_stds, strict=True):
        assert (plane[:, :32] == np.float32((value * 0.5 - mean) / std)).all()
        assert (plane[:, 32:] == np.float32((10 * 0.5 - mean) / std)).all()


def test_writes_into_a_view_of_a_batch_and_nowhere_else() -> None:
    batch = np.full((3, 3, 64, 64), -1, np.float32)
    Letterbox(64, 64, RAW_INPUT)(picture(50, 40), batch[1])
    assert (batch[0] == -1).all()
    assert (batch[2] == -1).all()
    np.testing.assert_array_equal(batch[1], stated(picture(50, 40), (64, 64), legacy=False))


@pytest.mark.parametrize("size", INPUTS)
def test_as_pixels_it_equals_the_originals_canvas(size: tuple[int, int]) -> None:
    canvas = Canvas(Letterbox(*size, LEGACY_INPUT), np.full((1, *size, 3), 7, np.uint8))
    for shape in PICTURES:
        (ratio,) = canvas.write([picture(*shape)])
        assert ratio == min(size[0] / shape[0], size[1] / shape[1])
        planes = stated(picture(*shape), size, legacy=False)
        np.testing.assert_array_equal(canvas.tensor[0].transpose(2, 0, 1), planes, str(shape))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_kept_canvas_equals_a_new_one_for_every_picture(convention: str) -> None:
    letterbox = Letterbox(96, 128, CONVENTIONS[convention])
    canvas = Canvas(letterbox, np.full((2, 3, 96, 128), np.nan, np.float32))
    order = [0, 0, 1, 2, 5, 4, 4, 6, 7, 0, 3]
    for first, second in zip(order, order[::-1], strict=True):
        images = [picture(*PICTURES[first]), picture(*PICTURES[second])]
        expected = np.full((2, 3, 96, 128), np.nan, np.float32)
        ratios = [letterbox(*pair) for pair in zip(images, expected, strict=True)]
        assert canvas.write(images) == ratios
        np.testing.assert_array_equal(canvas.tensor, expected)
