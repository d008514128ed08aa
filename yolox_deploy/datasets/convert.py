"""Brings what was read in any format into one COCO document."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolox_deploy.data.coco import CocoDocument

# A document, and the folder that its file names are relative to.
Read = tuple[CocoDocument, Path]


def class_list(parts: Sequence[Read], stated: Sequence[str] | None) -> list[str]:
    """Return the ``stated`` class names, otherwise those of all documents in the order of ids."""
    found = (name for document, _ in parts for _, name in sorted(document.categories.items()))
    return list(stated or dict.fromkeys(found))


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
