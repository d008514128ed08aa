"""Large pictures in tiles: where tiles lie, what is refused, and objects on their seams."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from yolox_deploy import Detections, Detector, ModelSpec
from yolox_deploy.errors import UsageError
from yolox_deploy.mapping.tiles import Tiling
from yolox_deploy.timing import EngineSeconds, StageSeconds, summed

pytest.importorskip("onnxruntime")

SPEC = ModelSpec("small", ("cat",), height=96, width=160)


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    """The bundled model of digits, whose input is 320 x 320; one stream, which takes batches."""
    with Detector(threads=1) as opened:
        yield opened


def digit_in(
    size: tuple[int, int], corner: tuple[int, int], height: int, digit: int = 8
) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """A picture (height, width) of one digit, and the digit's box."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("PIL")
    folder = str(Path(__file__).parents[2] / "examples" / "digits")
    sys.path.insert(0, folder)
    try:
        from digits import write_digit
    finally:
        sys.path.remove(folder)
    ground = np.empty((*size, 3), np.uint8)
    ground[:] = 90, 160, 40
    drawn = write_digit(np.random.default_rng(2), ground.copy(), digit, (height, height + 2))
    glyph = replace(drawn, x=corner[0], y=corner[1])
    glyph.paint_on(ground)
    return ground, glyph.box


@settings(max_examples=40)
@given(
    *(st.integers(1, 600), st.integers(1, 600), st.integers(48, 400), st.integers(48, 400)),
    st.floats(0, 0.8),
)
def test_tiles_cover_the_picture_and_overlap_as_asked(
    height: int, width: int, tile_height: int, tile_width: int, overlap: float
) -> None:
    windows = Tiling((tile_height, tile_width), overlap).windows(height, width, SPEC)
    assert windows[0] == (0, 0, width, height)
    if len(windows) == 1:
        assert height <= tile_height
        assert width <= tile_width
        return
    covered = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in windows[1:]:
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert (y2 - y1, x2 - x1) == (min(tile_height, height), min(tile_width, width))
        covered[y1:y2, x1:x2] = True
    assert covered.all()
    places = sorted({(x1, x2) for x1, _, x2, _ in windows[1:]})
    for (_, end), (start, _) in pairwise(places):
        assert end - start >= overlap * tile_width - 1


def test_a_tile_is_as_large_as_the_input_unless_told_otherwise() -> None:
    assert Tiling().windows(96, 288, SPEC)[1:] == [(0, 0, 160, 96), (128, 0, 288, 96)]
    assert len(Tiling(96, 0).windows(96, 192, SPEC)) == 3
    assert Tiling(640, 0.99).windows(500, 640, SPEC) == [(0, 0, 640, 500)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tile": 31}, "at least 32 pixels wide and high, got 31"),
        ({"tile": (640, 0)}, "at least 32"),
        ({"tile": "640"}, "tile must be one or two integers"),
        ({"tile": (1, 2, 3)}, "tile is one side, or height and width"),
        ({"overlap": -0.1}, r"overlap must lie in 0\.\.0\.99, got -0\.1"),
        ({"overlap": 1}, r"0\.\.0\.99"),
        ({"overlap": float("nan")}, "nan"),
        ({"overlap": 0.99, "tile": 32}, "more than 10,000: choose larger tiles"),
        ({"thresholds": 0.5}, "Thresholds"),
    ],
)
def test_what_cannot_be_served_is_refused(
    arguments: dict[str, Any], message: str, detector: Detector
) -> None:
    blank = np.zeros((300, 300, 3), np.uint8)
    with pytest.raises(UsageError, match=message):
        detector.tiled(blank, **arguments)


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("height", [50, 100])
def test_an_object_on_any_seam_is_found_once(
    height: int, overlap: float, detector: Detector
) -> None:
    size = (480, 600)
    _, *tiles = Tiling(320, overlap).windows(*size, detector.spec)
    seam_x, seam_y = max(x1 for x1, *_ in tiles), max(y1 for _, y1, *_ in tiles)
    for x, y in ((20, 20), (-1, 20), (-0.5, 20), (0, 20), (20, -0.5), (-0.5, -0.5), (-0.8, -0.2)):
        corner = (
            round(seam_x + x * height) if x <= 0 else x,
            round(seam_y + y * height) if y <= 0 else y,
        )
        image, box = digit_in(size, corner, height)
        found = detector.tiled(image, 320, overlap)
        assert [d.name for d in found] == ["8"], (corner, found.xyxy)
        assert np.abs(found.xyxy[0] - box).max() < 0.15 * height


def test_small_objects_are_found_in_tiles_only(detector: Detector) -> None:
    image, box = digit_in((1300, 1500), (700, 800), 30)
    assert len(detector(image)) == 0
    found = detector.tiled(image)
    assert [d.name for d in found] == ["8"]
    assert np.abs(found.xyxy[0] - box).max() < 5
    assert found.image_size == (1300, 1500)


def test_a_picture_no_larger_than_a_tile_is_detected_as_usual(detector: Detector) -> None:
    image, _ = digit_in((200, 300), (50, 50), 80)
    expected = detector(image)
    assert len(expected) == 1
    assert detector.tiled(image) == detector.tiled(image, 640, 0.99) == expected


def test_batches_streams_and_frames_give_the_same(detector: Detector, tmp_path: Path) -> None:
    image, _ = digit_in((480, 600), (250, 180), 90)
    expected = detector.tiled(image, 320)
    with Detector(threads=2) as several:
        for found in (several.tiled(image, 320), several.tiled(image, 320)):
            assert_close(found, expected)
    frames = list(detector.stream([image] * 2, tile=320))
    assert all(frame.detections == expected for frame in frames)
    assert [frame.detections for frame in detector.stream([image], tile=True)] == [expected]


def assert_close(found: Detections, expected: Detections) -> None:
    assert found.class_ids.tolist() == expected.class_ids.tolist()
    np.testing.assert_allclose(found.xyxy, expected.xyxy, rtol=0, atol=0.01)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-4)


def test_times_are_summed() -> None:
    parts = [StageSeconds(1, 2, 3, 4), StageSeconds(10, 20, 30, 40)]
    assert summed(parts) == StageSeconds(11, 22, 33, 44)
    engine = EngineSeconds(1, 2, 3)
    assert summed([p._replace(engine=engine) for p in parts]).engine == EngineSeconds(2, 4, 6)
