"""Detections: validation, indexing, conversions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from yolox_deploy import Detection, Detections
from yolox_deploy.data.categories import COCO_CATEGORY_IDS, COCO_NAMES, default_category_ids
from yolox_deploy.errors import UsageError

NAMES = ("cat", "dog", "cow")


def three() -> Detections:
    return Detections(
        [[0, 0, 10, 20], [5, 6, 8, 9], [1.25, 2.5, 3.75, 4.5]],
        [0.9, 0.5, 0.125],
        [1, 0, 2],
        NAMES,
        (40, 50),
    )


@pytest.mark.parametrize(
    ("xyxy", "scores", "class_ids", "names"),
    [
        ([[0, 0, 1]], [1], [0], ()),
        ([[0, 0, 1, 1]], [1, 1], [0], ()),
        ([[0, 0, 1, 1]], [1], [0, 0], ()),
        ([[0, 0, 1, 1]], [[1]], [0], ()),
        ([0, 0, 1, 1], [1], [0], ()),
        ([[0, 0, 1, 1], [0, 0, 1]], [1, 1], [0, 0], ()),
        ([["a", 0, 1, 1]], [1], [0], ()),
        ([[0, 0, 1, 1]], [1], [-1], ()),
        ([[0, 0, 1, 1]], [1], [3], NAMES),
        ([], [1], [], ()),
        (5, 5, 5, ()),
        ([[0, 0, 1, 1]], [1], [2**70], ()),
        (None, None, None, ()),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    xyxy: Any, scores: Any, class_ids: Any, names: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError):
        Detections(xyxy, scores, class_ids, names)


def test_arrays_have_the_documented_types() -> None:
    found = three()
    assert (found.xyxy.dtype, found.scores.dtype, found.class_ids.dtype) == (
        np.float32,
        np.float32,
        np.int64,
    )
    assert found.names == NAMES


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        ([2, 0], [2, 0]),
        ([], []),
        (np.array([True, False, True]), [0, 2]),
        ([False, True, False], [1]),
        (np.array([False] * 3), []),
        (slice(5, 9), []),
    ],
)
def test_indexing_gives_detections_like_an_array(index: Any, expected: list[int]) -> None:
    found, part = three(), three()[index]
    assert isinstance(part, Detections)
    np.testing.assert_array_equal(part.xyxy, found.xyxy[expected].reshape(-1, 4))
    np.testing.assert_array_equal(part.scores, found.scores[expected])
    np.testing.assert_array_equal(part.class_ids, found.class_ids[expected])
    assert (part.names, part.image_size) == (NAMES, (40, 50))


@pytest.mark.parametrize("index", [0, -1, np.int64(1)])
def test_an_integer_gives_what_iterating_gives(index: Any) -> None:
    one, other = three()[index], list(three())[index]
    assert isinstance(one, Detection)
    np.testing.assert_array_equal(one.xyxy, other.xyxy)
    assert one[1:] == other[1:]


@pytest.mark.parametrize("index", [3, -4, [0, 3], np.array([True])])
def test_an_index_out_of_range_is_an_index_error(index: Any) -> None:
    with pytest.raises(IndexError):
        three()[index]


def test_length_iteration_and_repr() -> None:
    found = three()
    assert len(found) == 3
    items = list(found)
    assert all(isinstance(item, Detection) for item in items)
    assert [(d.name, d.class_id, d.score) for d in items] == [
        ("dog", 1, pytest.approx(0.9)),
        ("cat", 0, 0.5),
        ("cow", 2, 0.125),
    ]
    np.testing.assert_array_equal(items[1].xyxy, [5, 6, 8, 9])
    assert repr(found) == "Detections(3: dog 0.900, cat 0.500, cow 0.125)"
    assert "..." in repr(Detections([[0, 0, 1, 1]] * 9, [0.5] * 9, [0] * 9))


def test_equality_compares_content() -> None:
    assert three() == three()
    assert three() != three()[:2]
    assert three()[[0, 1, 2]] == three()
    assert three() != Detections(three().xyxy, three().scores, [1, 0, 1], NAMES)
    assert three() != Detections(three().xyxy, three().scores, three().class_ids, ("a", "b", "c"))
    assert three() != "detections"


def test_nothing_is_a_valid_result_everywhere() -> None:
    nothing = Detections.empty(NAMES, (40, 50))
    assert len(nothing) == 0
    assert nothing.xyxy.shape == (0, 4)
    assert list(nothing) == nothing.to_dict() == nothing.to_coco(1) == nothing.to_yolo() == []
    assert len(nothing.to_supervision()) == 0
    assert len(nothing[nothing.scores > 0.5]) == 0
    image = np.full((9, 9, 3), 7, np.uint8)
    np.testing.assert_array_equal(nothing.draw(image), image)


def test_to_dict_is_plain_and_rounded() -> None:
    first, *_, last = json.loads(json.dumps(three().to_dict()))
    assert first == {"name": "dog", "class_id": 1, "score": 0.9, "xyxy": [0, 0, 10, 20]}
    assert last["xyxy"] == [1.25, 2.5, 3.75, 4.5]
    assert Detections([[0, 0, 1, 1]], [1], [5]).to_dict()[0]["name"] == "class_5"


@pytest.mark.parametrize(
    ("names", "category_ids", "expected"),
    [(NAMES, None, [2, 1, 3]), ((), None, [2, 1, 3]), (NAMES, (7, 8, 9), [8, 7, 9])],
)
def test_to_coco_gives_result_entries(
    names: tuple[str, ...], category_ids: tuple[int, ...] | None, expected: list[int]
) -> None:
    found = Detections(three().xyxy, three().scores, three().class_ids, names)
    entries = json.loads(json.dumps(found.to_coco(42, category_ids)))
    assert [e["category_id"] for e in entries] == expected
    assert {e["image_id"] for e in entries} == {42}
    assert [e["bbox"] for e in entries] == [[0, 0, 10, 20], [5, 6, 3, 3], [1.25, 2.5, 2.5, 2]]
    assert [e["score"] for e in entries] == pytest.approx([0.9, 0.5, 0.125])


def test_coco_names_map_to_the_ids_of_the_annotations(data_file: Any) -> None:
    content = json.loads(data_file("coco_val/instances_val2017_subset206.json").read_text())
    stated = {c["id"]: c["name"] for c in content["categories"]}
    assert dict(zip(COCO_CATEGORY_IDS, COCO_NAMES, strict=True)) == stated
    assert list(default_category_ids(COCO_NAMES)) == sorted(stated)
    assert list(default_category_ids(("a", "b"))) == [1, 2]


def test_to_yolo_is_relative_to_the_picture() -> None:
    lines = three().to_yolo()
    assert lines[0] == "1 0.100000 0.250000 0.200000 0.500000 0.900000"
    assert lines[2].split()[:3] == ["2", "0.050000", "0.087500"]
    with pytest.raises(UsageError, match="image_size"):
        Detections([[0, 0, 1, 1]], [1], [0]).to_yolo()


def test_to_supervision_carries_everything() -> None:
    found = three()
    other = found.to_supervision()
    np.testing.assert_array_equal(other.xyxy, found.xyxy)
    np.testing.assert_array_equal(other.confidence, found.scores)
    np.testing.assert_array_equal(other.class_id, found.class_ids)
    assert list(other.data["class_name"]) == ["dog", "cat", "cow"]
    assert len(other[other.confidence > 0.4]) == 2
    other.xyxy[:] = 0
    assert found.xyxy.max() == 20
