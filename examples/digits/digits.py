"""Draws pictures of digits with exact boxes.

A detector that ships with the package has to be trained on something that anyone can make again
without a download.  Picture ``index`` of ``seed`` depends on these two numbers alone (and on the
versions of OpenCV, Pillow and Matplotlib, which bring the fonts), so pictures can be drawn in any
order, by any number of processes, and a seed that training never used is a held-out set.

A box is the tight pixel bound of the digit's own coverage after all geometry; blur, noise and
compression come later and move no box.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

CLASS_NAMES = tuple("0123456789")
MIN_SIDE, MAX_SIDE = 240, 640
MAX_DIGITS = 12
# A digit's height: at least this share of the longer side, at most that of the shorter one.
MIN_HEIGHT, MAX_HEIGHT = 0.06, 0.85
# Beyond this a 6 starts to pass for a 9 and a 1 for a 7.
MAX_ROTATION_DEG = 25.0
# A pixel belongs to the box when the glyph covers at least a quarter of it.
COVERED = 64
# Characters that no font draws like a digit, at any allowed rotation.
DISTRACTORS = "AEFHKMNRUVWXcehkmnruvwx#+=*~@"
# Heights in pixels at which glyphs are rasterised before they are warped to their size.
_LEVELS = (32, 64, 128, 256, 512)
# Luma between a digit and its ground, beside the ground's own deviation.
_CONTRAST = 55


@dataclass(frozen=True)
class Drawing:
    """One finished picture and what it shows.

    ``jpeg`` is the compressed picture, so that a file on disk and a picture in memory are the
    same to the bit; ``boxes`` is (N, 4) float32, xyxy in pixels, with the right and lower edges
    exclusive; ``labels`` is (N,) int64, each the digit's value.
    """

    jpeg: bytes
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    @property
    def image(self) -> Picture:
        """The decoded picture, (H, W, 3) uint8 BGR."""
        data = np.frombuffer(self.jpeg, np.uint8)
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


@dataclass(frozen=True)
class Glyph:
    """A character in its place: coverage (h, w) uint8 and paint (h, w, 3) uint8 at ``x, y``."""

    label: int | None
    x: int
    y: int
    coverage: Mask
    paint: Picture

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Tight xyxy bounds, in pixels of the picture, of what the glyph covers."""
        covered = self.coverage >= COVERED
        columns = np.flatnonzero(covered.any(0))
        rows = np.flatnonzero(covered.any(1))
        return (
            self.x + int(columns[0]),
            self.y + int(rows[0]),
            self.x + int(columns[-1]) + 1,
            self.y + int(rows[-1]) + 1,
        )

    def paint_on(self, canvas: Picture) -> None:
        """Blend the glyph into ``canvas`` (H, W, 3) uint8, in place."""
        height, width = self.coverage.shape
        region = canvas[self.y : self.y + height, self.x : self.x + width]
        alpha = self.coverage[..., None].astype(np.uint16)
        blended = (self.paint * alpha + region * (255 - alpha) + 127) // 255
        region[:] = blended.astype(np.uint8)


@dataclass(frozen=True)
class Camera:
    """What happens to the picture after the digits are in it; nothing here moves a box."""

    gain: float
    offset: float
    gamma: float
    grey: bool
    blur_sigma: float
    motion: int
    motion_deg: float
    light: npt.NDArray[np.float32] | None
    noise_sigma: float
    noise_seed: int
    quality: int

    def shoot(self, scene: Picture) -> bytes:
        """Return ``scene`` (H, W, 3) uint8 as this camera's JPEG file."""
        image: Picture = scene
        if self.light is not None:
            height, width = image.shape[:2]
            field = cv2.resize(self.light, (width, height), interpolation=cv2.INTER_CUBIC)
            image = _bytes(cv2.multiply(image, cv2.merge([field] * 3), dtype=cv2.CV_8U))
        if self.motion > 1:
            image = _bytes(cv2.filter2D(image, -1, _motion_kernel(self.motion, self.motion_deg)))
        if self.blur_sigma > 0:
            image = _bytes(cv2.GaussianBlur(image, (0, 0), self.blur_sigma))
        ramp = (np.arange(256) / 255.0) ** self.gamma * 255.0
        table = np.clip((ramp - 128.0) * self.gain + 128.0 + self.offset, 0, 255)
        image = _bytes(cv2.LUT(image, table.astype(np.uint8)))
        if self.grey:
            grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            image = _bytes(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
        if self.noise_sigma > 0:
            rng = np.random.default_rng(self.noise_seed)
            noise = rng.standard_normal(image.shape, np.float32) * np.float32(self.noise_sigma)
            image = _bytes(cv2.add(image, noise.astype(np.int16), dtype=cv2.CV_8U))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        return bytes(data)


@dataclass(frozen=True)
class Scene:
    """A picture before the camera: a background (H, W, 3) uint8 with clutter, and digits."""

    background: Picture
    digits: tuple[Glyph, ...]
    camera: Camera

    def render(self, without: int | None = None) -> Picture:
        """Return the scene (H, W, 3) uint8, leaving out digit number ``without``."""
        canvas = self.background.copy()
        for number, glyph in enumerate(self.digits):
            if number != without:
                glyph.paint_on(canvas)
        return canvas


def draw(seed: int, index: int) -> Drawing:
    """Return picture ``index`` of the endless series that ``seed`` names."""
    scene = compose(seed, index)
    return Drawing(
        scene.camera.shoot(scene.render()),
        np.array([glyph.box for glyph in scene.digits], np.float32).reshape(-1, 4),
        np.array([glyph.label for glyph in scene.digits], np.int64),
    )


def compose(seed: int, index: int) -> Scene:
    """Return the scene of picture ``index`` of ``seed``, before the camera."""
    rng = np.random.default_rng([seed, index])
    width, height = _picture_size(rng)
    canvas = _background(rng, width, height)
    for _ in range(int(rng.integers(0, 9))):
        _clutter(rng, canvas)
    occupied = np.zeros((height, width), np.uint8)
    digits: list[Glyph] = []
    wanted = 0 if rng.random() < 0.05 else int(rng.integers(1, MAX_DIGITS + 1))
    largest = min(MAX_HEIGHT, 1.3 / math.sqrt(max(wanted, 1))) * min(width, height)
    heights = (MIN_HEIGHT * max(width, height), largest)
    while wanted > 0:
        count = min(wanted, int(rng.integers(2, 6))) if rng.random() < 0.3 else 1
        wanted -= count
        text = "".join(str(d) for d in rng.integers(0, 10, count))
        digits += _write(rng, canvas, occupied, text, heights, digits)
    for _ in range(int(rng.choice((0, 0, 1, 2, 3)))):
        letters = rng.choice(list(DISTRACTORS), int(rng.integers(1, 6)))
        for glyph in _write(rng, canvas, occupied, "".join(letters), heights, []):
            glyph.paint_on(canvas)
    return Scene(canvas, tuple(digits), _camera(rng, digits))


def write_digit(
    rng: np.random.Generator, canvas: Picture, digit: int, heights: tuple[float, float]
) -> Glyph:
    """Return a digit of random look, of a height between ``heights``, readable on ``canvas``.

    ``canvas`` (H, W, 3) uint8 is left as it is; the digit's corner is at its top left.  Raises
    :class:`ValueError` where it has no room.
    """
    for _ in range(20):  # a turned or outlined one may be too large
        occupied = np.zeros(canvas.shape[:2], np.uint8)
        glyphs = _write(rng, canvas.copy(), occupied, str(digit), heights, [])
        if glyphs:
            return replace(glyphs[0], x=0, y=0)
    raise ValueError(f"a digit of {heights} pixels has no room in {canvas.shape[:2]}")


# --- glyphs ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Font:
    """A way to rasterise a character: ``render(character, height)`` gives its bare mask."""

    name: str
    render: Callable[[str, int], Mask]
    letters: bool = True


def _true_type(path: Path) -> Font:
    from PIL import Image, ImageDraw, ImageFont

    layout = ImageFont.Layout.BASIC  # the other engine is optional in Pillow
    _, top, _, bottom = ImageFont.truetype(path, 100, layout_engine=layout).getbbox("0")

    def render(character: str, height: int) -> Mask:
        size = round(100 * height / (bottom - top))
        font = ImageFont.truetype(path, size, layout_engine=layout)
        canvas = Image.new("L", (2 * size, 2 * size))
        ImageDraw.Draw(canvas).text((size // 2, size // 4), character, 255, font)
        return np.array(canvas, np.uint8)

    return Font(path.stem, render)


def _opencv(face: int, weight: float) -> Font:
    def render(character: str, height: int) -> Mask:
        thickness = max(1, round(weight * height))
        (_, unit), _ = cv2.getTextSize("0", face, 1.0, 1)
        canvas = np.zeros((2 * height, 3 * height), np.uint8)
        origin = (height // 2, height + height // 2)
        scale = height / unit
        return _bytes(cv2.putText(canvas, character, origin, face, scale, 255, thickness, 16))

    return Font(f"opencv{face}", render)


def _arc(
    x: float, y: float, radius_x: float, radius_y: float, start: float, end: float
) -> list[tuple[float, float]]:
    angles = [math.radians(start + (end - start) * i / 32) for i in range(33)]
    return [(x + radius_x * math.cos(a), y + radius_y * math.sin(a)) for a in angles]


_SIX = [_arc(0.3, 0.7, 0.28, 0.3, 0, 360), _arc(0.62, 0.7, 0.6, 0.7, 180, 265)]
# Pen strokes in a box 0.6 wide and 1 high, y downwards.
_STROKES: dict[str, list[list[tuple[float, float]]]] = {
    "0": [_arc(0.3, 0.5, 0.3, 0.5, 0, 360)],
    "1": [[(0.1, 0.22), (0.36, 0.0), (0.36, 1.0)]],
    "2": [[*_arc(0.3, 0.29, 0.28, 0.29, 190, 395), (0.0, 1.0), (0.6, 1.0)]],
    "3": [_arc(0.28, 0.26, 0.27, 0.26, -150, 90), _arc(0.28, 0.76, 0.32, 0.24, -90, 150)],
    "4": [[(0.46, 1.0), (0.46, 0.0), (0.0, 0.68), (0.62, 0.68)]],
    "5": [[(0.55, 0.0), (0.1, 0.0), (0.06, 0.46), *_arc(0.27, 0.68, 0.32, 0.32, -130, 140)]],
    "6": _SIX,
    "7": [[(0.0, 0.0), (0.6, 0.0), (0.2, 1.0)]],
    "8": [_arc(0.3, 0.25, 0.25, 0.25, 0, 360), _arc(0.3, 0.75, 0.3, 0.25, 0, 360)],
    "9": [[(0.6 - x, 1.0 - y) for x, y in stroke] for stroke in _SIX],
}


def _strokes(weight: float) -> Font:
    def render(character: str, height: int) -> Mask:
        canvas = np.zeros((2 * height, 2 * height), np.uint8)
        for stroke in _STROKES[character]:
            points = np.array(stroke) * height + height // 2
            fixed = np.round(points * 16).astype(np.int32)
            thickness = max(1, round(weight * height))
            cv2.polylines(canvas, [fixed], False, 255, thickness, cv2.LINE_AA, 4)
        return canvas

    return Font(f"strokes{weight}", render, letters=False)


# Segments a to g of each digit on a seven-segment display.
_SEGMENTS = (
    "abcdef",
    "bc",
    "abged",
    "abgcd",
    "fgbc",
    "afgcd",
    "afgcde",
    "abc",
    "abcdefg",
    "abcdfg",
)
_SEGMENT_ENDS = {
    "a": (0, 0, 1, 0),
    "b": (1, 0, 1, 1),
    "c": (1, 1, 1, 2),
    "d": (0, 2, 1, 2),
    "e": (0, 1, 0, 2),
    "f": (0, 0, 0, 1),
    "g": (0, 1, 1, 1),
}


def _segments(weight: float) -> Font:
    def render(character: str, height: int) -> Mask:
        canvas = np.zeros((2 * height, 2 * height), np.uint8)
        half, gap = weight / 2, weight * 0.65
        for name in _SEGMENTS[int(character)]:
            x0, y0, x1, y1 = (0.5 * value for value in _SEGMENT_ENDS[name])
            along = np.array([x1 - x0, y1 - y0]) / 0.5
            across = along[::-1]
            start = np.array([x0, y0]) + gap * along
            end = np.array([x1, y1]) - gap * along
            corners = (
                start - half * along,
                start + half * across,
                end + half * across,
                end + half * along,
                end - half * across,
                start - half * across,
            )
            fixed = np.round((np.array(corners) * height + height // 2) * 16).astype(np.int32)
            cv2.fillConvexPoly(canvas, fixed, 255, cv2.LINE_AA, 4)
        return canvas

    return Font(f"segments{weight}", render, letters=False)


# Text faces among the fonts in Matplotlib's package data, one family a row.
_FAMILIES = (
    ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    ("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    ("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"),
)


@cache
def font_families() -> tuple[tuple[Font, ...], ...]:
    """Return every font, grouped so that a family with many faces is not drawn more often."""
    import matplotlib

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    families = [tuple(_true_type(folder / f"{face}.ttf") for face in row) for row in _FAMILIES]
    families.append(
        tuple(
            _opencv(face, weight)
            for face, weight in (
                (cv2.FONT_HERSHEY_SIMPLEX, 0.06),
                (cv2.FONT_HERSHEY_SIMPLEX, 0.14),
                (cv2.FONT_HERSHEY_DUPLEX, 0.08),
                (cv2.FONT_HERSHEY_COMPLEX, 0.06),
            )
        )
    )
    families.append(tuple(_strokes(weight) for weight in (0.08, 0.12, 0.18)))
    families.append(tuple(_segments(weight) for weight in (0.1, 0.15)))
    return tuple(families)


@lru_cache(maxsize=4096)
def _raster(family: int, face: int, character: str, level: int) -> Mask:
    mask = font_families()[family][face].render(character, level)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    tight = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.pad(tight, _border(level))


def _border(level: int) -> int:
    """Return the empty pixels around a raster: room for the widest rim."""
    return max(2, round(0.06 * level))


def _warped(
    raster: Mask,
    scale: float,
    stretch: float,
    shear: float,
    angle: float,
    shift: tuple[float, float],
) -> Mask:
    """Return ``raster`` scaled, sheared and rotated (radians) about its centre, odd-sized."""
    cos, sin = math.cos(angle), math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ [[scale * stretch, shear * scale], [0.0, scale]]
    height, width = raster.shape
    half_size = np.abs(linear) @ [width / 2, height / 2]
    half_w, half_h = (math.ceil(value) + 1 for value in half_size)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = np.array([half_w, half_h]) + shift - linear @ centre
    matrix = np.column_stack([linear, offset])
    return _bytes(cv2.warpAffine(raster, matrix, (2 * half_w + 1, 2 * half_h + 1)))


def _rim(mask: Mask) -> Mask:
    """Return the structuring element as wide as an outline of ``mask``."""
    width = 2 * max(1, round(0.025 * mask.shape[0])) + 1
    return _bytes(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))


def _widened(mask: Mask) -> Mask:
    return _bytes(cv2.dilate(mask, _rim(mask)))


def _write(
    rng: np.random.Generator,
    canvas: Picture,
    occupied: Mask,
    text: str,
    heights: tuple[float, float],
    others: Sequence[Glyph],
) -> list[Glyph]:
    """Place ``text`` on a free spot of ``canvas`` as one line of one font and colour.

    Returns its glyphs, not yet painted, and marks their pixels in ``occupied``; a plate behind
    them is painted at once.  Returns an empty list where no spot is free.
    """
    low, high = heights
    height = low * (high / low) ** rng.random()
    families = font_families()
    while True:
        family = int(rng.integers(len(families)))
        face = int(rng.integers(len(families[family])))
        if families[family][face].letters or text.isdigit():
            break
    steep = rng.random() < 0.6
    angle = math.radians(rng.uniform(-1, 1) * (MAX_ROTATION_DEG if steep else 3.0))
    stretch, shear, gap = rng.uniform(0.8, 1.25), rng.uniform(-0.12, 0.12), rng.uniform(0.06, 0.3)
    for _ in range(4):
        level = next((level for level in _LEVELS if level >= height), _LEVELS[-1])
        masks, centres = [], []
        advance = 0.0
        for character in text:
            raster = _raster(family, face, character, level)
            scale = height / level
            shift = rng.uniform(-0.5, 0.5, 2)
            masks.append(_warped(raster, scale, stretch, shear, angle, (shift[0], shift[1])))
            width = (raster.shape[1] - 2 * _border(level)) * scale * stretch
            centres.append((advance + width / 2) * np.array([math.cos(angle), math.sin(angle)]))
            advance += width + gap * height
        placed = _place(rng, occupied, [_widened(mask) for mask in masks], centres, others)
        if placed is not None:
            return _paint(rng, canvas, occupied, text, masks, placed)
        height, gap = max(low, 0.7 * height), gap + 0.1
    return []


def _place(
    rng: np.random.Generator,
    occupied: Mask,
    masks: Sequence[Mask],
    centres: Sequence[npt.NDArray[np.float64]],
    others: Sequence[Glyph],
) -> list[tuple[int, int]] | None:
    """Return the top-left corner of each mask on a free spot, or ``None``.

    ``centres`` place the masks beside each other; none of them touches another, nor anything
    marked in ``occupied``.
    """
    corners = (
        np.array(
            [
                (c[0] - (m.shape[1] - 1) / 2, c[1] - (m.shape[0] - 1) / 2)
                for m, c in zip(masks, centres, strict=True)
            ]
        )
        .round()
        .astype(int)
    )
    corners -= corners.min(0)
    sizes = np.array([m.shape[::-1] for m in masks])
    extent = (corners + sizes).max(0)
    room = np.array(occupied.shape[::-1]) - extent
    if (room < 0).any():
        return None
    line = np.zeros(extent[::-1], bool)
    for (x, y), m in zip(corners, masks, strict=True):
        region = line[y : y + m.shape[0], x : x + m.shape[1]]
        if (region & (m > 0)).any():
            return None
        region |= m > 0
    boxes = np.array([glyph.box for glyph in others]).reshape(-1, 4)
    for _ in range(10):
        spot = rng.integers(0, room, endpoint=True)
        spots = [(int(x), int(y)) for x, y in corners + spot]
        x, y = (int(value) for value in spot)
        if (occupied[y : y + extent[1], x : x + extent[0]][line] > 0).any():
            continue
        if all(_overlap(spot, m.shape, boxes) <= 0.1 for spot, m in zip(spots, masks, strict=True)):
            return spots
    return None


def _overlap(corner: tuple[int, int], shape: tuple[int, ...], boxes: npt.NDArray[np.int_]) -> float:
    """Return the largest intersection with one of ``boxes``, as a share of the smaller area."""
    if not len(boxes):
        return 0.0
    low = np.array(corner)
    high = low + shape[::-1]
    sides = np.clip(np.minimum(high, boxes[:, 2:]) - np.maximum(low, boxes[:, :2]), 0, None)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return float((sides.prod(1) / np.minimum(areas, shape[0] * shape[1])).max())


def _paint(
    rng: np.random.Generator,
    canvas: Picture,
    occupied: Mask,
    text: str,
    masks: Sequence[Mask],
    spots: Sequence[tuple[int, int]],
) -> list[Glyph]:
    """Choose readable colours for placed masks and return them as glyphs."""
    x0, y0 = (min(values) for values in zip(*spots, strict=True))
    x1 = max(x + m.shape[1] for (x, _), m in zip(spots, masks, strict=True))
    y1 = max(y + m.shape[0] for (_, y), m in zip(spots, masks, strict=True))
    if rng.random() < 0.2:
        _plate(rng, canvas, occupied, (x0, y0, x1, y1))
    ground = _luma(canvas[y0:y1, x0:x1])
    ink, readable = _ink(rng, float(ground.mean()), float(ground.std()))
    glyphs = []
    rim = not readable or rng.random() < 0.08
    hollow = readable and not rim and min(m.shape[0] for m in masks) > 60 and rng.random() < 0.15
    for character, mask, (x, y) in zip(text, masks, spots, strict=True):
        coverage = mask
        paint = np.empty((*mask.shape, 3), np.uint8)
        paint[:] = ink
        if rim:
            coverage = _widened(mask)
            edge = 0 if sum(ink) > 382 else 255
            alpha = mask[..., None].astype(np.float32) / 255
            paint = (paint * alpha + edge * (1 - alpha)).astype(np.uint8)
        elif hollow:
            coverage = _bytes(cv2.subtract(mask, cv2.erode(mask, _rim(mask))))
        occupied[y : y + mask.shape[0], x : x + mask.shape[1]] |= coverage
        label = int(character) if character.isdigit() else None
        glyphs.append(Glyph(label, x, y, coverage, paint))
    return glyphs


def _ink(rng: np.random.Generator, ground: float, spread: float) -> tuple[Colour, bool]:
    """Return a colour for a ground of this mean and deviation of luma, and whether it reads."""
    for _ in range(6):
        colour = _colour(rng)
        if abs(_luma_of(colour) - ground) >= _CONTRAST + spread:
            return colour, True
    extreme = 20 if ground > 128 else 235
    return (extreme, extreme, extreme), abs(extreme - ground) >= _CONTRAST + spread


def _plate(
    rng: np.random.Generator, canvas: Picture, occupied: Mask, box: tuple[int, int, int, int]
) -> None:
    """Paint a plate or disc behind ``box``, unless something already stands there."""
    x0, y0, x1, y1 = box
    margin = int(rng.uniform(0.02, 0.3) * min(x1 - x0, y1 - y0))
    x0, y0, x1, y1 = max(x0 - margin, 0), max(y0 - margin, 0), x1 + margin, y1 + margin
    if occupied[y0:y1, x0:x1].any():
        return
    if rng.random() < 0.6:
        cv2.rectangle(canvas, (x0, y0), (x1, y1), _colour(rng), -1)
    else:
        axes = (int((x1 - x0) * 0.6), int((y1 - y0) * 0.6))
        centre = ((x0 + x1) // 2, (y0 + y1) // 2)
        cv2.ellipse(canvas, centre, axes, 0, 0, 360, _colour(rng), -1, cv2.LINE_AA)


# --- everything around the digits ------------------------------------------------------------


def _picture_size(rng: np.random.Generator) -> tuple[int, int]:
    """Return a width and a height in pixels, of one of the usual aspect ratios."""
    ratio = float(rng.choice((1.0, 1.0, 4 / 3, 4 / 3, 3 / 2, 16 / 9, 2.4)))
    longer = rng.uniform(max(MIN_SIDE * ratio, 280), MAX_SIDE)
    sides = (int(longer), max(MIN_SIDE, int(longer / ratio)))
    return sides if rng.random() < 0.65 else sides[::-1]


def _background(rng: np.random.Generator, width: int, height: int) -> Picture:
    """Return a canvas (height, width, 3) uint8: plain, graded, cloudy, striped or grainy."""
    kind = int(rng.choice(6, p=(0.2, 0.2, 0.25, 0.1, 0.1, 0.15)))
    first, second = np.array(_colour(rng), np.float32), np.array(_colour(rng), np.float32)
    if kind == 0:
        return np.full((height, width, 3), first, np.uint8)
    if kind in (1, 3, 4):
        angle = rng.uniform(0, 2 * math.pi)
        x = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(math.cos(angle))
        y = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(math.sin(angle))
        if kind == 1:
            blend = (x + y[:, None] + 1.42) / 2.84
        elif kind == 3:
            blend = (np.sin((x + y[:, None]) * np.float32(rng.uniform(4, 60))) + 1) / 2
        else:
            cells = rng.uniform(2, 14)
            blend = ((np.floor(x * cells) + np.floor(y * cells)[:, None]) % 2).astype(np.float32)
        if kind != 1:
            second = first + (second - first) * np.float32(rng.uniform(0.1, 0.7))
        canvas = cv2.merge([blend * (b - a) + a for a, b in zip(first, second, strict=True)])
        return _bytes(cv2.convertScaleAbs(canvas))
    cells = int(rng.integers(2, 9)) if kind == 2 else int(rng.integers(20, 90))
    coarse = rng.random((cells, cells, 3), np.float32)
    if rng.random() < 0.5:
        coarse[:] = coarse[..., :1]
    canvas = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    depth = rng.uniform(0.15, 0.9) if kind == 2 else rng.uniform(0.05, 0.35)
    canvas = first + (canvas - np.float32(0.5)) * np.float32(255 * depth)
    return _bytes(np.clip(canvas, 0, 255).astype(np.uint8))


def _clutter(rng: np.random.Generator, canvas: Picture) -> None:
    """Paint one shape without meaning, in place."""
    height, width = canvas.shape[:2]
    size = np.array([width, height])
    colour = _colour(rng)
    kind = int(rng.integers(5))
    thickness = -1 if rng.random() < 0.5 else int(rng.integers(1, 9))
    reach = rng.uniform(0.03, 0.35) * max(width, height)
    centre = rng.uniform(0, 1, 2) * size
    spread = (centre + rng.uniform(-1, 1, (5, 2)) * reach).astype(np.int32)
    points = [(int(x), int(y)) for x, y in spread]
    if kind == 0:
        cv2.line(canvas, points[0], points[1], colour, abs(thickness), cv2.LINE_AA)
    elif kind == 1:
        cv2.rectangle(canvas, points[0], points[1], colour, thickness)
    elif kind == 2:
        # A round outline of middling size would be a 0 in all but name.
        axes = (int(reach * rng.uniform(0.2, 1)), int(reach * rng.uniform(0.2, 1)))
        cv2.ellipse(canvas, points[0], axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    elif kind == 3:
        cv2.fillPoly(canvas, [spread[: int(rng.integers(3, 6))]], colour, cv2.LINE_AA)
    else:
        step = max(6, int(reach / rng.integers(4, 12)))
        x0, y0 = points[0]
        x1, y1 = x0 + int(reach), y0 + int(reach)
        for x in range(x0, x1, step):
            cv2.line(canvas, (x, y0), (x, y1), colour, 1)
        for y in range(y0, y1, step):
            cv2.line(canvas, (x0, y), (x1, y), colour, 1)


def _camera(rng: np.random.Generator, digits: Sequence[Glyph]) -> Camera:
    """Return a camera whose blur and noise leave the smallest digit readable."""
    smallest = min((glyph.coverage.shape[0] for glyph in digits), default=100)

    def perhaps(chance: float, low: float, high: float, otherwise: float) -> float:
        value = rng.uniform(low, high)
        return value if rng.random() < chance else otherwise

    light = rng.uniform(0.65, 1.25, (3, 3)).astype(np.float32) if rng.random() < 0.25 else None
    return Camera(
        gain=perhaps(0.5, 0.65, 1.2, 1.0),
        offset=perhaps(0.5, -25, 25, 0.0),
        gamma=perhaps(0.3, 0.75, 1.35, 1.0),
        grey=rng.random() < 0.1,
        blur_sigma=perhaps(0.35, 0.3, max(0.4, min(2.5, 0.04 * smallest)), 0.0),
        motion=int(perhaps(0.12, 2, max(2.5, min(12.0, 0.12 * smallest)), 0)),
        motion_deg=rng.uniform(0, 180),
        light=light,
        noise_sigma=perhaps(0.5, 2, 16, 0.0),
        noise_seed=int(rng.integers(2**63)),
        quality=int(rng.integers(35, 96)),
    )


def _motion_kernel(length: int, angle_deg: float) -> npt.NDArray[np.float32]:
    size = length | 1
    kernel = np.zeros((size, size), np.float32)
    centre = size // 2
    dx = math.cos(math.radians(angle_deg)) * length / 2
    dy = math.sin(math.radians(angle_deg)) * length / 2
    start = (round(centre - dx), round(centre - dy))
    cv2.line(kernel, start, (round(centre + dx), round(centre + dy)), 1.0, 1)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _colour(rng: np.random.Generator) -> Colour:
    """Return a BGR colour; one in four is a grey."""
    if rng.random() < 0.25:
        level = int(rng.integers(256))
        return level, level, level
    blue, green, red = (int(value) for value in rng.integers(0, 256, 3))
    return blue, green, red


def _luma_of(colour: Colour) -> float:
    return 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]


def _luma(region: Picture) -> Picture:
    return _bytes(cv2.cvtColor(region, cv2.COLOR_BGR2GRAY))


def _bytes(image: object) -> npt.NDArray[np.uint8]:
    """Return OpenCV's loosely typed result as the uint8 array it is."""
    return np.asarray(image, np.uint8)
