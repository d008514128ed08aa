"""JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.files import write_atomically, write_document
from yolox_deploy.sinks.base import Sink
from yolox_deploy.tasks import Detections


class JsonSink(Sink):
    """One object per picture: its path, size and detections."""

    def __init__(self, path: Path, sources: Iterable[Path] = ()) -> None:
        super().__init__(path, sources)
        self.pictures: list[dict[str, Any]] = []

    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        height, width = image.shape[:2]
        entry = {"image": str(source), "height": height, "width": width}
        self.pictures.append({**entry, "detections": found.to_dict()})

    def finish(self) -> None:
        write_document(self.path, "yolox-detect", {"pictures": self.pictures})


class CsvSink(Sink):
    """One row per detection, with a header that the kind of result gives."""

    def __init__(self, path: Path, sources: Iterable[Path] = ()) -> None:
        super().__init__(path, sources)
        self.text = io.StringIO()
        self.writer = csv.writer(self.text, lineterminator="\n")
        self.header: tuple[str, ...] | None = None

    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        if self.header is None:
            self.header = ("image", *found.header)
            self.writer.writerow(self.header)
        self.writer.writerows((str(source), *row) for row in found.to_rows())

    def finish(self) -> None:
        if self.header is None:
            self.writer.writerow(("image", *Detections.header))
        write_atomically(self.path, self.text.getvalue())
