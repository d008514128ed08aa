"""AP of known results, matching classes with categories, and what is refused."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from two_boxes import results, write

from yolox_deploy.data.ap import (
    METRICS,
    CocoDataset,
    average_precision,
    evaluated,
    match_categories,
)
from yolox_deploy.data.categories import COCO_CATEGORY_IDS, COCO_NAMES, default_category_ids
from yolox_deploy.data.matches import interval
from yolox_deploy.errors import InputFileError, ModelWarning, UsageError

pytest.importorskip("pycocotools")


@pytest.fixture
def small(tmp_path: Path) -> CocoDataset:
    return CocoDataset(write(tmp_path), tmp_path)


def test_perfect_boxes_give_one_and_exchanged_classes_nothing(small: CocoDataset) -> None:
    boxes: list[list[float]] = [[1, 1, 11, 11], [20, 20, 30, 30]]
    assert small.evaluate(results(small, boxes, [1, 0])).ap == pytest.approx(1)
    assert small.evaluate(results(small, boxes, [0, 1])).ap == 0
    assert small.evaluate(results(small, boxes[:1], [1])).ap == pytest.approx(0.5)


def test_the_matches_give_the_same_ap_and_an_interval_that_repeats(
    small: CocoDataset, tmp_path: Path
) -> None:
    """Eight pictures, in each of which a random part is found, some of it twice and elsewhere."""
    random = np.random.default_rng(3)
    images = [{"id": i, "file_name": "a.png", "height": 400, "width": 600} for i in range(8)]
    boxes = random.uniform(0, 300, (40, 2))
    notes = [
        {"id": i + 1, "image_id": i % 8, "category_id": (9, 4)[i % 2], "bbox": [*xy, 50, 40]}
        for i, xy in enumerate(boxes.tolist())
    ]
    truth = {
        **small.truth,
        "images": images,
        "annotations": [{**note, "area": 2000, "iscrowd": 0} for note in notes],
    }

    def found(missed: float) -> list[dict[str, Any]]:
        moved = [
            {**note, "bbox": [note["bbox"][0] + random.normal(0, 8), *note["bbox"][1:]]}
            for note in notes * 2
            if random.random() > missed
        ]
        return [{**entry, "score": float(random.random())} for entry in moved]

    good, bad = (evaluated(truth, found(missed)) for missed in (0.1, 0.6))
    for one in (good, bad):
        assert one.matches is not None
        assert one.matches.ap(np.ones(8, np.int64)) == pytest.approx(one.figures.ap, abs=1e-12)
        assert np.mean([*one.by_category.values()]) == pytest.approx(one.figures.ap)
        assert set(one.by_category) == {4, 9}
    assert good.matches is not None
    assert bad.matches is not None
    low, high = interval(good.matches, bad.matches, 100, seed=1)
    assert low < bad.figures.ap - good.figures.ap < high < 0
    assert (low, high) == interval(good.matches, bad.matches, 100, seed=1)
    assert interval(good.matches, good.matches, 10, seed=1) == (0, 0)
    # A picture that counts twice is one that is there twice.
    assert good.matches.ap(np.array([8, 0, 0, 0, 0, 0, 0, 0])) == pytest.approx(
        good.matches.ap(np.array([1, 0, 0, 0, 0, 0, 0, 0]))
    )


def test_no_detections_give_zero(small: CocoDataset) -> None:
    # Both objects are small.
    assert [*small.evaluate([]).as_dict().values()] == [0, 0, 0, 0, None, None]


def test_a_missing_area_and_crowd_change_nothing(small: CocoDataset, tmp_path: Path) -> None:
    short = [
        {key: value for key, value in entry.items() if key not in ("id", "area", "iscrowd")}
        for entry in small.truth["annotations"]
    ]
    other = CocoDataset(write(tmp_path, annotations=short), tmp_path)
    found = results(small, [[1, 1, 11, 11], [20, 20, 31, 30]], [1, 0])
    assert other.evaluate(found) == small.evaluate(found)


def test_keypoints_are_compared_as_keypoints(tmp_path: Path) -> None:
    points = [value for i in range(17) for value in (5 + i, 5 + 2 * i, 2)]
    entry = {
        "image_id": 5,
        "category_id": 1,
        "bbox": [1, 1, 50, 35],
        "keypoints": points,
        "num_keypoints": 17,
    }
    path = write(tmp_path, annotations=[entry], categories=[{"id": 1, "name": "person"}])
    dataset = CocoDataset(path, tmp_path)
    dataset.check_metric("keypoints")
    result = {"image_id": 5, "category_id": 1, "score": 0.9, "keypoints": points}
    found = dataset.evaluate([result], "keypoints")
    assert (found.ap, found.ap50, found.ap_medium) == pytest.approx((1, 1, 1))
    assert (found.ap_small, found.ap_large) == (None, None)
    away = [value + 40 * (i % 3 == 0) for i, value in enumerate(points)]
    assert dataset.evaluate([{**result, "keypoints": away}], "keypoints").ap == 0


def test_masks_are_compared_as_masks(tmp_path: Path) -> None:
    from pycocotools.mask import encode

    square = [[10, 10, 20, 10, 20, 20, 10, 20]]
    entry = {"image_id": 5, "category_id": 4, "bbox": [10, 10, 10, 10], "segmentation": square}
    dataset = CocoDataset(write(tmp_path, annotations=[entry]), tmp_path)
    mask = np.zeros((40, 60, 1), np.uint8, order="F")
    mask[10:20, 10:20] = 1
    (encoded,) = encode(mask)
    result = {"image_id": 5, "category_id": 4, "score": 0.9, "segmentation": encoded}
    assert dataset.evaluate([result], "segm").ap == pytest.approx(1)


def test_what_is_compared_is_left_as_it_is(small: CocoDataset) -> None:
    found = results(small, [[1, 1, 11, 11]], [1])
    before = copy.deepcopy((found, small.truth))
    small.evaluate(found)
    assert (found, small.truth) == before


def test_a_metric_without_annotations_or_without_a_name_is_refused(small: CocoDataset) -> None:
    small.check_metric("bbox")
    with pytest.raises(InputFileError, match=r"2 of 2 annotations have no 'keypoints', so AP of"):
        small.check_metric("keypoints")
    with pytest.raises(UsageError, match="unknown metric 'boxes': expected one of bbox, segm"):
        small.check_metric("boxes")
    with pytest.raises(UsageError, match="unknown metric"):
        average_precision({}, [], "boxes")
    assert "bbox" in METRICS


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


def test_coco_has_its_own_ids() -> None:
    categories = dict(zip(COCO_NAMES, COCO_CATEGORY_IDS, strict=True))
    assert tuple(match_categories(COCO_NAMES, categories)) == COCO_CATEGORY_IDS
    assert default_category_ids(COCO_NAMES) == COCO_CATEGORY_IDS
    assert list(default_category_ids(("a", "b"))) == [1, 2]


def test_a_model_of_something_else_is_refused(small: CocoDataset) -> None:
    with pytest.raises(UsageError, match="no name in common"):
        small.category_ids(("one", "two", "three"))


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": None},
        {"annotations": []},
        {"annotations": [{"image_id": 6, "category_id": 4, "bbox": [1, 1, 2, 2]}]},
    ],
    ids=str,
)
def test_a_data_set_without_annotations_is_refused_when_it_is_opened(
    changes: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputFileError, match=r"data\.json: its images have no annotations"):
        CocoDataset(write(tmp_path, **changes), tmp_path)


def test_pictures_that_are_missing_are_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputFileError, match=r"lacks 1 of the 1 pictures .* a\.png first"):
        CocoDataset(path, tmp_path)


def test_nothing_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = CocoDataset(write(tmp_path), tmp_path)
    dataset.evaluate(results(dataset, [[1, 1, 11, 11]], [1]))
    assert capsys.readouterr() == ("", "")


def test_classes_that_are_matched_by_order_and_categories_without_a_class_are_said() -> None:
    categories = {"mensch": 3, "auto": 1, "stuhl": 7}
    with pytest.warns(ModelWarning, match="by order: katze = auto"):
        assert match_categories(("katze", "hund", "maus"), categories) == [1, 3, 7]
    with pytest.warns(ModelWarning, match="1 of 3 .* never found: mensch; yolox-eval --classes"):
        assert match_categories(("dog", "auto", "stuhl"), categories)[1:] == [1, 7]
    with pytest.warns(ModelWarning, match="1 of 2 categories .* never found: mensch$"):
        match_categories(("dog", "auto", "stuhl"), categories, ["auto", "mensch"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        match_categories(("dog", "auto", "stuhl"), categories, ["auto", "stuhl"])
        assert match_categories(("class_0", "class_1", "class_2"), categories) == [1, 3, 7]
