"""Where detections of many pictures go: annotated pictures, JSON, CSV, YOLO text, COCO.

A sink is a context manager that takes one picture's result at a time and writes when it ends, so
that an error or Ctrl-C leaves earlier results as they were.
"""

from __future__ import annotations

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.data.categories import default_category_ids
from yolox_deploy.errors import OutputError, UsageError
from yolox_deploy.files import make_folder, write_atomically
from yolox_deploy.tasks import Detections


class Sink(ABC):
    """Takes results; what is written at the end is written only if nothing went wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Now, not after an hour of work.
        make_folder(path.parent)
        if path.is_dir() and not isinstance(self, FolderSink):
            raise UsageError(f"{path} is a folder: name a file to write")

    @abstractmethod
    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        """Take the detections of the picture ``image`` (h, w, 3) uint8 BGR read from ``source``."""

    def finish(self) -> None:  # noqa: B027 (some write as they go)
        """Write what was collected; raises :class:`OutputError`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()


class FolderSink(Sink):
    """One file a picture, named like it; a second picture of the same name gets a number.

    ``sources`` are all pictures of the run: none of them is ever overwritten.
    """

    def __init__(self, path: Path, sources: Iterable[Path] = ()) -> None:
        super().__init__(make_folder(path))
        self.taken: set[str] = set()
        self.protected = {source.resolve() for source in sources}

    def file_for(self, source: Path, suffix: str) -> Path:
        """Return the file to write; raises :class:`UsageError` if it were one of the pictures."""
        name, number = f"{source.stem}{suffix}", 1
        while name in self.taken:
            number += 1
            name = f"{source.stem}_{number}{suffix}"
        self.taken.add(name)
        file = self.path / name
        if file.resolve() in self.protected:
            raise UsageError(f"{file} is one of the pictures to look at: choose another --output")
        return file


class PictureSink(FolderSink):
    """Annotated pictures; PNG stays PNG, everything else becomes JPEG."""

    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        suffix = ".png" if source.suffix.lower() == ".png" else ".jpg"
        file = self.file_for(source, suffix)
        good, data = cv2.imencode(suffix, found.draw(image))
        if not good:
            raise OutputError(f"cannot write {file}: OpenCV cannot encode it")
        write_atomically(file, data.tobytes())


class YoloSink(FolderSink):
    """YOLO text files: class id, relative centre x, y, width, height, score."""

    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        lines = [f"{line}\n" for line in found.to_yolo()]
        write_atomically(self.file_for(source, ".txt"), "".join(lines))


class JsonSink(Sink):
    """A list with one object a picture: its path, size and detections."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.pictures: list[dict[str, Any]] = []

    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        height, width = image.shape[:2]
        entry = {"image": str(source), "height": height, "width": width}
        self.pictures.append({**entry, "detections": found.to_dict()})

    def finish(self) -> None:
        write_atomically(self.path, json.dumps(self.pictures, indent=1, ensure_ascii=False) + "\n")


class CsvSink(Sink):
    """One row a detection, with a header."""

    header = ("image", "name", "class_id", "score", "x1", "y1", "x2", "y2")

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.text = io.StringIO()
        self.writer = csv.writer(self.text, lineterminator="\n")
        self.writer.writerow(self.header)

    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        self.writer.writerows((str(source), *row) for row in found.to_rows())

    def finish(self) -> None:
        write_atomically(self.path, self.text.getvalue())


class CocoSink(Sink):
    """A COCO data set (images, annotations, categories), as the trainer reads it.

    Every annotation carries its score beside COCO's own fields.  File names are relative to the
    folder that all ``sources`` have in common.
    """

    def __init__(self, path: Path, sources: Iterable[Path] = ()) -> None:
        super().__init__(path)
        parents = [source.resolve().parent for source in sources]
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
        content = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": categories,
        }
        write_atomically(self.path, json.dumps(content, ensure_ascii=False) + "\n")
