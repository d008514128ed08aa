"""Reading COCO data, matching categories, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from two_boxes import results, write

from yolox_deploy.benchmarks.accuracy import detect_dataset, evaluation_detector
from yolox_deploy.data.ap import CocoDataset
from yolox_deploy.errors import OutputError
from yolox_deploy.postprocess import Thresholds

pytest.importorskip("pycocotools")


@pytest.fixture
def small(tmp_path: Path) -> CocoDataset:
    return CocoDataset(write(tmp_path), tmp_path)


def test_the_evaluation_detector_keeps_what_the_original_keeps(nano_onnx: Path) -> None:
    with evaluation_detector(nano_onnx) as detector:
        assert detector.thresholds == Thresholds(0.001, 0.65, max_detections=None, clip=False)
    with evaluation_detector(nano_onnx, score_threshold=0.01, clip=True) as detector:
        assert detector.thresholds == Thresholds(0.01, 0.65, max_detections=None, clip=True)


def test_every_picture_passes_the_tracker(nano_onnx: Path, tmp_path: Path) -> None:
    dataset = CocoDataset(write(tmp_path), tmp_path)
    seen: list[Any] = []

    def track(items: Any) -> Any:
        for item in items:
            seen.append(item)
            yield item

    with evaluation_detector(nano_onnx) as detector:
        detect_dataset(detector, dataset, track)
    assert seen == [(5, tmp_path / "a.png")]


def test_results_are_what_coco_tools_read(small: CocoDataset, tmp_path: Path) -> None:
    from yolox_deploy.cli.evaluate import write_results

    entries = results(small, [[1, 1, 11, 11], [20, 20, 30, 30]], [1, 0])
    write_results(entries, tmp_path / "new" / "r.json")
    from pycocotools.coco import COCO

    loaded = COCO(tmp_path / "data.json").loadRes(str(tmp_path / "new" / "r.json"))
    assert len(loaded.anns) == 2
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_results(entries, tmp_path / "file" / "r.json")
