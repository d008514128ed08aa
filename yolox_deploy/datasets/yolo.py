"""Reads YOLO's text labels: a ``data.yaml`` with the classes, and one text file per picture.

The format is that of https://docs.ultralytics.com/datasets/detect/: a line has a class index and
the centre, width and height of a box as shares of the picture.  A line of a polygon (class index
and points) gives the box around it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yolox_deploy.data.coco import CocoAnnotation, CocoDocument, CocoImage
from yolox_deploy.errors import ImageError, InputFileError, ModelWarning
from yolox_deploy.files import read_input
from yolox_deploy.packages import install_line, require
from yolox_deploy.pictures.images import find_images, read_image

# Shares a little above 1 are rounding; larger ones are pixels, or another format.
LARGEST_SHARE = 1.1
LARGEST_FILE = 16 << 20


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file; raises :class:`InputFileError` if it is no mapping."""
    yaml = require("yaml", f"reading {path.name} needs PyYAML", install_line("train"))
    try:
        text = read_input(path, LARGEST_FILE, "data.yaml").decode("utf-8-sig")
        content = yaml.safe_load(text)
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputFileError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputFileError(f"{path}: expected names: and train:, found no such keys")
    return content


def class_names(path: Path, content: dict[str, Any]) -> list[str]:
    """Return ``names`` of a ``data.yaml``: a list, or a mapping from 0, 1, 2, ... to names."""
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise InputFileError(f"{path}: names must be numbered 0, 1, 2, ...")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise InputFileError(f"{path}: names must be a list of class names")
    count = content.get("nc")
    if count is not None and count != len(names):
        raise InputFileError(f"{path}: nc is {count}, but there are {len(names)} names")
    return [str(name) for name in names]


def picture_places(path: Path, content: dict[str, Any], part: str) -> list[Path]:
    """Return the folders, or lists of pictures, of ``train``, ``val`` or ``test``.

    They are relative to ``path:`` in the file, or to the file.  Roboflow's files name them relative
    to a folder that the user may not have (``../train/images``).
    """
    places = content.get(part) or []
    root = path.parent / str(content.get("path") or "")
    found = []
    for place in places if isinstance(places, list) else [places]:
        name = str(place)
        tried = [base / name for base in dict.fromkeys((root, path.parent))]
        tried.append(path.parent / name.removeprefix("../"))
        there = next((one for one in tried if one.exists()), None)
        if there is None:
            looked = " and ".join(dict.fromkeys(map(str, tried)))
            raise InputFileError(f"{path}: {part}: {name} is not there; looked for {looked}")
        found.append(there)
    return found


def read_yolo(path: Path, place: Path) -> CocoDocument:
    """Return the pictures of one place of :func:`picture_places`, with their boxes in pixels.

    Every picture is decoded once, because its labels are shares of its size.  Raises
    :class:`InputFileError` for a label file that is not as the format says, and names its line, and
    :class:`ImageError` for a picture that cannot be read.
    """
    names = class_names(path, read_yaml(path))
    images, annotations, without = [], [], 0
    for number, picture in enumerate(_pictures(place), 1):
        height, width = read_image(picture).shape[:2]
        name = picture.relative_to(place) if place.is_dir() else picture.absolute()
        images.append(CocoImage(number, str(name), (height, width), {}))
        labels = label_file(picture)
        if not labels.is_file():
            without += 1
            continue
        for index, (x, y, w, h) in _rows(labels, len(names)):
            box = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
            annotations.append(CocoAnnotation(number, index, box, box[2] * box[3], False, {}))
    if without == len(images):
        raise InputFileError(
            f"{place}: none of its {without} pictures has labels: expected, for example,"
            f" {label_file(_pictures(place)[0])}"
        )
    if without:
        warnings.warn(
            f"{place}: {without} of {len(images)} pictures have no label file, and count as"
            " pictures without objects",
            ModelWarning,
            stacklevel=2,
        )
    return CocoDocument(path, images, annotations, dict(enumerate(names)))


def _pictures(place: Path) -> list[Path]:
    """Return the pictures of a folder, or those that a text file lists, one per line."""
    if place.is_dir():
        try:
            return find_images([place])
        except ImageError as error:
            raise InputFileError(str(error)) from error
    try:
        data = read_input(place, LARGEST_FILE, "list of pictures")
        lines = data.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"{place}: no list of pictures: {error}") from error
    found = [place.parent / line.strip() for line in lines if line.strip()]
    if not found:
        raise InputFileError(f"{place}: the list of pictures is empty")
    return found


def label_file(picture: Path) -> Path:
    """Return where the labels of a picture lie: ``labels`` in the place of the last ``images``."""
    parts = list(picture.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _rows(path: Path, classes: int) -> Iterator[tuple[int, tuple[float, float, float, float]]]:
    """Yield class index and box (centre, size; shares of the picture) of each line."""
    try:
        data = read_input(path, LARGEST_FILE, "file of labels")
        lines = data.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"{path}: cannot be read as text: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            index, *values = map(float, line.split())
        except ValueError:
            index, values = math.nan, []
        where = f"{path}, line {number}"
        points = len(values) >= 6 and len(values) % 2 == 0
        if not index.is_integer() or not (points or len(values) == 4):
            raise InputFileError(
                f"{where}: {line[:60]!r}; expected a class index and four numbers: centre x, centre"
                " y, width and height"
            )
        if not 0 <= index < classes:
            raise InputFileError(f"{where}: class {index:g}, but there are {classes} names")
        if not all(-0.1 <= value <= LARGEST_SHARE for value in values):
            raise InputFileError(
                f"{where}: {line[:60]!r}; the numbers must be shares of the picture, 0 to 1"
            )
        if points:
            xs, ys = values[::2], values[1::2]
            left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
            values = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        x, y, w, h = values
        yield int(index), (x, y, w, h)
