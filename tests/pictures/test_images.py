"""Pictures of every common kind, and what is none."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from yolox_deploy.errors import ImageError
from yolox_deploy.pictures.images import IMAGE_SUFFIXES, as_bgr, find_images, read_image

GREY = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)
BGR = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
ALPHA = np.full((20, 30, 1), 9, np.uint8)
# Values whose high and low bytes differ, so that a wrong reduction shows.
GREY16 = (GREY.astype(np.uint16) << 8) | (255 - GREY)
BGR16 = (BGR.astype(np.uint16) << 8) | (255 - BGR)
GREY_AS_BGR = np.repeat(GREY[:, :, None], 3, 2)

ARRAYS: dict[str, tuple[NDArray[Any], NDArray[np.uint8]]] = {
    "bgr": (BGR, BGR),
    "bgr from a reversed view": (
        np.ascontiguousarray(BGR[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        BGR,
    ),
    "grey": (GREY, GREY_AS_BGR),
    "grey with a channel": (GREY[:, :, None], GREY_AS_BGR),
    "bgra": (np.concatenate((BGR, ALPHA), 2), BGR),
    "16 bit grey": (GREY16, GREY_AS_BGR),
    "16 bit bgr": (BGR16, BGR),
    "16 bit bgra": (np.concatenate((BGR16, ALPHA.astype(np.uint16)), 2), BGR),
    "one pixel": (BGR[:1, :1], BGR[:1, :1]),
    "one row": (BGR[:1], BGR[:1]),
    "one column of grey": (GREY[:, :1], GREY_AS_BGR[:, :1]),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_become_bgr(kind: str) -> None:
    given, expected = ARRAYS[kind]
    found = as_bgr(given)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


RGB_IMAGE = Image.fromarray(BGR[:, :, ::-1].copy())
PIL_IMAGES: dict[str, tuple[Image.Image, NDArray[np.uint8]]] = {
    "RGB": (RGB_IMAGE, BGR),
    "RGBA": (Image.fromarray(np.concatenate((BGR[:, :, ::-1], ALPHA), 2)), BGR),
    "L": (Image.fromarray(GREY), GREY_AS_BGR),
    "1": (Image.fromarray(GREY > 100), np.where(GREY_AS_BGR > 100, 255, 0).astype(np.uint8)),
    "P": (Image.fromarray(GREY).convert("P"), GREY_AS_BGR),
    "I;16": (Image.fromarray(GREY16), GREY_AS_BGR),
}


@pytest.mark.parametrize("mode", PIL_IMAGES)
def test_pil_images_become_bgr(mode: str) -> None:
    image, expected = PIL_IMAGES[mode]
    assert image.mode == mode
    np.testing.assert_array_equal(as_bgr(image), expected)


FILES: dict[str, tuple[NDArray[Any], NDArray[np.uint8]]] = {
    "bgr.png": (BGR, BGR),
    "grey.png": (GREY, GREY_AS_BGR),
    "bgra.png": (np.concatenate((BGR, ALPHA), 2), BGR),
    "grey16.png": (GREY16, GREY_AS_BGR),
    "bgr.bmp": (BGR, BGR),
    "bgr.tiff": (BGR, BGR),
    "ünï codé.png": (BGR, BGR),
}


@pytest.mark.parametrize("name", FILES)
def test_files_become_bgr(name: str, tmp_path: Path) -> None:
    given, expected = FILES[name]
    path = tmp_path / name
    done, content = cv2.imencode(path.suffix, given)
    assert done
    path.write_bytes(content.tobytes())
    for source in (path, str(path)):
        np.testing.assert_array_equal(as_bgr(source), expected)


# What a viewer shows for each value of EXIF's orientation, from the stored array.
ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pictures_are_turned_as_their_exif_data_says(orientation: int, tmp_path: Path) -> None:
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24] = (250, 10, 10)
    stored[16:, 24:] = (10, 10, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    Image.fromarray(stored[:, :, ::-1].copy()).save(path, exif=exif, quality=95, subsampling=0)
    shown = ORIENTATIONS[orientation](stored).astype(int)
    for found in (as_bgr(path), as_bgr(Image.open(path))):
        assert found.shape == shown.shape
        assert np.abs(found.astype(int) - shown).mean() < 8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4, 3), np.int32), "int32"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "batch"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.uint16), "no pixels"),
        (np.broadcast_to(np.uint8(0), (1, 1 << 31, 3)), "larger than OpenCV can resize"),
        (np.broadcast_to(np.uint16(0), (1 << 15, 1 << 15)), "larger than OpenCV can resize"),
        (Image.new("RGB", (0, 4)), None),
        (None, "NoneType"),
        (7, "int"),
        ([[1, 2], [3, 4]], "list"),
    ],
)
def test_what_is_no_picture_is_refused(given: Any, message: str | None) -> None:
    with pytest.raises(ImageError, match=message):
        as_bgr(given)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jpg", None, "no such file"),
        ("empty.jpg", b"", "empty"),
        ("text.jpg", b"no picture, whatever the name says\n" * 20, "not a picture"),
        ("header.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, None),
        ("", None, "cannot be read"),
        ("x" * 300 + ".jpg", None, None),
        ("a\0b.jpg", None, None),
    ],
)
def test_unreadable_files_are_named_in_the_error(
    name: str, content: bytes | None, message: str | None, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert str(path)[:200] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_breaks_off_is_refused_when_pil_opened_it() -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (99, 99, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    with pytest.raises(ImageError):
        as_bgr(Image.open(io.BytesIO(buffer.getvalue()[:2000])))


def test_sources_are_searched_in_order_and_once(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/deep/1.png", "a.bmp", "b/.hidden.jpg", "b/notes.txt", "odd.dat"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_images(
        [tmp_path / "odd.dat", tmp_path / "b", str(tmp_path / "*.bmp"), tmp_path / "a.bmp"]
    )
    assert [str(p.relative_to(tmp_path)) for p in found] == [
        "odd.dat",
        "b/2.JPG",
        "b/deep/1.png",
        "a.bmp",
    ]


def test_a_picture_that_several_paths_reach_is_there_once(tmp_path: Path) -> None:
    """Links that lead back to their folder give more paths than can be counted."""
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    (photos / ".hidden").mkdir()
    for name in ("a.jpg", "deep/b.jpg", ".hidden/c.jpg"):
        (photos / name).touch()
    (photos / "link.jpg").symlink_to("a.jpg")
    for name in ("loop_1", "loop_2", "deep/loop_3"):
        (photos / name).symlink_to(photos)
    sources = ["", "a.jpg", "link.jpg", "deep/../a.jpg", "loop_1/loop_2/a.jpg", "**/*.jpg", "**"]
    found = find_images(photos / source for source in sources)
    names = [str(path.relative_to(photos)) for path in found]
    assert sorted(names) == [".hidden/c.jpg", "a.jpg", "deep/b.jpg"]
    assert [p.name for p in find_images([photos / "**" / "*.jpg"])] == ["a.jpg", "b.jpg"]
    assert [p.name for p in find_images([photos / "**" / "deep" / "**" / "b.jpg"])] == ["b.jpg"]


@pytest.mark.parametrize("name", ["empty", "missing.jpg", "*.gif", "x" * 300])
def test_sources_that_give_nothing_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").touch()
    with pytest.raises(ImageError, match=r"no such file|\(looked for .*\.jpg") as caught:
        find_images([tmp_path / name])
    assert name in str(caught.value)


def test_every_suffix_in_the_table_is_found(tmp_path: Path) -> None:
    for suffix in IMAGE_SUFFIXES:
        (tmp_path / f"x{suffix}").touch()
    assert {p.suffix for p in find_images([tmp_path])} == IMAGE_SUFFIXES
