"""Reading COCO data, matching categories, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_deploy import Detections
from yolox_deploy.benchmarks.accuracy import CocoDataset, detect_dataset, evaluation_detector
from yolox_deploy.data.categories import COCO_CATEGORY_IDS, COCO_NAMES
from yolox_deploy.errors import InputFileError, OutputError, UsageError

pytest.importorskip("pycocotools")


def write(folder: Path, **changes: Any) -> Path:
    """A data set of one picture with a box each of two categories, ids out of order."""
    cv2.imwrite(str(folder / "a.png"), np.zeros((40, 60, 3), np.uint8))
    content = {
        "images": [{"id": 5, "file_name": "a.png", "height": 40, "width": 60}],
        "annotations": [
            {"id": i, "image_id": 5, "category_id": c, "bbox": b, "area": 100, "iscrowd": 0}
            for i, (c, b) in enumerate([(9, [1, 1, 10, 10]), (4, [20, 20, 10, 10])], 1)
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
        **changes,
    }
    path = folder / "data.json"
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return path


@pytest.fixture
def small(tmp_path: Path) -> CocoDataset:
    return CocoDataset(write(tmp_path), tmp_path)


def results(dataset: CocoDataset, boxes: list[list[float]], ids: list[int]) -> Any:
    names = ("cat", "dog")
    found = Detections(boxes, [0.9] * len(ids), ids, names)  # type: ignore[arg-type]
    return found.to_coco(5, dataset.category_ids(names))


def test_perfect_boxes_give_one_and_exchanged_classes_nothing(small: CocoDataset) -> None:
    boxes: list[list[float]] = [[1, 1, 11, 11], [20, 20, 30, 30]]
    assert small.evaluate(results(small, boxes, [1, 0])).ap == pytest.approx(1)
    assert small.evaluate(results(small, boxes, [0, 1])).ap == 0
    assert small.evaluate(results(small, boxes[:1], [1])).ap == pytest.approx(0.5)


def test_no_detections_give_zero(small: CocoDataset) -> None:
    assert set(small.evaluate([]).as_dict().values()) == {0}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("cat", "dog"), [4, 9]),
        (("dog", "cat"), [9, 4]),
        (("dog",), [9]),
        (("class_0", "class_1"), [4, 9]),
    ],
    ids=str,
)
def test_categories_are_matched_by_name(
    names: tuple[str, ...], expected: list[int], small: CocoDataset
) -> None:
    assert list(small.category_ids(names)) == expected


def test_classes_that_the_data_does_not_have_count_for_nothing(small: CocoDataset) -> None:
    cow, dog, horse = small.category_ids(("cow", "dog", "horse"))
    assert dog == 9
    assert len({cow, horse, 4, 9}) == 4


def test_coco_has_its_own_ids(coco_val: CocoDataset) -> None:
    assert tuple(coco_val.category_ids(COCO_NAMES)) == COCO_CATEGORY_IDS


def test_a_model_of_something_else_is_refused(small: CocoDataset) -> None:
    with pytest.raises(UsageError, match="no name in common"):
        small.category_ids(("one", "two", "three"))


@pytest.mark.parametrize(
    "changes",
    [
        {"images": None},
        {"images": []},
        {"images": [{"id": 5}]},
        {"categories": None},
        {"categories": [{"id": 3}]},
        {"annotations": [{"id": 1}]},
    ],
    ids=str,
)
def test_json_that_is_no_coco_data_set_is_refused(changes: Any, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"data\.json"):
        CocoDataset(write(tmp_path, **changes), tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "5", '"text"', "\x00"])
def test_files_that_are_no_coco_data_set_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(text)
    with pytest.raises(InputFileError, match=r"data\.json") as caught:
        CocoDataset(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(InputFileError, match=r"none\.json: [Nn]o such file"):
        CocoDataset(tmp_path / "none.json", tmp_path)
    with pytest.raises(InputFileError, match="no such folder"):
        CocoDataset(path, tmp_path / "none")
    with pytest.raises(InputFileError, match=tmp_path.name):
        CocoDataset(tmp_path, tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputFileError, match=r"lacks 1 of the 1 pictures .* a\.png first"):
        CocoDataset(path, tmp_path)


def test_nothing_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = CocoDataset(write(tmp_path), tmp_path)
    dataset.evaluate(results(dataset, [[1, 1, 11, 11]], [1]))
    assert capsys.readouterr() == ("", "")


def test_the_evaluation_detector_keeps_what_the_original_keeps(nano_onnx: Path) -> None:
    with evaluation_detector(nano_onnx) as detector:
        assert (detector.score_threshold, detector.iou_threshold) == (0.001, 0.65)
        assert detector.max_detections is None
        assert not detector.clip
        assert not detector.class_agnostic
    with evaluation_detector(nano_onnx, score_threshold=0.01, clip=True) as detector:
        assert (detector.score_threshold, detector.clip) == (0.01, True)


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
    from yolox_deploy.benchmarks.accuracy import write_results

    entries = results(small, [[1, 1, 11, 11], [20, 20, 30, 30]], [1, 0])
    write_results(entries, tmp_path / "new" / "r.json")
    loaded = small.coco.loadRes(str(tmp_path / "new" / "r.json"))
    assert len(loaded.anns) == 2
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_results(entries, tmp_path / "file" / "r.json")
