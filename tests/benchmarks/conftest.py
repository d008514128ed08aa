"""The shared COCO subset, read once."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
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


Entries = list[dict[str, Any]]
Measure = Callable[[Entries], AveragePrecision]
Find = Callable[..., Entries]


@pytest.fixture(scope="session")
def found_by(coco_val: CocoDataset) -> Find:
    """Give what a model finds in all 206 pictures, or in each tenth: ``found_by(path, step=10)``.

    The thresholds are those of the original's evaluation.  Each model is run once.
    """
    known: dict[str, Entries] = {}

    def find(path: Path, backend: str = "auto", step: int = 1, **options: Any) -> Entries:
        key = f"{path} {backend} {step} {options}"
        if key not in known:
            data = copy(coco_val)
            data.pictures = dict(list(coco_val.pictures.items())[::step])
            with evaluation_detector(path, backend, **options) as detector:
                known[key] = detect_dataset(detector, data)
        return known[key]

    return find


@pytest.fixture(scope="session")
def average_precision(coco_val: CocoDataset) -> Measure:
    """Measure the AP of what was found, over all 206 pictures."""
    return coco_val.evaluate


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
