"""Annotation files as people have them: what is read, mended and refused, and in what order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy.data.coco import read_coco
from yolox_deploy.errors import InputFileError

Content = dict[str, Any]
BOX = {"id": 1, "image_id": 5, "category_id": 4, "bbox": [1, 2, 10, 20]}


def write(folder: Path, **changes: Any) -> Path:
    """A data set of one picture with a box; a change to ``None`` leaves a list out."""
    content = {
        "images": [{"id": 5, "file_name": "a.png", "height": 40, "width": 60}],
        "annotations": [BOX],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
        **changes,
    }
    path = folder / "data.json"
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return path


def test_an_entry_is_read_as_it_stands(tmp_path: Path) -> None:
    full = {**BOX, "area": 55.5, "iscrowd": 1, "keypoints": [1, 2, 2], "note": "?"}
    document = read_coco(write(tmp_path, annotations=[full]), ("keypoints",))
    (image,), (annotation,) = document.images, document.annotations
    assert (image.id, image.file_name, image.size) == (5, "a.png", (40, 60))
    assert document.categories == {9: "dog", 4: "cat"}
    assert list(annotation.bbox) == [1, 2, 10, 20]
    assert (annotation.area, annotation.is_crowd) == (55.5, True)
    assert annotation.entry(3, 7, 0) == {
        "id": 3,
        "image_id": 7,
        "category_id": 0,
        "bbox": [1, 2, 10, 20],
        "area": 55.5,
        "iscrowd": 1,
        "keypoints": [1, 2, 2],
    }


@pytest.mark.parametrize("missing", [{}, {"area": None, "iscrowd": None}])
def test_a_missing_area_is_that_of_the_box_and_no_crowd_is_meant(
    missing: Content, tmp_path: Path
) -> None:
    (annotation,) = read_coco(write(tmp_path, annotations=[BOX | missing])).annotations
    assert (annotation.area, annotation.is_crowd) == (200, False)


def test_ids_may_be_written_as_texts(tmp_path: Path) -> None:
    document = read_coco(
        write(
            tmp_path,
            images=[{"id": "0005", "file_name": "a.png"}, {"id": "x-1", "file_name": "b.png"}],
            annotations=[{**BOX, "image_id": "5", "category_id": "4"}],
        )
    )
    assert [image.id for image in document.images] == [5, "x-1"]
    assert document.annotations[0].image_id == 5
    with pytest.raises(InputFileError, match="'x-1' is no whole number"):
        document.numbered()


def test_what_a_use_does_not_need_may_be_missing(tmp_path: Path) -> None:
    document = read_coco(write(tmp_path, images=[{"id": 5, "height": "?"}], annotations=None))
    assert document.images[0].size is None
    assert document.annotations == []
    assert document.truth() is None
    with pytest.raises(InputFileError, match="image 5 has no 'file_name'"):
        document.picture_paths(tmp_path)


INFINITE = float("inf")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": None}, "no list images"),
        ({"images": None, "annotations": None}, "no list images, annotations"),
        ({"images": []}, "the list of images is empty"),
        ({"images": 3}, "no list images"),
        ({"images": [3]}, "images[0] is 3, not as COCO defines it"),
        ({"images": [{"file_name": "a.png"}]}, "images[0] has no 'id'"),
        ({"images": [{"id": [1]}]}, "images[0]: 'id' is [1], expected a whole number"),
        ({"images": [{"id": 1.5}]}, "images[0]: 'id' is 1.5, expected a whole number"),
        ({"images": [{"id": True}]}, "images[0]: 'id' is True, expected a whole number"),
        ({"images": [{"id": 1, "file_name": 7}]}, "images[0]: 'file_name' is 7, expected a text"),
        (
            {"images": [{"id": 1, "file_name": name} for name in ("a", "b")]},
            "the image id 1 stands for 'a' and for 'b'",
        ),
        ({"categories": None}, "no list categories"),
        ({"categories": []}, "the list of categories is empty"),
        ({"categories": [{"id": 3}]}, "categories[0] has no 'name'"),
        ({"categories": [{"name": "cat"}]}, "categories[0] has no 'id'"),
        ({"categories": [{"id": "one", "name": "cat"}]}, "expected a whole number"),
        (
            {"categories": [{"id": 1, "name": name} for name in ("cat", "dog")]},
            "the category id 1 stands for 'cat' and for 'dog'",
        ),
        ({"annotations": 5}, "no list annotations"),
        ({"annotations": [{"id": 1}]}, "annotations[0] has no 'image_id'"),
        ({"annotations": [BOX, [1]]}, "annotations[1] is [1], not as COCO defines it"),
        ({"annotations": [{**BOX, "category_id": "cat"}]}, "'category_id' is 'cat'"),
        ({"annotations": [{"image_id": 5, "category_id": 4}]}, "annotations[0] has no 'bbox'"),
        *(
            ({"annotations": [BOX, {**BOX, "id": 77, "bbox": box}]}, "annotations[1] (id 77)")
            for box in (
                [1, 2],
                None,
                "1 2 3 4",
                [1, 2, 3, "4"],
                [1, 2, 3, None],
                [1, 2, 3, True],
                [1, 2, 3, float("nan")],
                [1, 2, INFINITE, 4],
                [1, -(10**400), 3, 4],
            )
        ),
        ({"annotations": [{**BOX, "area": "big"}]}, "annotations[0]: 'area' is 'big'"),
        ({"annotations": [{**BOX, "area": INFINITE}]}, "annotations[0]: 'area' is inf"),
        ({"annotations": [{**BOX, "iscrowd": "no"}]}, "annotations[0]: 'iscrowd' is 'no'"),
        ({"annotations": [{**BOX, "iscrowd": {}}]}, "annotations[0]: 'iscrowd' is {}"),
    ],
    ids=str,
)
def test_a_wrong_entry_is_named(changes: Content, words: str, tmp_path: Path) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(InputFileError) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f"{path}: no COCO data set: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("\x00", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"images": ' * 100_000, "nested too deeply"),
        ("1" * 100_000, "not JSON"),
        ("[]", "a list of detections"),
        ("{}", "no list images, annotations, categories"),
        ("5", "no list images, annotations, categories"),
        ('"text"', "no list images, annotations, categories"),
        ("null", "no list images, annotations, categories"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_of_something_else_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(text)
    with pytest.raises(InputFileError) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f"{path}: no COCO data set: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputFileError, match="not JSON"):
        read_coco(path)


def test_a_file_that_does_not_fit_into_memory_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_: str) -> None:
        raise MemoryError

    monkeypatch.setattr("yolox_deploy.data.coco.json.loads", exhausted)
    with pytest.raises(InputFileError, match=r"data\.json: the file does not fit into memory"):
        read_coco(write(tmp_path))


def test_what_is_missing_on_disk_is_named(tmp_path: Path) -> None:
    tmp_path /= "set"  # beside it lie no pictures of other tests
    tmp_path.mkdir()
    document = read_coco(write(tmp_path))
    with pytest.raises(InputFileError, match=r"none\.json: cannot be read: No such file"):
        read_coco(tmp_path / "none.json")
    with pytest.raises(InputFileError, match=f"{tmp_path.name}: is a folder: give the JSON"):
        read_coco(tmp_path)
    with pytest.raises(InputFileError, match="none: no such folder"):
        document.picture_paths(tmp_path / "none")
    with pytest.raises(InputFileError, match=r"lacks 1 of the 1 pictures .* a\.png first"):
        document.picture_paths(tmp_path)
    (tmp_path / "a.png").touch()
    assert document.picture_paths(tmp_path) == {5: tmp_path / "a.png"}
    (tmp_path / "labels").mkdir()
    for folder, place in ((tmp_path / "labels", tmp_path), (tmp_path.parent, tmp_path)):
        with pytest.raises(InputFileError, match=f"first: all of them are in {place}: give that"):
            document.picture_paths(folder)


def test_the_truth_holds_the_asked_images_and_numbers_that_are_not_zero(tmp_path: Path) -> None:
    images = [{"id": 5, "width": 60, "height": 40}, {"id": 0}]
    boxes = [{**BOX, "id": 0}, {**BOX, "image_id": 0}, {**BOX, "image_id": 33}]
    document = read_coco(write(tmp_path, images=images, annotations=boxes))
    truth = document.truth()
    assert truth is not None
    assert truth["images"] == [{"id": 5, "width": 60, "height": 40}, {"id": 0}]
    assert [(a["id"], a["image_id"]) for a in truth["annotations"]] == [(1, 5), (2, 0)]
    assert truth["categories"] == [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}]
    part = document.truth([0, 33])
    assert part is not None
    assert [image["id"] for image in part["images"]] == [0]
    assert [a["image_id"] for a in part["annotations"]] == [0]
    assert document.truth([]) is None


@pytest.mark.parametrize(("group", "place"), [("sid", "fid"), ("video_id", "frame_id")])
def test_sequences_are_kept_apart_and_in_order(group: str, place: str, tmp_path: Path) -> None:
    images: list[Content] = [
        {"id": 10 * s + f, group: s, place: f} for f in (2, 0, 1) for s in (1, 0)
    ]
    plain = [{"id": image["id"]} for image in images]
    read: Callable[[list[Content]], list[list[int]]] = lambda images: read_coco(  # noqa: E731
        write(tmp_path, images=images)
    ).sequences()
    assert read(images) == [[0, 1, 2], [10, 11, 12]]
    assert read(plain) == [[12, 2, 10, 0, 11, 1]]
    assert read([*images, {"id": 7}]) == [[12, 2, 10, 0, 11, 1, 7]]
    with pytest.raises(InputFileError, match=f"'{group}' and '{place}' of its images"):
        read([*images, {"id": 7, group: "a", place: 3}])
    with pytest.raises(InputFileError, match="give no order"):
        read([*images, {"id": 7, group: [], place: 3}])
