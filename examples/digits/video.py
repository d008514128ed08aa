"""Draws digits that move, frame by frame, with exact boxes: a stream with ground truth.

``python examples/digits/video.py FOLDER`` writes the frames as pictures and their boxes as a COCO
data set, ``FOLDER/annotations.json`` and ``FOLDER/frames/``, in the order in which they are shown.
Every digit keeps to a lane of its own, so that none ever covers another, moves at a speed of its
own and turns round at the borders.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from digits import CLASS_NAMES, Glyph, Picture, write_digit

from yolox_deploy.errors import OutputError, UsageError, YoloxDeployError
from yolox_deploy.files import make_folder, write_atomically

WIDTH, HEIGHT, DIGITS, FRAMES, SPEED = 640, 360, 5, 150, 6.0
_MARGIN = 2


@dataclass(frozen=True)
class Frame:
    """One frame: (H, W, 3) uint8 BGR; ``boxes`` (N, 4) float32 xyxy; ``labels`` (N,) int64."""

    image: Picture
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mover:
    """A digit with its start and its speed in pixels a frame, along and across its lane."""

    glyph: Glyph
    start: tuple[float, float]
    speed: tuple[float, float]
    room: tuple[int, int]
    lane_top: int

    def at(self, time: int) -> Glyph:
        """Return the digit where it stands at frame ``time``, in whole pixels."""
        x, y = (
            round(_bounce(start + speed * time, room))
            for start, speed, room in zip(self.start, self.speed, self.room, strict=True)
        )
        return replace(self.glyph, x=x + _MARGIN, y=self.lane_top + y + _MARGIN)


def _bounce(position: float, room: int) -> float:
    """Return where something is that ran ``position`` from 0 and turned round at 0 and ``room``."""
    if room <= 0:
        return 0.0
    return room - abs(position % (2 * room) - room)


def moving_digits(
    seed: int,
    count: int = FRAMES,
    *,
    digits: int = DIGITS,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    speed: float = SPEED,
) -> Iterator[Frame]:
    """Yield ``count`` frames of ``digits`` digits in a picture of ``size`` (width, height).

    ``speed`` is the mean in pixels a frame.  The same seed gives the same frames.  Raises
    :class:`UsageError` where the digits would be too small to be read.
    """
    width, height = size
    lane = height // max(digits, 1)
    if count < 1 or digits < 1 or lane < 48 or width < lane:
        raise UsageError(
            f"{count} frames of {digits} digits in {width}x{height} pixels cannot be drawn: each "
            "digit needs a lane of 48 pixels, at least as wide as high"
        )
    rng = np.random.default_rng([seed, digits, width, height])
    ground = np.empty((height, width, 3), np.uint8)
    ground[:] = rng.integers(0, 256, 3)
    movers = [_mover(rng, ground, number * lane, lane, speed) for number in range(digits)]
    for time in range(count):
        canvas = ground.copy()
        glyphs = [mover.at(time) for mover in movers]
        for glyph in glyphs:
            glyph.paint_on(canvas)
        yield Frame(
            canvas,
            np.array([glyph.box for glyph in glyphs], np.float32),
            np.array([glyph.label for glyph in glyphs], np.int64),
        )


def _mover(rng: np.random.Generator, ground: Picture, top: int, lane: int, speed: float) -> Mover:
    """Return a random digit for the lane that begins at row ``top``."""
    patch = np.ascontiguousarray(ground[: lane - 2 * _MARGIN, : 2 * lane])
    glyph = write_digit(rng, patch, int(rng.integers(10)), (0.4 * lane, 0.7 * lane))
    height, width = glyph.coverage.shape
    room = (ground.shape[1] - width - 2 * _MARGIN, lane - height - 2 * _MARGIN)
    across = math.copysign(0.1, rng.random() - 0.5) * speed
    return Mover(
        glyph,
        (float(rng.uniform(0, 2 * room[0])), float(rng.uniform(0, 2 * max(room[1], 1)))),
        (speed * float(rng.uniform(0.5, 1.5)), across),
        room,
        top,
    )


def write_video(folder: Path, seed: int, count: int = FRAMES, **options: Any) -> Path:
    """Write frames and boxes, and return the path of the annotations."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    frames = make_folder(folder / "frames")
    for number, frame in enumerate(moving_digits(seed, count, **options), 1):
        height, width = frame.image.shape[:2]
        name = f"{number:06d}.png"
        good, data = cv2.imencode(".png", frame.image)
        if not good:
            raise OutputError(f"cannot write {frames / name}: OpenCV cannot encode it")
        write_atomically(frames / name, data.tobytes())
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for (x0, y0, x1, y1), label in zip(frame.boxes.tolist(), frame.labels, strict=True):
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(label) + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASS_NAMES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations.json"
    write_atomically(path, json.dumps(document) + "\n")
    return path


def main() -> int:
    """Run the script; returns its exit code."""
    parser = argparse.ArgumentParser(description="Draw moving digits with exact boxes.")
    parser.add_argument("folder", type=Path, help="where frames and annotations go")
    parser.add_argument("--frames", type=int, default=FRAMES, help=f"how many ({FRAMES})")
    parser.add_argument("--seed", type=int, default=1, help="which video (1)")
    parser.add_argument("--digits", type=int, default=DIGITS, help=f"how many move ({DIGITS})")
    parser.add_argument(
        "--speed", type=float, default=SPEED, help=f"mean pixels a frame ({SPEED:g})"
    )
    given = parser.parse_args()
    try:
        path = write_video(
            given.folder, given.seed, given.frames, digits=given.digits, speed=given.speed
        )
    except YoloxDeployError as error:
        print(f"video.py: {error}", file=sys.stderr)
        return error.exit_code
    print(f"wrote {path} and {given.frames} frames beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
