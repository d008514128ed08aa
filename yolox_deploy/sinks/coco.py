"""A COCO data set."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yolox_deploy.data.categories import default_category_ids
from yolox_deploy.files import write_atomically
from yolox_deploy.sinks.base import Sink, paths_of
from yolox_deploy.sources import Frame, Source
from yolox_deploy.tasks import Detections


class CocoSink(Sink):
    """A COCO data set (images, annotations, categories), as the trainer reads it.

    Every annotation carries its score beside COCO's own fields.  File names are relative to the
    folder that all ``sources`` have in common; a frame is called ``street/000001.jpg``, as if the
    video had been taken apart.
    """

    def __init__(self, path: Path, sources: Iterable[Source] = ()) -> None:
        super().__init__(path, sources)
        parents = [source.resolve().parent for source in paths_of(self.sources)]
        self.root = Path(os.path.commonpath(parents)) if parents else None
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.names: tuple[str, ...] = ()

    def add(self, frame: Frame, found: Detections) -> None:
        self.names = found.names
        height, width = frame.image.shape[:2]
        number = len(self.images) + 1
        self.images.append(
            {"id": number, "file_name": self.name_of(frame), "height": height, "width": width}
        )
        if frame.source.moving:
            self.images[-1] |= {"frame": frame.index, "time": round(frame.time, 6)}
        ids = found.track_ids
        for place, entry in enumerate(found.to_coco(number)):
            area = entry["bbox"][2] * entry["bbox"][3]
            more = {} if ids is None else {"track_id": int(ids[place])}
            self.annotations.append(
                {"id": len(self.annotations) + 1, **entry, "area": area, "iscrowd": 0, **more}
            )

    def name_of(self, frame: Frame) -> str:
        """Return the picture's name in the data set."""
        source = frame.source
        path = source.path or Path(source.stem)
        if source.path is not None and self.root is not None:
            path = source.path.resolve().relative_to(self.root)
        if source.moving:
            return f"{path.with_suffix('').as_posix()}/{frame.index + 1:06d}.jpg"
        return path.as_posix() if self.root is not None else path.name

    def finish(self) -> None:
        categories = [
            {"id": int(category), "name": name}
            for category, name in zip(default_category_ids(self.names), self.names, strict=True)
        ]
        content = {"images": self.images, "annotations": self.annotations}
        content["categories"] = categories
        write_atomically(self.path, json.dumps(content, ensure_ascii=False) + "\n")
