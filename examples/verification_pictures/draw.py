"""Draw the three pictures that ship with the package.

``yolox-export`` compares the exported model with the checkpoint on real input.  Who names no
folder of pictures still needs some on which a COCO-trained YOLOX sees things, because a wrong
input convention or a broken layer shows only where there is something to detect.  Photographs
would bring a licence along; these are computed from shapes, gradients and noise alone.

    python examples/verification_pictures/draw.py [folder]

writes ``drawn_1.jpg`` (a street), ``drawn_2.jpg`` (a room) and ``drawn_3.jpg`` (a table seen from
above), by default into ``yolox_deploy/assets``.  The same seed gives the same pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]  # blue, green, red; 0..255
Point = tuple[float, float]  # x, y in pixels of the finished picture
Floats = NDArray[np.float32]

OUTPUT = Path(__file__).resolve().parents[2] / "yolox_deploy" / "assets"
SEED = 20
OVERSAMPLING = 2
SHIFT = 4  # fractional bits of the coordinates that go to OpenCV
QUALITY = 88


class Canvas:
    """A picture in the making, drawn larger than it will be so that edges come out smooth."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self.width, self.height = width, height
        self.rng = np.random.default_rng(seed)
        shape = (height * OVERSAMPLING, width * OVERSAMPLING)
        self.pixels = np.zeros((*shape, 3), np.float32)
        rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        self.x = (columns + 0.5) / OVERSAMPLING
        self.y = (rows + 0.5) / OVERSAMPLING

    def mask(self) -> NDArray[np.uint8]:
        """Return an empty mask."""
        return np.zeros(self.pixels.shape[:2], np.uint8)

    def noise(self, cell: float, octaves: int = 4, stretch: float = 1.0) -> Floats:
        """Return smooth noise, mean 0 and deviation 1, with cells ``stretch`` times as wide."""
        height, width = self.pixels.shape[:2]
        total = np.zeros((height, width), np.float32)
        for octave in range(octaves):
            size = max(1.0, cell * OVERSAMPLING / 2**octave)
            grid = self.rng.standard_normal(
                (int(height / size) + 2, int(width / size / stretch) + 2), dtype=np.float32
            )
            large = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
            total += large * 0.6**octave
        total -= total.mean()
        total /= max(float(total.std()), 1e-6)
        return total

    def fill(self, mask: NDArray[np.uint8], paint: Colour | Floats, opacity: float = 1.0) -> None:
        """Lay a colour, or a picture of colours, over the pixels of a mask."""
        x, y, w, h = cv2.boundingRect(mask)
        if not w:
            return
        window = (slice(y, y + h), slice(x, x + w))
        alpha = mask[window].astype(np.float32)[..., None] * (opacity / 255)
        colour = np.asarray(paint, np.float32)
        if colour.ndim == 3:
            colour = colour[window]
        self.pixels[window] += (colour - self.pixels[window]) * alpha

    def shade(self, mask: NDArray[np.uint8], factor: float | Floats) -> None:
        """Make the pixels of a mask darker or lighter by a factor."""
        factors = np.broadcast_to(np.asarray(factor, np.float32), mask.shape)[..., None]
        self.fill(mask, self.pixels * factors)

    def finish(self, grain: float = 2.5, blur: float = 0.45) -> NDArray[np.uint8]:
        """Return the picture at its own size, a little soft and grainy as from a camera."""
        size = (self.width, self.height)
        small = cv2.resize(np.clip(self.pixels, 0, 255), size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), blur)
        speckle = self.rng.standard_normal(small.shape[:2], dtype=np.float32)[..., None]
        result: NDArray[np.uint8] = np.clip(small + speckle * grain + 0.5, 0, 255).astype(np.uint8)
        return result


# Shapes: masks with smooth edges.


def fixed(value: float) -> int:
    """Return a coordinate as OpenCV's fixed-point number."""
    return round(value * (OVERSAMPLING << SHIFT))


def polygon(canvas: Canvas, points: Sequence[Point]) -> NDArray[np.uint8]:
    """Return the mask of a polygon."""
    mask = canvas.mask()
    corners = [np.array([(fixed(x), fixed(y)) for x, y in points], np.int32)]
    cv2.fillPoly(mask, corners, 255, cv2.LINE_AA, SHIFT)
    return mask


def line(canvas: Canvas, points: Sequence[Point], width: float) -> NDArray[np.uint8]:
    """Return the mask of a line through points."""
    mask = canvas.mask()
    corners = [np.array([(fixed(x), fixed(y)) for x, y in points], np.int32)]
    cv2.polylines(
        mask, corners, False, 255, max(1, round(width * OVERSAMPLING)), cv2.LINE_AA, SHIFT
    )
    return mask


def ellipse(
    canvas: Canvas, centre: Point, radii: tuple[float, float], angle: float = 0
) -> NDArray[np.uint8]:
    """Return the mask of an ellipse, turned by ``angle`` degrees."""
    mask = canvas.mask()
    middle = (fixed(centre[0]), fixed(centre[1]))
    axes = (fixed(radii[0]), fixed(radii[1]))
    cv2.ellipse(mask, middle, axes, angle, 0, 360, 255, -1, cv2.LINE_AA, SHIFT)
    return mask


def box(
    canvas: Canvas, left: float, top: float, right: float, bottom: float, radius: float = 0
) -> NDArray[np.uint8]:
    """Return the mask of a rectangle with round corners."""
    if radius <= 0:
        return polygon(canvas, [(left, top), (right, top), (right, bottom), (left, bottom)])
    points: list[Point] = []
    corners = [
        (right - radius, top + radius, -90),
        (right - radius, bottom - radius, 0),
        (left + radius, bottom - radius, 90),
        (left + radius, top + radius, 180),
    ]
    for x, y, start in corners:
        for degrees in range(start, start + 91, 10):
            turn = np.radians(degrees)
            points.append((x + radius * float(np.cos(turn)), y + radius * float(np.sin(turn))))
    return polygon(canvas, points)


def soft(mask: NDArray[np.uint8], blur: float) -> NDArray[np.uint8]:
    """Return a mask with blurred edges."""
    return cv2.GaussianBlur(mask, (0, 0), blur * OVERSAMPLING).astype(np.uint8)


def on_circle(centre: Point, radius: float, degrees: float) -> Point:
    """Return the point of a circle at an angle, clockwise from the top."""
    turn = np.radians(degrees)
    return (centre[0] + radius * float(np.sin(turn)), centre[1] - radius * float(np.cos(turn)))


def curve(points: Sequence[Point], steps: int = 12) -> list[Point]:
    """Return a smooth closed curve through points (Catmull-Rom)."""
    result: list[Point] = []
    knots = np.array(points, np.float64)
    for i in range(len(knots)):
        a, b, c, d = (knots[(i + k) % len(knots)] for k in (-1, 0, 1, 2))
        for t in np.linspace(0, 1, steps, endpoint=False):
            p = 0.5 * (
                2 * b
                + (c - a) * t
                + (2 * a - 5 * b + 4 * c - d) * t**2
                + (3 * b - a - 3 * c + d) * t**3
            )
            result.append((float(p[0]), float(p[1])))
    return result


def blend(first: Colour, second: Colour, share: Floats) -> Floats:
    """Return a picture that goes from one colour to another with ``share`` 0..1."""
    part = np.clip(share, 0, 1)[..., None]
    return (np.array(first) * (1 - part) + np.array(second) * part).astype(np.float32)


def lit(colour: Colour, light: Floats | float) -> Floats:
    """Return a colour under light: a picture where the light varies, else one pixel of it."""
    return np.array(colour, np.float32) * np.asarray(light, np.float32)[..., None]


def shadow(
    canvas: Canvas, mask: NDArray[np.uint8], offset: Point, blur: float, depth: float
) -> None:
    """Darken what lies beneath a shape, moved by an offset."""
    move = np.array(
        [[1, 0, offset[0] * OVERSAMPLING], [0, 1, offset[1] * OVERSAMPLING]], np.float32
    )
    moved = cv2.warpAffine(mask, move, (mask.shape[1], mask.shape[0]))
    canvas.shade(soft(moved.astype(np.uint8), blur), 1 - depth)


def ball(
    canvas: Canvas,
    centre: Point,
    radius: float,
    colour: Colour,
    rough: float = 0.04,
    cell: float = 3,
    gloss: float = 60,
) -> NDArray[np.uint8]:
    """Draw a sphere lit from the upper left and return its mask."""
    u = (canvas.x - centre[0]) / radius
    v = (canvas.y - centre[1]) / radius
    depth = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
    light = np.clip(-0.45 * u - 0.6 * v + 0.66 * depth, 0, 1)
    shine = np.clip(-0.32 * u - 0.42 * v + 0.85 * depth, 0, 1) ** 40
    bounce = 0.12 * np.clip(v, 0, 1)
    relief = 1 + rough * canvas.noise(cell, 2)
    body = lit(colour, (0.34 + 0.78 * light + bounce) * relief)
    mask = ellipse(canvas, centre, (radius, radius))
    canvas.fill(mask, (body + gloss * shine[..., None]).astype(np.float32))
    return mask


# The street.


def sky(canvas: Canvas, horizon: float) -> None:
    """Draw a blue sky with clouds."""
    canvas.pixels[:] = blend((205, 140, 75), (240, 222, 196), canvas.y / horizon)
    clouds = np.clip(canvas.noise(90, 6, 2.2) * 0.5 - 0.15, 0, 1) * (1.1 - canvas.y / horizon)
    canvas.pixels[:] = canvas.pixels + (248 - canvas.pixels) * np.clip(clouds, 0, 0.9)[..., None]


def trees(canvas: Canvas, base: float, height: float, colour: Colour, crown: float) -> None:
    """Draw a row of trees along the horizon."""
    mask = canvas.mask()
    x = -crown
    while x < canvas.width + crown:
        top = base - height * float(canvas.rng.uniform(0.5, 1))
        for _ in range(7):
            middle = (
                x + float(canvas.rng.normal(0, crown / 2)),
                float(canvas.rng.uniform(top, base)),
            )
            size = crown * float(canvas.rng.uniform(0.4, 0.7))
            mask |= ellipse(canvas, middle, (size, size * 0.8))
        x += crown * float(canvas.rng.uniform(0.7, 1.4))
    leaves = 1 + 0.2 * canvas.noise(5, 4) + 0.18 * canvas.noise(crown / 2, 2)
    leaves = leaves * np.clip(1.25 - (canvas.y - base + height) / height * 0.55, 0.4, 1.3)
    canvas.fill(mask, lit(colour, leaves))


def ground(canvas: Canvas, horizon: float, road_top: float, road_bottom: float) -> None:
    """Draw grass, and a road across with a kerb and a broken centre line."""
    below = box(canvas, 0, horizon, canvas.width, canvas.height)
    grass = 1 + 0.2 * canvas.noise(4, 4) + 0.1 * canvas.noise(60, 3, 3)
    canvas.fill(below, lit((58, 128, 104), grass))
    asphalt = lit((112, 110, 108), 1 + 0.07 * canvas.noise(1.2, 2) + 0.06 * canvas.noise(50, 4, 4))
    canvas.fill(box(canvas, 0, road_top, canvas.width, road_bottom), asphalt)
    for edge in (road_top, road_bottom):
        canvas.fill(box(canvas, 0, edge - 5, canvas.width, edge), (172, 178, 182))
        canvas.fill(box(canvas, 0, edge, canvas.width, edge + 2), (70, 70, 70), 0.7)
    middle = road_top * 0.45 + road_bottom * 0.55
    for x in range(-40, canvas.width, 110):
        dash = [(x, middle), (x + 62, middle), (x + 58, middle + 5), (x - 5, middle + 5)]
        canvas.fill(polygon(canvas, dash), (205, 225, 230), 0.85)


LETTERS: dict[str, list[list[Point]]] = {
    "S": [
        [
            (1, 0.2),
            (0.8, 0),
            (0.2, 0),
            (0, 0.2),
            (0.04, 0.38),
            (0.3, 0.48),
            (0.75, 0.53),
            (1, 0.65),
            (1, 0.82),
            (0.78, 1),
            (0.22, 1),
            (0, 0.8),
        ]
    ],
    "T": [[(0, 0), (1, 0)], [(0.5, 0), (0.5, 1)]],
    "O": [
        [
            (0.3, 0),
            (0.7, 0),
            (1, 0.25),
            (1, 0.75),
            (0.7, 1),
            (0.3, 1),
            (0, 0.75),
            (0, 0.25),
            (0.3, 0),
        ]
    ],
    "P": [[(0, 1), (0, 0), (0.7, 0), (1, 0.15), (1, 0.4), (0.7, 0.55), (0, 0.55)]],
}


def lettering(
    canvas: Canvas, text: str, left: float, top: float, size: tuple[float, float], width: float
) -> NDArray[np.uint8]:
    """Return the mask of a word; ``size`` is one letter's width and height."""
    mask = canvas.mask()
    for position, letter in enumerate(text):
        start = left + position * size[0] * 1.42
        for stroke in LETTERS[letter]:
            mask |= line(
                canvas, [(start + x * size[0], top + y * size[1]) for x, y in stroke], width
            )
    return mask


def pole(canvas: Canvas, x: float, top: float, bottom: float, width: float, colour: Colour) -> None:
    """Draw a round metal post."""
    across = np.clip((canvas.x - x) / (width / 2), -1, 1)
    light = 0.45 + 0.75 * np.clip(1 - np.abs(across + 0.3), 0, 1) + 0.04 * canvas.noise(3, 3)
    post = box(canvas, x - width / 2, top, x + width / 2, bottom)
    canvas.fill(post, lit(colour, light))


def stop_sign(canvas: Canvas, centre: Point, radius: float, bottom: float) -> None:
    """Draw a red octagon with a white border and the word STOP, on a post."""
    x, y = centre
    pole(canvas, x, y - radius * 0.2, bottom, radius * 0.15, (170, 174, 176))
    outer = polygon(canvas, [on_circle(centre, radius, 22.5 + 45 * i) for i in range(8)])
    shadow(canvas, outer, (radius * 0.03, radius * 0.05), radius * 0.04, 0.35)
    canvas.fill(outer, (236, 238, 240))
    inner = polygon(canvas, [on_circle(centre, radius * 0.93, 22.5 + 45 * i) for i in range(8)])
    light = 1.08 - 0.16 * (canvas.y - y + radius) / (2 * radius) + 0.025 * canvas.noise(6, 4)
    canvas.fill(inner, lit((38, 30, 196), light))
    letter = (radius * 0.28, radius * 0.58)
    left = x - letter[0] * 5.26 / 2
    word = lettering(canvas, "STOP", left, y - letter[1] / 2, letter, radius * 0.125)
    canvas.fill(word, (240, 242, 244))
    for bolt in (-0.68, 0.68):
        canvas.fill(
            ellipse(canvas, (x, y + bolt * radius), (radius * 0.035, radius * 0.035)),
            (120, 120, 130),
        )


def traffic_light(
    canvas: Canvas, centre: Point, height: float, bottom: float, shining: int = 0
) -> None:
    """Draw a traffic light with three lamps of which one is lit, on a post."""
    x, y = centre
    width = height * 0.4
    if bottom > y:
        pole(canvas, x, y, bottom, height * 0.09, (70, 74, 76))
    top = y - height / 2
    case = box(canvas, x - width / 2, top, x + width / 2, top + height, height * 0.06)
    light = 1 + 0.35 * (x - canvas.x) / width + 0.05 * canvas.noise(4, 3)
    canvas.fill(case, lit((38, 42, 40), light))
    lamps: list[Colour] = [(45, 40, 235), (40, 180, 245), (110, 215, 60)]
    for i, colour in enumerate(lamps):
        middle = (x, top + height * (0.19 + 0.31 * i))
        radius = height * 0.115
        canvas.fill(ellipse(canvas, middle, (radius * 1.2, radius * 1.2)), (18, 18, 18))
        bright: Colour = (
            colour if i == shining else (colour[0] * 0.25, colour[1] * 0.25, colour[2] * 0.25)
        )
        lens = ellipse(canvas, middle, (radius, radius))
        canvas.fill(lens, bright)
        if i == shining:
            glow = ellipse(
                canvas, (middle[0], middle[1] + radius * 0.1), (radius * 0.5, radius * 0.5)
            )
            canvas.fill(soft(glow, radius * 0.25), (200, 215, 255), 0.8)
        visor = ellipse(canvas, (x, middle[1] - radius * 0.95), (radius * 1.25, radius * 0.42))
        canvas.fill(visor, (26, 28, 28))


def wheel(canvas: Canvas, centre: Point, radius: float) -> None:
    """Draw a tyre with a metal rim."""
    canvas.fill(ellipse(canvas, centre, (radius, radius)), (30, 28, 28))
    canvas.fill(ellipse(canvas, centre, (radius * 0.9, radius * 0.9)), (44, 42, 42))
    ball(canvas, centre, radius * 0.62, (186, 184, 182), 0.03, 2, 30)
    for spoke in range(5):
        hole = on_circle(centre, radius * 0.38, spoke * 72 + 10)
        canvas.fill(ellipse(canvas, hole, (radius * 0.11, radius * 0.11)), (50, 48, 48))
    canvas.fill(ellipse(canvas, centre, (radius * 0.12, radius * 0.12)), (90, 90, 90))


def glass(canvas: Canvas, mask: NDArray[np.uint8], top: float, bottom: float) -> None:
    """Fill a shape with window glass that mirrors the sky."""
    share = (canvas.y - top) / max(bottom - top, 1)
    streak = 0.12 * np.sin((canvas.x + canvas.y * 0.8) / (bottom - top) * 2.2)
    tone = blend((190, 165, 130), (62, 55, 48), share + streak + 0.06 * canvas.noise(12, 3))
    canvas.fill(mask, tone)


def bus(canvas: Canvas, left: float, bottom: float, length: float, colour: Colour) -> None:
    """Draw a city bus from its side."""
    height = length * 0.36
    top, right = bottom - height, left + length
    floor = bottom - height * 0.1
    shade = soft(ellipse(canvas, (left + length / 2, bottom), (length * 0.52, height * 0.07)), 4)
    canvas.shade(shade, 0.4)
    body = box(canvas, left, top, right, floor, height * 0.1)
    light = 1.12 - 0.4 * (canvas.y - top) / height + 0.02 * canvas.noise(8, 4)
    canvas.fill(body, lit(colour, light))
    canvas.fill(
        box(canvas, left + 2, floor - height * 0.2, right - 2, floor - height * 0.15),
        (225, 230, 232),
    )
    canvas.fill(box(canvas, left, floor - height * 0.05, right, floor, 2), (50, 48, 48))
    canvas.fill(
        box(canvas, left + 6, top + 2, right - 6, top + height * 0.04), (235, 238, 240), 0.6
    )
    upper, lower = top + height * 0.16, top + height * 0.52
    step = length * 0.128
    for i in range(7):
        x = left + length * 0.03 + i * step
        wide = step * 0.9
        deep = lower
        if i in (2, 6):
            deep = floor - height * 0.06
            canvas.fill(box(canvas, x - 1.5, upper - 2, x + wide + 1.5, deep + 2, 2), (46, 46, 50))
            for half in (0, 1):
                pane = box(
                    canvas, x + half * wide / 2 + 1, upper, x + (half + 1) * wide / 2 - 1, deep, 1.5
                )
                glass(canvas, pane, upper, deep)
            continue
        canvas.fill(box(canvas, x - 1, upper - 1, x + wide + 1, lower + 1, 3), (40, 40, 44))
        glass(canvas, box(canvas, x, upper, x + wide, lower, 2.5), upper, lower)
        canvas.fill(box(canvas, x, upper + 7, x + wide, upper + 8), (60, 58, 58))
        if i % 2:
            seat = ellipse(canvas, (x + wide * 0.45, lower - 2), (wide * 0.2, height * 0.1))
            canvas.fill(seat & box(canvas, x, upper, x + wide, lower), (50, 42, 40), 0.8)
    for share in (0.2, 0.76):
        centre = (left + length * share, bottom - height * 0.12)
        arch = ellipse(canvas, centre, (height * 0.165, height * 0.165))
        canvas.fill(arch & box(canvas, left, top, right, floor), (24, 24, 24))
        wheel(canvas, centre, height * 0.13)
    canvas.fill(
        box(canvas, right - 4, floor - height * 0.2, right, floor - height * 0.12, 1.5),
        (190, 240, 250),
    )
    canvas.fill(
        box(canvas, left, floor - height * 0.22, left + 3, floor - height * 0.12, 1), (40, 40, 210)
    )
    canvas.fill(
        line(
            canvas, [(right - 2, upper - 2), (right + 6, upper + 4), (right + 6, upper + 18)], 2.5
        ),
        (30, 30, 30),
    )


def car(canvas: Canvas, left: float, bottom: float, length: float, colour: Colour) -> None:
    """Draw a saloon car from its side, going to the right."""

    def at(x: float, y: float) -> Point:
        return (left + x * length, bottom - y * length)

    shade = soft(ellipse(canvas, at(0.5, 0.005), (length * 0.5, length * 0.025)), 3)
    canvas.shade(shade, 0.35)
    outline = [(0.01, 0.09), (0.005, 0.19), (0.03, 0.245), (0.16, 0.265), (0.29, 0.365)]
    outline += [(0.40, 0.39), (0.55, 0.385), (0.65, 0.34), (0.75, 0.265), (0.92, 0.235)]
    outline += [(0.985, 0.19), (0.995, 0.11), (0.97, 0.07), (0.5, 0.062), (0.04, 0.065)]
    body = polygon(canvas, curve([at(*p) for p in outline]))
    rise = (bottom - canvas.y) / length
    light = 0.55 + 1.5 * np.clip(rise, 0, 0.4) + 0.25 * np.exp(-(((rise - 0.235) / 0.014) ** 2))
    light = light + 0.02 * canvas.noise(10, 3, 3)
    canvas.fill(body, lit(colour, light))
    rear = [(0.195, 0.262), (0.30, 0.345), (0.40, 0.368), (0.445, 0.368), (0.445, 0.262)]
    front = [(0.465, 0.262), (0.465, 0.368), (0.55, 0.362), (0.635, 0.325), (0.715, 0.262)]
    for pane in (rear, front):
        mask = polygon(canvas, [at(*p) for p in pane])
        glass(canvas, mask, bottom - 0.37 * length, bottom - 0.26 * length)
    for door in (0.21, 0.455, 0.69):
        canvas.fill(line(canvas, [at(door, 0.26), at(door + 0.01, 0.08)], 0.8), (30, 30, 30), 0.7)
    for handle in (0.26, 0.5):
        canvas.fill(
            box(canvas, *at(handle, 0.225), *at(handle + 0.05, 0.215), 0.5), (200, 200, 205)
        )
    for share in (0.19, 0.8):
        arch = ellipse(canvas, at(share, 0.08), (length * 0.088, length * 0.088))
        canvas.fill(arch & body, (22, 22, 22))
        wheel(canvas, at(share, 0.075), length * 0.074)
    canvas.fill(
        ellipse(canvas, at(0.965, 0.19), (length * 0.025, length * 0.016), 30), (225, 245, 250)
    )
    canvas.fill(box(canvas, *at(0.008, 0.22), *at(0.035, 0.17), 1), (40, 35, 200))
    canvas.fill(box(canvas, *at(0.93, 0.115), *at(0.99, 0.09), 1), (40, 40, 40))
    canvas.fill(ellipse(canvas, at(0.69, 0.275), (length * 0.02, length * 0.014)), colour)


def kite(canvas: Canvas, centre: Point, size: float, tilt: float) -> None:
    """Draw a four-coloured kite with a tail and a line."""

    def at(x: float, y: float) -> Point:
        turn = np.radians(tilt)
        c, s = float(np.cos(turn)), float(np.sin(turn))
        return (centre[0] + size * (x * c - y * s), centre[1] + size * (x * s + y * c))

    top, left, right, low, mid = (0, -0.5), (-0.36, -0.12), (0.36, -0.12), (0, 0.55), (0, -0.12)
    fields: list[tuple[list[Point], Colour]] = [
        ([top, left, mid], (40, 40, 220)),
        ([top, right, mid], (30, 190, 245)),
        ([low, left, mid], (30, 160, 250)),
        ([low, right, mid], (190, 70, 40)),
    ]
    for corners, colour in fields:
        light = 1 + 0.12 * (centre[0] - canvas.x) / size + 0.03 * canvas.noise(5, 2)
        canvas.fill(polygon(canvas, [at(*p) for p in corners]), lit(colour, light))
    canvas.fill(line(canvas, [at(*top), at(*low)], size * 0.012), (60, 60, 60), 0.7)
    tail = [(0.14 * float(np.sin(t * 5)), 0.55 + t) for t in np.linspace(0, 1.2, 40)]
    canvas.fill(line(canvas, [at(*p) for p in tail], size * 0.02), (60, 50, 160))
    for i in range(4, 40, 7):
        bow = at(*tail[i])
        canvas.fill(ellipse(canvas, bow, (size * 0.06, size * 0.025), 30 + i * 11), (40, 190, 240))


def street(seed: int) -> NDArray[np.uint8]:
    """Draw the landscape picture: a road with a stop sign, traffic and a kite."""
    canvas = Canvas(640, 448, seed)
    sky(canvas, 270)
    trees(canvas, 282, 60, (96, 122, 96), 46)
    trees(canvas, 290, 34, (62, 104, 78), 26)
    ground(canvas, 284, 318, 414)
    kite(canvas, (330, 70), 60, 24)
    kite(canvas, (110, 60), 44, -18)
    traffic_light(canvas, (402, 190), 66, 314)
    car(canvas, 442, 329, 62, (70, 70, 200))
    bus(canvas, 20, 372, 330, (40, 50, 190))
    car(canvas, 330, 396, 170, (170, 90, 40))
    stop_sign(canvas, (548, 130), 82, 440)
    return canvas.finish()


# The room.


def wall(canvas: Canvas, floor: float) -> None:
    """Draw a plastered wall with light from the left, and a wooden skirting board."""
    light = 1.08 - 0.3 * canvas.x / canvas.width - 0.12 * canvas.y / canvas.height
    light = light + 0.018 * canvas.noise(2, 3) + 0.03 * canvas.noise(120, 4)
    canvas.pixels[:] = lit((186, 206, 212), light)
    stripes = 0.985 + 0.015 * np.sign(np.sin(canvas.x / 7))
    canvas.shade(box(canvas, 0, 0, canvas.width, floor), stripes.astype(np.float32))


def wood(canvas: Canvas, colour: Colour, plank: float) -> Floats:
    """Return a picture of planks that lie across."""
    grain = canvas.noise(7, 5, 14) * 0.09 + canvas.noise(1.2, 2, 40) * 0.06
    row = np.floor(canvas.y / plank).astype(np.int64)
    tones = canvas.rng.uniform(0.9, 1.1, int(row.max()) + 1).astype(np.float32)
    gap = np.clip(np.abs(canvas.y / plank - row - 0.5) * plank - plank / 2 + 1.2, 0, 1)
    rings = 0.05 * np.sin((canvas.y + 9 * canvas.noise(40, 2, 6)) / 2.6)
    return lit(colour, (tones[row] + grain + rings) * (1 - 0.55 * gap))


def desk(canvas: Canvas, top: float, front: float) -> None:
    """Draw a desk seen from the front: its plate and the board beneath."""
    canvas.fill(box(canvas, 0, top, canvas.width, front), wood(canvas, (92, 136, 178), 200))
    depth = np.clip((canvas.y - top) / (front - top), 0, 1)
    canvas.shade(box(canvas, 0, top, canvas.width, front), 0.8 + 0.35 * depth)
    canvas.fill(
        box(canvas, 0, front, canvas.width, canvas.height), wood(canvas, (58, 88, 120), 300)
    )
    canvas.fill(box(canvas, 0, front, canvas.width, front + 2), (150, 185, 215), 0.7)
    canvas.shade(soft(box(canvas, 0, front + 2, canvas.width, front + 12), 3), 0.65)


def clock(canvas: Canvas, centre: Point, radius: float, hour: int, minute: int) -> None:
    """Draw a round wall clock."""
    rim = ellipse(canvas, centre, (radius, radius))
    shadow(canvas, rim, (radius * 0.1, radius * 0.12), radius * 0.07, 0.45)
    across = (canvas.x - centre[0] + canvas.y - centre[1]) / (2 * radius)
    canvas.fill(rim, blend((110, 108, 106), (26, 24, 24), across + 0.5))
    ring = ellipse(canvas, centre, (radius * 0.93, radius * 0.93))
    canvas.fill(ring, blend((30, 28, 28), (96, 94, 92), across + 0.5))
    dial = ellipse(canvas, centre, (radius * 0.87, radius * 0.87))
    paper = 1.02 - 0.08 * across + 0.008 * canvas.noise(3, 2)
    canvas.fill(dial, lit((236, 243, 246), paper))
    canvas.shade(soft(dial, radius * 0.03) & ~ellipse(canvas, centre, (radius * 0.82,) * 2), 0.88)
    for tick in range(60):
        major = tick % 5 == 0
        ends = [on_circle(centre, radius * r, tick * 6) for r in (0.8, 0.72 if major else 0.77)]
        canvas.fill(line(canvas, ends, radius * (0.03 if major else 0.012)), (30, 30, 30))
    for number in range(1, 13):
        numeral(canvas, number, on_circle(centre, radius * 0.6, number * 30), radius * 0.15)
    hands = [((hour + minute / 60) * 30, 0.42, 0.055), (minute * 6, 0.68, 0.035)]
    for degrees, length, width in hands:
        ends = [
            on_circle(centre, -radius * 0.1, degrees),
            on_circle(centre, radius * length, degrees),
        ]
        hand = line(canvas, ends, radius * width)
        shadow(canvas, hand, (radius * 0.02, radius * 0.03), radius * 0.015, 0.3)
        canvas.fill(hand, (24, 24, 24))
    ends = [on_circle(centre, -radius * 0.16, 200), on_circle(centre, radius * 0.72, 200)]
    canvas.fill(line(canvas, ends, radius * 0.014), (40, 40, 200))
    canvas.fill(ellipse(canvas, centre, (radius * 0.045, radius * 0.045)), (30, 30, 60))


DIGITS: dict[str, list[Point]] = {
    "0": [(0.5, 0), (0.95, 0.2), (0.95, 0.8), (0.5, 1), (0.05, 0.8), (0.05, 0.2), (0.5, 0)],
    "1": [(0.2, 0.2), (0.55, 0), (0.55, 1)],
    "2": [(0.05, 0.2), (0.4, 0), (0.85, 0.1), (0.9, 0.4), (0.05, 1), (0.95, 1)],
    "3": [
        (0.1, 0.05),
        (0.8, 0.05),
        (0.9, 0.3),
        (0.4, 0.47),
        (0.95, 0.65),
        (0.8, 0.95),
        (0.05, 0.95),
    ],
    "4": [(0.75, 1), (0.75, 0), (0.05, 0.68), (1, 0.68)],
    "5": [(0.9, 0), (0.2, 0), (0.12, 0.45), (0.75, 0.42), (0.92, 0.7), (0.7, 0.97), (0.05, 0.95)],
    "6": [(0.8, 0.02), (0.2, 0.4), (0.1, 0.8), (0.5, 1), (0.9, 0.75), (0.6, 0.47), (0.12, 0.65)],
    "7": [(0.05, 0), (0.95, 0), (0.4, 1)],
    "8": [(0.9, 0.25), (0.05, 0.75), (0.5, 1), (0.95, 0.75), (0.1, 0.25), (0.5, 0), (0.9, 0.25)],
    "9": [(0.88, 0.35), (0.4, 0.53), (0.1, 0.25), (0.5, 0), (0.9, 0.2), (0.8, 0.6), (0.25, 1)],
}


def numeral(canvas: Canvas, number: int, centre: Point, height: float) -> None:
    """Write a number around a point."""
    width, text = height * 0.5, str(number)
    left = centre[0] - (len(text) * 1.5 - 0.5) * width / 2
    for position, digit in enumerate(text):
        start = left + position * width * 1.5
        points = [(start + x * width, centre[1] + (y - 0.5) * height) for x, y in DIGITS[digit]]
        canvas.fill(line(canvas, points, height * 0.17), (30, 30, 30))


def laptop(canvas: Canvas, centre: float, bottom: float, width: float) -> None:
    """Draw an open laptop seen from the front, with windows on its screen."""
    hinge = bottom - width * 0.2
    left, right, top = centre - width / 2, centre + width / 2, hinge - width * 0.6
    base = polygon(
        canvas,
        [
            (left, hinge),
            (right, hinge),
            (right + width * 0.1, bottom),
            (left - width * 0.1, bottom),
        ],
    )
    shadow(canvas, base, (width * 0.02, width * 0.03), width * 0.025, 0.5)
    canvas.fill(
        base, blend((150, 150, 148), (196, 196, 194), (canvas.y - hinge) / (bottom - hinge))
    )
    lip = box(canvas, left - width * 0.1, bottom, right + width * 0.1, bottom + width * 0.02, 2)
    canvas.fill(lip, (110, 110, 108))
    for row in range(5):
        y = hinge + width * (0.02 + 0.021 * row)
        spread = 1 + 0.2 * (y - hinge) / (bottom - hinge)
        for key in range(14):
            x = centre + (key - 6.5) * width * 0.064 * spread
            half = width * 0.027 * spread
            canvas.fill(box(canvas, x - half, y, x + half, y + width * 0.016, 0.8), (38, 36, 36))
    pad = box(
        canvas,
        centre - width * 0.15,
        hinge + width * 0.14,
        centre + width * 0.15,
        bottom - width * 0.01,
        2,
    )
    canvas.fill(pad, (165, 165, 163))
    canvas.fill(box(canvas, left, top, right, hinge, width * 0.02), (34, 32, 32))
    edge = width * 0.025
    screen = box(canvas, left + edge, top + edge, right - edge, hinge - edge * 1.4)
    share = (canvas.y - top) / (hinge - top) + 0.12 * canvas.noise(width * 0.2, 2)
    canvas.fill(screen, blend((205, 130, 50), (120, 60, 120), share))
    window = (left + width * 0.1, top + width * 0.08, right - width * 0.28, hinge - width * 0.1)
    canvas.fill(box(canvas, *window, 2), (240, 240, 240))
    canvas.fill(
        box(canvas, window[0], window[1], window[2], window[1] + width * 0.03, 2), (90, 80, 70)
    )
    y = window[1] + width * 0.05
    while y < window[3] - width * 0.03:
        end = window[0] + (window[2] - window[0]) * float(canvas.rng.uniform(0.5, 0.95))
        canvas.fill(box(canvas, window[0] + width * 0.02, y, end, y + width * 0.01), (110, 100, 95))
        y += width * 0.025
    canvas.fill(
        box(canvas, left + edge, hinge - edge * 2.4, right - edge, hinge - edge * 1.4), (50, 40, 40)
    )
    gleam = polygon(
        canvas,
        [
            (right - width * 0.25, top + edge),
            (right - edge, top + edge),
            (right - edge, top + width * 0.4),
        ],
    )
    canvas.fill(gleam & screen, (255, 255, 255), 0.08)


def bottle(canvas: Canvas, centre: float, bottom: float, height: float, colour: Colour) -> None:
    """Draw a glass bottle with a label and a cap."""
    half = height * 0.135
    outline = [(-1, 0), (-1, 0.56), (-0.82, 0.65), (-0.36, 0.76), (-0.34, 0.95)]
    side = [(centre + x * half, bottom - y * height) for x, y in outline]
    body = polygon(canvas, side + [(2 * centre - x, y) for x, y in reversed(side)])
    body |= ellipse(canvas, (centre, bottom), (half, half * 0.2))
    contact = ellipse(canvas, (centre + half * 0.7, bottom), (half * 1.7, half * 0.3))
    canvas.shade(soft(contact, 3), 0.55)
    across = (canvas.x - centre) / half
    light = 0.4 + 0.5 * np.clip(1 - across * across, 0, 1) + 0.03 * canvas.noise(6, 3, 0.5)
    light = (
        light
        + 1.3 * np.exp(-(((across + 0.55) / 0.1) ** 2))
        + 0.4 * np.exp(-(((across - 0.7) / 0.1) ** 2))
    )
    canvas.fill(body, lit(colour, light))
    label = box(
        canvas, centre - half, bottom - height * 0.46, centre + half, bottom - height * 0.17
    )
    round_light = 0.55 + 0.5 * np.sqrt(np.clip(1 - (across + 0.2) ** 2, 0, 1))
    canvas.fill(label, lit((215, 232, 238), round_light))
    band = box(canvas, centre - half, bottom - height * 0.37, centre + half, bottom - height * 0.27)
    canvas.fill(band, lit((50, 40, 170), round_light))
    for row in (0.42, 0.23, 0.2):
        text = box(
            canvas,
            centre - half * 0.6,
            bottom - height * row,
            centre + half * 0.6,
            bottom - height * (row - 0.012),
        )
        canvas.fill(text, (70, 70, 70), 0.8)
    cap = box(
        canvas,
        centre - half * 0.42,
        bottom - height,
        centre + half * 0.42,
        bottom - height * 0.93,
        1,
    )
    canvas.fill(cap, lit((50, 60, 190), round_light * 1.1))


def cup(canvas: Canvas, centre: float, bottom: float, height: float, colour: Colour) -> None:
    """Draw a mug with coffee in it."""
    half = height * 0.42
    contact = ellipse(canvas, (centre + half * 0.5, bottom), (half * 1.4, half * 0.28))
    canvas.shade(soft(contact, 3), 0.55)
    handle = ellipse(
        canvas, (centre + half * 1.05, bottom - height * 0.48), (half * 0.55, height * 0.29)
    )
    hole = ellipse(
        canvas, (centre + half * 1.02, bottom - height * 0.48), (half * 0.34, height * 0.19)
    )
    across = (canvas.x - centre) / half
    light = (
        0.6
        + 0.5 * np.sqrt(np.clip(1 - (across * 0.85 + 0.25) ** 2, 0, 1))
        + 0.01 * canvas.noise(4, 2)
    )
    paint = lit(colour, light)
    canvas.fill(handle & ~hole, lit(colour, 0.82))
    side = [(centre - half, bottom - height * 0.94), (centre - half * 0.9, bottom)]
    body = polygon(canvas, side + [(2 * centre - x, y) for x, y in reversed(side)])
    body |= ellipse(canvas, (centre, bottom), (half * 0.9, half * 0.2))
    rim = (centre, bottom - height * 0.94)
    canvas.fill(body | ellipse(canvas, rim, (half, half * 0.26)), paint)
    canvas.fill(ellipse(canvas, rim, (half * 0.92, half * 0.2)), lit(colour, 0.62))
    coffee = ellipse(canvas, (centre, rim[1] + half * 0.06), (half * 0.84, half * 0.14))
    canvas.fill(coffee, (24, 40, 66))


def plant(canvas: Canvas, centre: float, bottom: float, height: float) -> None:
    """Draw a potted plant with many leaves."""
    half, rim = height * 0.2, bottom - height * 0.36
    contact = ellipse(canvas, (centre + half * 0.5, bottom), (half * 1.4, half * 0.3))
    canvas.shade(soft(contact, 3), 0.55)
    for i in range(46):
        degrees = float(canvas.rng.normal(0, 52))
        reach = height * float(canvas.rng.uniform(0.2, 0.62)) * (1 - abs(degrees) / 400)
        root = (centre + float(canvas.rng.normal(0, half * 0.3)), rim)
        tip = on_circle(root, reach, degrees)
        middle = on_circle(root, reach * 0.6, degrees * 0.8)
        canvas.fill(line(canvas, [root, middle], 1.2), (40, 90, 60))
        length, width = height * 0.14, height * 0.05
        tone = 0.55 + 0.016 * i
        spot = ((tip[0] + middle[0]) / 2, (tip[1] + middle[1]) / 2)
        leaf = ellipse(
            canvas, spot, (length, width), degrees - 90 + float(canvas.rng.normal(0, 12))
        )
        shadow(canvas, leaf, (1.5, 2.5), 1.5, 0.3)
        vein = 1 + 0.12 * canvas.noise(4, 2)
        canvas.fill(leaf, lit((58, 140, 70), tone * vein))
        canvas.fill(line(canvas, [middle, tip], 0.8), (110, 180, 130), 0.5)
    across = (canvas.x - centre) / half
    light = (
        0.5
        + 0.6 * np.sqrt(np.clip(1 - (across * 0.85 + 0.3) ** 2, 0, 1))
        + 0.03 * canvas.noise(3, 3)
    )
    clay = lit((70, 104, 186), light)
    pot = [(centre - half * 0.9, rim), (centre - half * 0.66, bottom)]
    body = polygon(canvas, pot + [(2 * centre - x, y) for x, y in reversed(pot)])
    body |= ellipse(canvas, (centre, bottom), (half * 0.66, half * 0.13))
    canvas.fill(body, clay)
    collar = box(canvas, centre - half, rim - height * 0.03, centre + half, rim + height * 0.05, 2)
    shadow(canvas, collar & body, (0, 3), 2, 0.4)
    canvas.fill(collar, lit((70, 104, 186), 1.06 * light))


def orange(canvas: Canvas, centre: Point, radius: float) -> None:
    """Draw an orange with its pores and its navel."""
    outline = ellipse(canvas, centre, (radius, radius))
    shadow(canvas, outline, (radius * 0.25, radius * 0.3), radius * 0.22, 0.5)
    ball(canvas, centre, radius, (16, 134, 250), 0.035, 1.2, 90)
    navel = (centre[0] + radius * 0.2, centre[1] - radius * 0.35)
    canvas.fill(soft(ellipse(canvas, navel, (radius * 0.1, radius * 0.08)), 1), (40, 100, 130), 0.8)


def banana(canvas: Canvas, centre: Point, length: float, tilt: float) -> None:
    """Draw a curved banana with dark ends."""
    turn = np.radians(tilt)
    c, s = float(np.cos(turn)), float(np.sin(turn))

    def at(along: float, across: float) -> Point:
        bend = 0.9 * along * along - 0.12
        x, y = along, -bend + across
        return (centre[0] + length * (x * c - y * s), centre[1] + length * (x * s + y * c))

    spine = np.linspace(-0.5, 0.5, 40)
    width = 0.105 * (1 - np.abs(spine * 2) ** 3.2) + 0.018
    upper = [at(float(p), -float(w)) for p, w in zip(spine, width, strict=True)]
    lower = [at(float(p), float(w)) for p, w in zip(spine, width, strict=True)]
    whole = polygon(canvas, upper + lower[::-1])
    shadow(canvas, whole, (length * 0.03, length * 0.05), length * 0.035, 0.5)
    freckles = 1 - 0.3 * np.clip(canvas.noise(3, 3) - 1.6, 0, 1) + 0.03 * canvas.noise(8, 3)
    canvas.fill(whole, lit((62, 208, 240), freckles))
    dark = polygon(
        canvas,
        [at(float(p), float(w) * 0.35) for p, w in zip(spine, width, strict=True)] + lower[::-1],
    )
    canvas.shade(soft(dark, length * 0.012) & whole, 0.74)
    ridge = [at(float(p), -float(w) * 0.25) for p, w in zip(spine, width, strict=True)]
    canvas.fill(soft(line(canvas, ridge, length * 0.02), length * 0.008), (170, 240, 252), 0.6)
    for end in (slice(0, 4), slice(36, 40)):
        canvas.fill(polygon(canvas, upper[end] + lower[end][::-1]), (40, 62, 74))


def picture_frame(canvas: Canvas, left: float, top: float, right: float, bottom: float) -> None:
    """Draw a framed landscape."""
    frame = box(canvas, left, top, right, bottom)
    shadow(canvas, frame, (4, 5), 4, 0.4)
    canvas.fill(frame, wood(canvas, (40, 62, 92), 400))
    canvas.fill(box(canvas, left + 7, top + 7, right - 7, bottom - 7), (226, 234, 236))
    inner = box(canvas, left + 16, top + 16, right - 16, bottom - 16)
    share = (canvas.y - top) / (bottom - top) + 0.05 * canvas.noise(18, 3, 3)
    canvas.fill(inner, blend((200, 150, 110), (150, 190, 230), share * 1.3))
    hill = ((canvas.y - top) / (bottom - top) + 0.06 * np.sin(canvas.x / 17) > 0.66).astype(
        np.uint8
    ) * 255
    canvas.fill(inner & hill, blend((90, 110, 70), (40, 90, 50), (share - 0.6) * 3))


def room(seed: int) -> NDArray[np.uint8]:
    """Draw the portrait picture: a clock on the wall above a desk with things on it."""
    canvas = Canvas(448, 600, seed)
    wall(canvas, 400)
    clock(canvas, (310, 112), 42, 10, 9)
    picture_frame(canvas, 44, 44, 196, 214)
    desk(canvas, 430, 576)
    plant(canvas, 64, 476, 220)
    laptop(canvas, 236, 498, 200)
    bottle(canvas, 398, 484, 170, (60, 120, 50))
    cup(canvas, 366, 534, 62, (190, 120, 60))
    orange(canvas, (150, 534), 34)
    banana(canvas, (52, 528), 92, -8)
    return canvas.finish()


# The table.


def plate(canvas: Canvas, centre: Point, radius: float) -> None:
    """Draw a white plate seen from above."""
    rim = ellipse(canvas, centre, (radius, radius))
    shadow(canvas, rim, (radius * 0.05, radius * 0.07), radius * 0.05, 0.5)
    slant = (canvas.x - centre[0] + canvas.y - centre[1]) / radius
    canvas.fill(rim, blend((250, 250, 248), (208, 210, 212), slant * 0.35 + 0.5))
    well = ellipse(canvas, centre, (radius * 0.76, radius * 0.76))
    canvas.fill(well, blend((206, 208, 210), (246, 247, 248), slant * 0.4 + 0.5))
    canvas.fill(ellipse(canvas, centre, (radius * 0.73, radius * 0.73)), (236, 238, 240))


def blob(canvas: Canvas, centre: Point, radius: float, rough: float) -> NDArray[np.uint8]:
    """Return the mask of an irregular round patch."""
    sizes = radius * (1 + rough * canvas.rng.standard_normal(9))
    return polygon(
        canvas, curve([on_circle(centre, float(r), 40 * i) for i, r in enumerate(sizes)], 8)
    )


def pizza(canvas: Canvas, centre: Point, radius: float) -> None:
    """Draw a pizza with crust, cheese, salami, olives and basil."""
    crust = blob(canvas, centre, radius, 0.012)
    shadow(canvas, crust, (radius * 0.03, radius * 0.05), radius * 0.04, 0.5)
    distance = np.hypot(canvas.x - centre[0], canvas.y - centre[1]) / radius
    bulge = 1.1 - 9 * (distance - 0.93) ** 2 * 6 + 0.09 * canvas.noise(9, 4)
    canvas.fill(crust, lit((96, 158, 212), np.clip(bulge, 0.45, 1.2)))
    scorch = np.clip(canvas.noise(14, 4) - 0.9, 0, 1)
    canvas.shade(crust, 1 - 0.5 * scorch)
    canvas.fill(blob(canvas, centre, radius * 0.87, 0.006), (36, 56, 176))
    melted = blob(canvas, centre, radius * 0.835, 0.012)
    cheese = blend((130, 212, 246), (44, 96, 214), 0.36 + 0.36 * canvas.noise(15, 5))
    canvas.fill(soft(melted, 1.5), cheese)
    bubbles = np.clip(canvas.noise(8, 3) - 1.2, 0, 1)
    canvas.fill(melted, (150, 220, 248), 0.2)
    canvas.shade(melted, 1 - 0.3 * bubbles)
    spots = [(0.0, 0.0)] + [on_circle((0, 0), 0.4, 72 * i + 15) for i in range(5)]
    spots += [on_circle((0, 0), 0.68, 40 * i + 5) for i in range(9)]
    for x, y in spots:
        jitter = canvas.rng.normal(0, 0.03, 2)
        spot = (
            centre[0] + radius * (x + float(jitter[0])),
            centre[1] + radius * (y + float(jitter[1])),
        )
        size = radius * float(canvas.rng.uniform(0.1, 0.125))
        slice_ = blob(canvas, spot, size, 0.03)
        shadow(canvas, slice_, (1, 1.5), 1.2, 0.4)
        canvas.fill(slice_, (30, 34, 128))
        meat = 1 + 0.2 * canvas.noise(2.4, 3)
        canvas.fill(blob(canvas, spot, size * 0.88, 0.03), lit((52, 62, 186), meat))
    for _ in range(16):
        turn, far = float(canvas.rng.uniform(0, 360)), float(np.sqrt(canvas.rng.uniform(0.02, 0.6)))
        spot = on_circle(centre, radius * far, turn)
        size = radius * 0.045
        canvas.fill(
            ellipse(canvas, spot, (size, size * 0.85)) & ~ellipse(canvas, spot, (size * 0.45,) * 2),
            (34, 36, 36),
        )
    for _ in range(9):
        turn, far = (
            float(canvas.rng.uniform(0, 360)),
            float(np.sqrt(canvas.rng.uniform(0.02, 0.55))),
        )
        spot = on_circle(centre, radius * far, turn)
        leaf = ellipse(canvas, spot, (radius * 0.09, radius * 0.045), turn)
        shadow(canvas, leaf, (1, 1.5), 1, 0.3)
        canvas.fill(leaf, lit((44, 120, 56), 1 + 0.2 * canvas.noise(3, 2)))
    for i in range(4):
        ends = [
            on_circle(centre, radius * 0.98, 45 * i + 22),
            on_circle(centre, -radius * 0.98, 45 * i + 22),
        ]
        canvas.shade(line(canvas, ends, 1.3), 0.62)


def donut(canvas: Canvas, centre: Point, radius: float, icing: Colour) -> None:
    """Draw an iced donut with sprinkles."""
    whole = ellipse(canvas, centre, (radius, radius))
    hole = ellipse(canvas, centre, (radius * 0.22, radius * 0.22))
    shadow(canvas, whole, (radius * 0.1, radius * 0.14), radius * 0.1, 0.5)
    dx, dy = (canvas.x - centre[0]) / radius, (canvas.y - centre[1]) / radius
    distance = np.hypot(dx, dy)
    slope = (distance - 0.6) / 0.41
    depth = np.sqrt(np.clip(1 - slope * slope, 0, 1))
    outward = (-0.5 * dx - 0.62 * dy) / np.maximum(distance, 1e-3) * slope
    light = np.clip(0.42 + 0.55 * depth + 0.38 * outward, 0.2, 1.3)
    dough = lit((84, 146, 208), light * (1 + 0.06 * canvas.noise(3, 3)))
    canvas.fill(whole & ~hole, dough)
    top = blob(canvas, centre, radius * 0.88, 0.03) & ~ellipse(canvas, centre, (radius * 0.29,) * 2)
    gloss = 70 * np.clip(light - 1.02, 0, 1)[..., None] * 4
    canvas.fill(top, (lit(icing, light) + gloss).astype(np.float32))
    colours: list[Colour] = [
        (60, 60, 230),
        (70, 210, 245),
        (220, 150, 60),
        (110, 200, 90),
        (245, 245, 245),
    ]
    for i in range(44):
        turn = float(canvas.rng.uniform(0, 360))
        x, y = on_circle(centre, radius * float(canvas.rng.uniform(0.38, 0.8)), turn)
        angle = float(canvas.rng.uniform(0, np.pi))
        ax, ay = radius * 0.05 * float(np.cos(angle)), radius * 0.05 * float(np.sin(angle))
        sprinkle = line(canvas, [(x - ax, y - ay), (x + ax, y + ay)], radius * 0.045)
        canvas.fill(sprinkle, colours[i % len(colours)])


def apple(canvas: Canvas, centre: Point, radius: float) -> None:
    """Draw a red apple with yellow streaks and a stalk."""
    outline = ellipse(canvas, centre, (radius, radius))
    shadow(canvas, outline, (radius * 0.25, radius * 0.3), radius * 0.22, 0.5)
    mask = ball(canvas, centre, radius, (44, 30, 206), 0.05, 5, 110)
    u, v = canvas.x - centre[0], canvas.y - centre[1] + radius * 0.3
    rays = 0.6 + 0.4 * np.sin(np.arctan2(v, u) * 23 + 2 * canvas.noise(9, 2))
    fade = np.clip(1 - np.hypot(u, v) / radius, 0, 1)
    streaks = (255 * rays * fade * 0.7).astype(np.uint8) & mask
    canvas.fill(streaks, (90, 190, 225))
    dip = (centre[0], centre[1] - radius * 0.3)
    canvas.shade(soft(ellipse(canvas, dip, (radius * 0.22, radius * 0.14)), radius * 0.06), 0.45)
    stalk = [
        dip,
        (dip[0] + radius * 0.05, dip[1] - radius * 0.3),
        (dip[0] + radius * 0.2, dip[1] - radius * 0.5),
    ]
    canvas.fill(line(canvas, stalk, radius * 0.09), (34, 58, 84))


def fork(canvas: Canvas, centre: float, top: float, length: float) -> None:
    """Draw a fork that points up."""
    width = length * 0.12
    mask = box(
        canvas,
        centre - width * 0.16,
        top + length * 0.36,
        centre + width * 0.16,
        top + length * 0.7,
    )
    mask |= polygon(
        canvas,
        curve(
            [
                (centre - width * 0.14, top + length * 0.6),
                (centre - width * 0.3, top + length * 0.95),
                (centre, top + length),
                (centre + width * 0.3, top + length * 0.95),
                (centre + width * 0.14, top + length * 0.6),
            ]
        ),
    )
    mask |= polygon(
        canvas,
        [
            (centre - width / 2, top + length * 0.22),
            (centre + width / 2, top + length * 0.22),
            (centre + width * 0.4, top + length * 0.33),
            (centre + width * 0.15, top + length * 0.4),
            (centre - width * 0.15, top + length * 0.4),
            (centre - width * 0.4, top + length * 0.33),
        ],
    )
    for prong in range(4):
        x = centre + (prong - 1.5) * width * 0.28
        mask |= box(
            canvas, x - width * 0.075, top, x + width * 0.075, top + length * 0.25, width * 0.07
        )
    metal(canvas, mask, centre, width)


def knife(canvas: Canvas, centre: float, top: float, length: float) -> None:
    """Draw a table knife that points up."""
    width = length * 0.09
    outline = [
        (-0.5, 0.55),
        (-0.5, 0.12),
        (-0.2, 0.02),
        (0.35, 0),
        (0.4, 0.55),
        (0.45, 0.6),
        (0.5, 0.97),
        (0, 1),
        (-0.5, 0.97),
        (-0.45, 0.6),
    ]
    mask = polygon(canvas, [(centre + x * width, top + y * length) for x, y in outline])
    metal(canvas, mask, centre, width)


def metal(canvas: Canvas, mask: NDArray[np.uint8], centre: float, width: float) -> None:
    """Fill a shape with polished steel."""
    shadow(canvas, mask, (2.5, 3.5), 2.5, 0.5)
    across = (canvas.x - centre) / width
    tone = 178 + 52 * np.sin(across * 5 + 0.6) + 10 * canvas.noise(14, 3, 0.4)
    canvas.fill(mask, np.repeat(tone[..., None], 3, axis=2).astype(np.float32))


def table(seed: int) -> NDArray[np.uint8]:
    """Draw the square picture: a meal on a wooden table, seen from above."""
    canvas = Canvas(512, 512, seed)
    canvas.pixels[:] = wood(canvas, (70, 112, 158), 86)
    canvas.shade(box(canvas, 0, 0, 512, 512), 1.15 - 0.4 * np.hypot(canvas.x, canvas.y) / 724)
    plate(canvas, (176, 180), 166)
    pizza(canvas, (176, 180), 146)
    fork(canvas, 388, 30, 180)
    knife(canvas, 440, 30, 180)
    plate(canvas, (392, 376), 112)
    donut(canvas, (360, 330), 52, (150, 120, 235))
    donut(canvas, (448, 376), 50, (34, 52, 84))
    donut(canvas, (364, 424), 52, (215, 232, 240))
    orange(canvas, (48, 420), 36)
    apple(canvas, (236, 404), 35)
    banana(canvas, (148, 470), 124, 8)
    return canvas.finish()


PICTURES = {"drawn_1.jpg": street, "drawn_2.jpg": room, "drawn_3.jpg": table}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures into the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Draw the package's verification pictures.")
    parser.add_argument("folder", nargs="?", type=Path, default=OUTPUT)
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, draw) in enumerate(PICTURES.items()):
        ok, data = cv2.imencode(".jpg", draw(SEED + number), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not ok:
            raise RuntimeError(f"OpenCV cannot encode {name}")
        (folder / name).write_bytes(data.tobytes())
        print(f"{folder / name}: {data.size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
