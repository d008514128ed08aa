"""COCO-format annotations and image folders, several of each: what is usable, and what was not."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ImageError, InputFileError
from yolox_deploy.pictures.images import read_image

Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """One annotation file and the folder its ``file_name`` entries are relative to."""

    annotations: Path
    images: Path


@dataclass(frozen=True)
class Picture:
    """Where a picture lies, its (height, width), boxes (n, 4) xyxy pixels, class indices (n,)."""

    path: Path
    image_id: int
    size: tuple[int, int]
    boxes: Boxes
    labels: NDArray[np.int64]

    def read(self) -> NDArray[np.uint8]:
        """Return the picture as (h, w, 3) uint8 BGR.

        Raises :class:`ImageError` where it cannot be read or has not the annotated size.
        """
        image = read_image(self.path)
        if image.shape[:2] != self.size:
            height, width = image.shape[:2]
            raise ImageError(
                f"{self.path}: {width}x{height} pixels, its annotation says"
                f" {self.size[1]}x{self.size[0]}: its boxes cannot be right"
            )
        return image


@dataclass
class CocoPictures:
    """The usable pictures of one or more sources.

    ``problems`` counts what had to be mended or left out, by description; ``truth`` holds the
    annotations as COCO's evaluation wants them (crowds included), with class indices as category
    ids and :attr:`Picture.image_id` as picture ids.
    """

    names: list[str]
    pictures: list[Picture] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, sources: Sequence[Source], names: Sequence[str] | None = None) -> CocoPictures:
        """Read the sources; classes are matched by name, in the order of the first file's ids.

        Raises :class:`InputFileError` for a file that is not COCO format, names an unknown class,
        or leaves no picture with a box.
        """
        documents = [_document(source.annotations) for source in sources]
        if names is None:
            with _entries_of(sources[0].annotations):
                first = sorted(documents[0]["categories"], key=lambda category: category["id"])
                names = [category["name"] for category in first]
        result = cls(list(names))
        for source, document in zip(sources, documents, strict=True):
            with _entries_of(source.annotations):
                result._add(source, document)
        if not any(len(picture.boxes) for picture in result.pictures):
            files = ", ".join(str(source.annotations) for source in sources)
            seen = "; ".join(f"{count} {what}" for what, count in (+result.problems).items())
            raise InputFileError(
                f"{files}: no picture with a usable box" + f" ({seen})" * bool(seen)
            )
        return result

    def _add(self, source: Source, document: dict[str, Any]) -> None:
        index = _class_index(source, document, self.names)
        rows: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in document["images"]}
        for row in document["annotations"]:
            if row["image_id"] in rows:
                rows[row["image_id"]].append(row)
            else:
                self.problems["boxes of pictures that are not listed, left out"] += 1
        for image in document["images"]:
            path = source.images / image["file_name"]
            if os.path.isfile(path):
                self._add_picture(path, image, rows[image["id"]], index)
            else:
                self.problems["missing pictures, left out"] += 1

    def _add_picture(
        self, path: Path, image: dict[str, Any], rows: list[dict[str, Any]], index: dict[int, int]
    ) -> None:
        """Add one picture under a running number, as files may use the same ids."""
        image_id = len(self.pictures) + 1
        for row in rows:
            area = row.get("area", row["bbox"][2] * row["bbox"][3])
            known = {"id": len(self.truth) + 1, "image_id": image_id, "area": area, "iscrowd": 0}
            self.truth.append(known | _used_parts(row) | {"category_id": index[row["category_id"]]})
        single = [row for row in rows if not row.get("iscrowd")]
        self.problems["crowd regions, left out"] += len(rows) - len(single)
        boxes = np.array([row["bbox"] for row in single], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([index[row["category_id"]] for row in single], np.int64)
        size = image["height"], image["width"]
        boxes, labels = self._mended(boxes, labels, size)
        self.pictures.append(Picture(path, image_id, size, boxes, labels))

    def _mended(
        self, boxes: Boxes, labels: NDArray[np.int64], size: tuple[int, int]
    ) -> tuple[Boxes, NDArray[np.int64]]:
        """Clip the boxes to the picture and drop those without area."""
        limit = np.array([size[1], size[0]] * 2, np.float32)
        flat = ~(boxes[:, 2:] > boxes[:, :2]).all(1)  # also true of NaN
        clipped = np.clip(boxes, 0, limit)
        outside = ~flat & ~(clipped[:, 2:] > clipped[:, :2]).all(1)
        keep = ~(flat | outside)
        # Half a pixel is rounding, as COCO's own boxes have it, and not worth a word.
        moved = keep & (np.abs(boxes - clipped).max(1, initial=0) > 0.5)
        self.problems.update(
            {
                "zero-size boxes, left out": int(flat.sum()),
                "boxes outside their picture, left out": int(outside.sum()),
                "boxes reaching over the edge, clipped": int(moved.sum()),
            }
        )
        return clipped[keep], labels[keep]


def _used_parts(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("bbox", "iscrowd") if key in row}


@contextmanager
def _entries_of(path: Path) -> Iterator[None]:
    """Turn what a malformed entry causes into an :class:`InputFileError` that names the file."""
    try:
        yield
    except KeyError as error:
        raise InputFileError(f"{path}: an entry has no {error}") from error
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputFileError(f"{path}: an entry is not as COCO defines it: {error}") from error


def _document(path: Path) -> dict[str, Any]:
    """Return the parsed annotation file, checked for the parts that are used."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputFileError(f"{path}: not JSON: {error}") from error
    if isinstance(document, list):
        raise InputFileError(f"{path}: a list of detections; expected a COCO data set (an object)")
    content = document if isinstance(document, dict) else {}
    parts = ("images", "annotations", "categories")
    missing = [part for part in parts if not isinstance(content.get(part), list)]
    if missing:
        raise InputFileError(f"{path}: not a COCO data set: no list {', '.join(missing)}")
    for part in ("images", "categories"):
        if not content[part]:
            raise InputFileError(f"{path}: the list of {part} is empty")
    return content


def _class_index(source: Source, document: dict[str, Any], names: Sequence[str]) -> dict[int, int]:
    """Return category id to class index; ids may have gaps and differ from file to file."""
    position = {name: i for i, name in enumerate(names)}
    used = {row["category_id"] for row in document["annotations"]}
    index = {}
    for category in document["categories"]:
        if category["name"] in position:
            index[category["id"]] = position[category["name"]]
        elif category["id"] in used:
            raise InputFileError(
                f"{source.annotations}: class {category['name']!r} is none of the {len(names)}"
                f" classes to train ({', '.join(names)})"
            )
    if unknown := used - index.keys():
        raise InputFileError(
            f"{source.annotations}: annotations use category ids without a category:"
            f" {', '.join(map(str, sorted(unknown)))}"
        )
    return index
