"""The pictures and boxes to train on, from one or several COCO files, and what was mended."""

from __future__ import annotations

import filecmp
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.data.coco import CocoAnnotation, CocoDocument, CocoImage, Id
from yolox_deploy.datasets.sources import CocoSource
from yolox_deploy.errors import ImageError, InputFileError, in_short, number_of
from yolox_deploy.pictures.images import read_image
from yolox_deploy.pictures.sheet import Annotated

Size = tuple[int, int]
Boxes = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class AnnotatedPicture:
    """Where a picture lies, its (height, width), boxes (n, 4) xyxy pixels, class indices (n,)."""

    path: Path
    image_id: int
    size: Size
    boxes: Boxes
    labels: Labels

    def read(self) -> NDArray[np.uint8]:
        """Return the picture as (h, w, 3) uint8 BGR.

        Raises :class:`ImageError` if it cannot be read or has another size than annotated.
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

    ``problems`` counts what was mended or left out, by description.  ``truth`` holds the COCO
    annotations (crowds included) with class indices as category ids and
    :attr:`AnnotatedPicture.image_id` as image ids.
    """

    names: list[str]
    pictures: list[AnnotatedPicture] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, sources: Sequence[CocoSource], names: Sequence[str] | None = None) -> Self:
        """Read the sources; classes are matched by name.

        ``names`` are the classes (default: the categories of the first file, in the order of their
        ids).  Raises :class:`InputFileError` for a file that is not COCO format, that annotates a
        class which is not among them, or if no picture with a box is left.
        """
        documents = [source.read() for source in sources]
        if names is None:
            names = [name for _, name in sorted(documents[0].categories.items())]
        result = cls(list(names))
        for source, document in zip(sources, documents, strict=True):
            result._add(source.images, document)
        if not any(len(picture.boxes) for picture in result.pictures):
            files = ", ".join(str(source.annotations) for source in sources)
            seen = "; ".join(f"{count} {what}" for what, count in (+result.problems).items())
            if not any(document.annotations for document in documents):
                seen = "the list of annotations is empty"
            reason = f" ({seen})" if seen else ""
            raise InputFileError(f"{files}: no picture with a usable box{reason}")
        return result

    def sentences(self) -> list[str]:
        """Return in words what was read, and what was mended or left out."""
        boxes = number_of(sum(len(picture.boxes) for picture in self.pictures), "box", "boxes")
        pictures = number_of(len(self.pictures), "picture")
        whole = f"{pictures}, {boxes}, {number_of(len(self.names), 'class', 'classes')}"
        return [whole, *(f"{count} {what}" for what, count in (+self.problems).items())]

    def annotated(self) -> list[Annotated]:
        """Return the pictures as they are drawn."""
        return [
            Annotated(one.path, one.boxes, one.labels, [self.names[i] for i in one.labels])
            for one in self.pictures
        ]

    def document(self) -> dict[str, Any]:
        """Return the annotations as a COCO document, for the measurement of AP."""
        return {
            "images": [{"id": picture.image_id} for picture in self.pictures],
            "categories": [{"id": i, "name": name} for i, name in enumerate(self.names)],
            "annotations": self.truth,
        }

    def _add(self, folder: Path, document: CocoDocument) -> None:
        index = _class_index(document, self.names)
        rows: dict[Id, list[CocoAnnotation]] = {image.id: [] for image in document.images}
        for row in document.annotations:
            if row.image_id in rows:
                rows[row.image_id].append(row)
            else:
                self.problems["boxes of pictures that are not listed, left out"] += 1
        for image in document.images:
            path = folder / document.file_name(image)
            if os.path.isfile(path):
                self._add_picture(path, _size(document, image), rows[image.id], index)
            else:
                self.problems["missing pictures, left out"] += 1

    def _add_picture(
        self, path: Path, size: Size, rows: Sequence[CocoAnnotation], index: Mapping[int, int]
    ) -> None:
        """Add one picture under a running number, because several files may use the same ids."""
        image_id = len(self.pictures) + 1
        for row in rows:
            self.truth.append(row.entry(len(self.truth) + 1, image_id, index[row.category_id]))
        single = [row for row in rows if not row.is_crowd]
        self.problems["crowd regions, left out"] += len(rows) - len(single)
        boxes = np.array([row.bbox for row in single], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([index[row.category_id] for row in single], np.int64)
        boxes, labels = self._mended(boxes, labels, size)
        self.pictures.append(AnnotatedPicture(path, image_id, size, boxes, labels))

    def _mended(self, boxes: Boxes, labels: Labels, size: Size) -> tuple[Boxes, Labels]:
        """Clip the boxes to the picture and drop those without area."""
        limit = np.array([size[1], size[0]] * 2, np.float32)
        flat = ~(boxes[:, 2:] > boxes[:, :2]).all(1)
        clipped = np.clip(boxes, 0, limit)
        outside = ~flat & ~(clipped[:, 2:] > clipped[:, :2]).all(1)
        keep = ~(flat | outside)
        # Half a pixel is rounding, which COCO's own boxes have as well, and is not counted.
        moved = keep & (np.abs(boxes - clipped).max(1, initial=0) > 0.5)
        self.problems["zero-size boxes, left out"] += int(flat.sum())
        self.problems["boxes outside their picture, left out"] += int(outside.sum())
        self.problems["boxes reaching over the edge, clipped"] += int(moved.sum())
        return clipped[keep], labels[keep]


def same_pictures(training: CocoPictures, validation: CocoPictures) -> list[Path]:
    """Return the validation pictures that are training pictures, too: the same file, or a copy."""
    files: dict[int, list[Path]] = {}
    for picture in training.pictures:
        files.setdefault(picture.path.stat().st_size, []).append(picture.path)
    return [
        picture.path
        for picture in validation.pictures
        if any(
            os.path.samefile(picture.path, other) or filecmp.cmp(picture.path, other, shallow=False)
            for other in files.get(picture.path.stat().st_size, ())
        )
    ]


def _size(document: CocoDocument, image: CocoImage) -> Size:
    if image.size is None:
        raise InputFileError(
            f"{document.path}: image {image.id!r} has no 'height' and 'width' (whole numbers)"
        )
    return image.size


def _class_index(document: CocoDocument, names: Sequence[str]) -> dict[int, int]:
    """Return category id to class index; ids may have gaps and differ from file to file."""
    position = {name: i for i, name in enumerate(names)}
    used = {row.category_id for row in document.annotations}
    index = {}
    for number, name in document.categories.items():
        if name in position:
            index[number] = position[name]
        elif number in used:
            raise InputFileError(
                f"{document.path}: class {name!r} is not to be trained; the classes are"
                f" {in_short(names)}"
            )
    return index
