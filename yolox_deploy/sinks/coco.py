"""A COCO data set."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.data.categories import default_category_ids
from yolox_deploy.files import write_atomically
from yolox_deploy.sinks.base import Sink
from yolox_deploy.tasks import Detections


class CocoSink(Sink):
    """A COCO data set (images, annotations, categories), as the trainer reads it.

    Every annotation carries its score beside COCO's own fields.  File names are relative to the
    folder that all ``sources`` have in common.
    """

    def __init__(self, path: Path, sources: Iterable[Path] = ()) -> None:
        super().__init__(path, sources)
        parents = [source.resolve().parent for source in self.sources]
        self.root = Path(os.path.commonpath(parents)) if parents else None
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.names: tuple[str, ...] = ()

    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        self.names = found.names
        height, width = image.shape[:2]
        number = len(self.images) + 1
        self.images.append(
            {"id": number, "file_name": self.name_of(source), "height": height, "width": width}
        )
        for entry in found.to_coco(number):
            area = entry["bbox"][2] * entry["bbox"][3]
            self.annotations.append(
                {"id": len(self.annotations) + 1, **entry, "area": area, "iscrowd": 0}
            )

    def name_of(self, source: Path) -> str:
        """Return the picture's name in the data set."""
        if self.root is None:
            return source.name
        return source.resolve().relative_to(self.root).as_posix()

    def finish(self) -> None:
        categories = [
            {"id": int(category), "name": name}
            for category, name in zip(default_category_ids(self.names), self.names, strict=True)
        ]
        content = {"images": self.images, "annotations": self.annotations}
        content["categories"] = categories
        write_atomically(self.path, json.dumps(content, ensure_ascii=False) + "\n")
