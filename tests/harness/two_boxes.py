"""A COCO data set of one picture with a box each of two categories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolox_deploy import Detections
from yolox_deploy.data.ap import CocoDataset


def write(folder: Path, **changes: Any) -> Path:
    """Write the data set into a folder; its ids are out of order."""
    cv2.imwrite(str(folder / "a.png"), np.zeros((40, 60, 3), np.uint8))
    content = {
        "images": [{"id": 5, "file_name": "a.png", "height": 40, "width": 60}],
        "annotations": [
            {"id": i, "image_id": 5, "category_id": c, "bbox": b, "area": 100, "iscrowd": 0}
            for i, (c, b) in enumerate([(9, [1, 1, 10, 10]), (4, [20, 20, 10, 10])])
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
        **changes,
    }
    path = folder / "data.json"
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return path


def results(dataset: CocoDataset, boxes: list[list[float]], ids: list[int]) -> Any:
    """COCO's entries of boxes with class ids, 0 for cat and 1 for dog."""
    names = ("cat", "dog")
    found = Detections(boxes, [0.9] * len(ids), ids, names)  # type: ignore[arg-type]
    return found.to_coco(5, dataset.category_ids(names))
