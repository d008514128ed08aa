"""Sinks of one file per picture: annotated pictures and YOLO text files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import OutputError
from yolox_deploy.files import write_atomically
from yolox_deploy.sinks.base import FolderSink
from yolox_deploy.tasks import Detections


class PictureSink(FolderSink):
    """Annotated pictures; PNG stays PNG, everything else becomes JPEG."""

    def suffix(self, source: Path) -> str:
        return ".png" if source.suffix.lower() == ".png" else ".jpg"

    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        file = self.file_for(source)
        good, data = cv2.imencode(file.suffix, found.draw(image))
        if not good:
            raise OutputError(f"cannot write {file}: OpenCV cannot encode it")
        write_atomically(file, data.tobytes())


class YoloSink(FolderSink):
    """One text file per picture: class id, relative centre x, y, width, height, score."""

    def suffix(self, source: Path) -> str:
        return ".txt"

    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        lines = [f"{line}\n" for line in found.to_yolo()]
        write_atomically(self.file_for(source), "".join(lines))
