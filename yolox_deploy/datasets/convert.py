"""Brings what was read in any format into one COCO document, or into pictures to look at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolox_deploy.data.coco import CocoAnnotation, CocoDocument, Id
from yolox_deploy.pictures.sheet import Annotated

# A document, and the folder that its file names are relative to.
Read = tuple[CocoDocument, Path]


def class_list(parts: Sequence[Read], stated: Sequence[str] | None) -> list[str]:
    """Return the ``stated`` class names, otherwise those of all documents in the order of ids."""
    found = (name for document, _ in parts for _, name in sorted(document.categories.items()))
    return list(stated or dict.fromkeys(found))


def annotated(parts: Sequence[Read], names: Sequence[str]) -> list[Annotated]:
    """Return the pictures that are there, with their boxes just as they were read."""
    index = {name: number for number, name in enumerate(names)}
    found = []
    for document, folder in parts:
        rows: dict[Id, list[CocoAnnotation]] = {image.id: [] for image in document.images}
        for row in document.annotations:
            rows.setdefault(row.image_id, []).append(row)
        for image in document.images:
            path = folder / document.file_name(image)
            if not path.is_file():
                continue
            boxes = np.array([row.bbox for row in rows[image.id]], np.float32).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            labels = [document.categories[row.category_id] for row in rows[image.id]]
            classes = np.array([index[label] for label in labels], np.int64)
            found.append(Annotated(path, boxes, classes, labels))
    return found


def coco_content(parts: Sequence[Read], names: Sequence[str], home: Path) -> dict[str, Any]:
    """Return the documents as one in COCO's format; file names are relative to ``home``."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    index = {name: number for number, name in enumerate(names, 1)}
    for document, folder in parts:
        numbers = {}
        for image in document.images:
            numbers[image.id] = len(images) + 1
            path = os.path.relpath(folder / document.file_name(image), home)
            size = dict(zip(("height", "width"), image.size or (), strict=False))
            images.append({"id": numbers[image.id], "file_name": Path(path).as_posix(), **size})
        for row in document.annotations:
            if row.image_id in numbers:
                category = index[document.categories[row.category_id]]
                entry = row.entry(len(annotations) + 1, numbers[row.image_id], category)
                annotations.append(entry)
    categories = [{"id": number, "name": name} for name, number in index.items()]
    return {"images": images, "annotations": annotations, "categories": categories}
