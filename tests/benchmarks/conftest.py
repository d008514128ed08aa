"""The shared COCO subset, read once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy.benchmarks.accuracy import detect_dataset, evaluation_detector
from yolox_deploy.data.ap import AveragePrecision, CocoDataset

ANNOTATIONS = "coco_val/instances_val2017_subset206.json"


@pytest.fixture(scope="session")
def coco_val(data_file: Any) -> CocoDataset:
    pytest.importorskip("pycocotools")
    return CocoDataset(data_file(ANNOTATIONS), data_file("coco_val/images"))


Measure = Callable[..., AveragePrecision]


@pytest.fixture(scope="session")
def average_precision(coco_val: CocoDataset) -> Measure:
    """Measure a model over all 206 pictures as the original does."""

    def measure(path: Path, backend: str = "auto", **options: Any) -> AveragePrecision:
        with evaluation_detector(path, backend, **options) as detector:
            return coco_val.evaluate(detect_dataset(detector, coco_val))

    return measure


@pytest.fixture(scope="session")
def few_pictures(
    coco_val: CocoDataset, tmp_path_factory: pytest.TempPathFactory, data_file: Any
) -> tuple[Path, Path]:
    """Annotations of the first twelve pictures, and the folder that holds them."""
    import json

    content = json.loads(data_file(ANNOTATIONS).read_text())
    images = content["images"][:12]
    numbers = {image["id"] for image in images}
    few = {
        **content,
        "images": images,
        "annotations": [a for a in content["annotations"] if a["image_id"] in numbers],
    }
    path = tmp_path_factory.mktemp("few") / "few.json"
    path.write_text(json.dumps(few))
    return path, data_file("coco_val/images")
