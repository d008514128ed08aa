"""Mosaic, MixUp, affine, colour jitter and flip, each a function of a sample and a generator.

Nothing here keeps state: the same sample and the same generator give the same result, in whatever
process it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.training.data.pictures import Boxes, Labels, Size
from yolox_deploy.training.recipes import Recipe

PAD = 114
# A box that an augmentation cut is kept while this much of it, and this many pixels, are visible.
MIN_VISIBLE = 0.2
MIN_SIDE = 2.0

Generator = np.random.Generator


@dataclass(frozen=True)
class Sample:
    """A picture and its boxes.

    ``image`` is (h, w, 3) uint8 BGR, ``boxes`` (n, 4) float32 xyxy in its pixels, ``labels`` (n,)
    int64 class indices.
    """

    image: NDArray[np.uint8]
    boxes: Boxes
    labels: Labels


Draw = Callable[[Generator], Sample]


def fit(sample: Sample, size: Size, scale: float = 1.0) -> Sample:
    """Return the sample resized to fit into (height, width), times ``scale``, without padding."""
    height, width = sample.image.shape[:2]
    ratio = min(size[0] / height, size[1] / width) * scale
    target = max(int(width * ratio), 1), max(int(height * ratio), 1)
    if target == (width, height):
        return sample
    image = cv2.resize(sample.image, target, interpolation=cv2.INTER_LINEAR)
    return Sample(np.asarray(image, np.uint8), sample.boxes * np.float32(ratio), sample.labels)


def letterbox(sample: Sample, size: Size) -> Sample:
    """Return the sample fitted into the top left of a padded (height, width) canvas."""
    sample = fit(sample, size)
    canvas = np.full((*size, 3), PAD, np.uint8)
    return Sample(canvas, _paste(canvas, sample, 0, 0), sample.labels)


def crop_boxes(sample: Sample) -> Sample:
    """Clip the boxes to the picture and drop those of which too little is left."""
    height, width = sample.image.shape[:2]
    limit = np.array([width, height, width, height], np.float32)
    clipped = np.clip(sample.boxes, 0, limit)
    side = clipped[:, 2:] - clipped[:, :2]
    whole = np.prod(sample.boxes[:, 2:] - sample.boxes[:, :2], axis=1)
    keep = (side.min(1, initial=np.inf) >= MIN_SIDE) & (side.prod(1) >= MIN_VISIBLE * whole)
    return Sample(sample.image, clipped[keep], sample.labels[keep])


def mosaic(own: Sample, draw: Draw, size: Size, recipe: Recipe, rng: Generator) -> Sample:
    """Return ``own`` and three more around a random centre, warped onto one (height, width)."""
    height, width = size
    canvas = np.full((2 * height, 2 * width, 3), PAD, np.uint8)
    x, y = (int(side * rng.uniform(0.5, 1.5)) for side in (width, height))
    boxes, labels = [], []
    for quarter in range(4):
        part = fit(draw(rng) if quarter else own, size)
        h, w = part.image.shape[:2]
        left = x - w if quarter % 2 == 0 else x
        top = y - h if quarter < 2 else y
        boxes.append(_paste(canvas, part, left, top))
        labels.append(part.labels)
    # Quarters extend outwards from the centre, so only the canvas can have cut them.
    whole = Sample(canvas, np.concatenate(boxes), np.concatenate(labels))
    return affine(crop_boxes(whole), size, recipe, rng)


def _paste(canvas: NDArray[np.uint8], part: Sample, left: int, top: int) -> Boxes:
    """Copy the picture onto the canvas, where the canvas has room, and return its boxes there."""
    (h, w), (height, width) = part.image.shape[:2], canvas.shape[:2]
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + w, width), min(top + h, height)
    canvas[y1:y2, x1:x2] = part.image[y1 - top : y2 - top, x1 - left : x2 - left]
    return part.boxes + np.array([left, top, left, top], np.float32)


def affine(sample: Sample, size: Size, recipe: Recipe, rng: Generator) -> Sample:
    """Return the sample turned, scaled, sheared and shifted onto a (height, width) canvas."""
    height, width = sample.image.shape[:2]
    angle = np.deg2rad(rng.uniform(-recipe.degrees, recipe.degrees))
    shear = np.tan(np.deg2rad(rng.uniform(-recipe.shear, recipe.shear, 2)))
    scale = rng.uniform(*recipe.scale)
    shift = rng.uniform(0.5 - recipe.translate, 0.5 + recipe.translate, 2)

    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[1, shear[0]], [shear[1], 1]]) @ np.array([[cos, sin], [-sin, cos]])
    offset = shift * (size[1], size[0]) - linear @ (width / 2, height / 2)
    matrix = np.column_stack((linear, offset))

    image = cv2.warpAffine(sample.image, matrix, size[::-1], borderValue=(PAD, PAD, PAD))
    corners = sample.boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2)
    moved = corners @ linear.T + offset
    boxes = np.concatenate((moved.min(1), moved.max(1)), 1).astype(np.float32)
    return crop_boxes(Sample(np.asarray(image, np.uint8), boxes, sample.labels))


def mixup(sample: Sample, other: Sample, recipe: Recipe, rng: Generator) -> Sample:
    """Return the mean of the sample and a scaled, flipped, shifted other one, with all boxes."""
    height, width = sample.image.shape[:2]
    other = fit(other, (height, width), rng.uniform(*recipe.mixup_scale))
    other = flip(other, recipe.flip_prob, rng)
    h, w = other.image.shape[:2]
    left, top = (
        int(rng.integers(min(space, 0), max(space, 0) + 1)) for space in (width - w, height - h)
    )
    canvas = np.full_like(sample.image, PAD)
    placed = crop_boxes(Sample(canvas, _paste(canvas, other, left, top), other.labels))
    return Sample(
        np.asarray(cv2.addWeighted(sample.image, 0.5, canvas, 0.5, 0), np.uint8),
        np.concatenate((sample.boxes, placed.boxes)),
        np.concatenate((sample.labels, placed.labels)),
    )


def jitter_colours(sample: Sample, recipe: Recipe, rng: Generator) -> Sample:
    """Return the sample with hue, saturation and value each shifted by a random amount."""
    if rng.random() >= recipe.hsv_prob:
        return sample
    shift = np.round(rng.uniform(-1, 1, 3) * recipe.hsv).astype(np.int64)
    table = np.arange(256)[:, None] + shift
    table[:, 0] %= 180
    table = np.clip(table, 0, 255).astype(np.uint8)
    hsv = cv2.LUT(cv2.cvtColor(sample.image, cv2.COLOR_BGR2HSV), table[None])
    image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)
    return Sample(image, sample.boxes, sample.labels)


def flip(sample: Sample, probability: float, rng: Generator) -> Sample:
    """Return the sample, mirrored left to right with the given probability."""
    if rng.random() >= probability:
        return sample
    boxes = sample.boxes.copy()
    boxes[:, [0, 2]] = sample.image.shape[1] - sample.boxes[:, [2, 0]]
    return Sample(np.ascontiguousarray(sample.image[:, ::-1]), boxes, sample.labels)


def augment(
    own: Sample, draw: Draw, size: Size, recipe: Recipe, rng: Generator, *, mixed: bool
) -> Sample:
    """Return one training sample of exactly (height, width).

    ``own`` is the picture to show, ``draw`` gives any other.  ``mixed`` allows Mosaic and MixUp,
    which the last epochs do not use.
    """
    sample = own
    if mixed and rng.random() < recipe.mosaic_prob:
        sample = mosaic(own, draw, size, recipe, rng)
        if rng.random() < recipe.mixup_prob:
            sample = mixup(sample, draw(rng), recipe, rng)
    return letterbox(flip(jitter_colours(sample, recipe, rng), recipe.flip_prob, rng), size)
