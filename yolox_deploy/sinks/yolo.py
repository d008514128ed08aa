"""YOLO text files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.files import write_atomically
from yolox_deploy.sinks.base import FolderSink
from yolox_deploy.tasks import Detections


class YoloSink(FolderSink):
    """One text file per picture: class id, relative centre x, y, width, height, score."""

    def add(self, source: Path, image: NDArray[np.uint8], found: Detections) -> None:
        lines = [f"{line}\n" for line in found.to_yolo()]
        write_atomically(self.file_for(source, ".txt"), "".join(lines))
