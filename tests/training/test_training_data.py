"""Annotation files as people have them: with gaps, broken boxes, missing pictures."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from yolox_deploy.datasets.sources import data_files
from yolox_deploy.errors import ImageError, InputFileError
from yolox_deploy.pictures.images import read_image
from yolox_deploy.sinks import CocoSink
from yolox_deploy.sources import Frame
from yolox_deploy.sources.still import PictureSource
from yolox_deploy.tasks.detections import Detections
from yolox_deploy.training import CocoSource, Recipe
from yolox_deploy.training.data.batches import EpochRequests, batch_loader, batches
from yolox_deploy.training.data.pictures import CocoPictures

Document = dict[str, Any]
Draw = Callable[..., CocoSource]


def document(boxes: list[list[float]], names: tuple[str, ...] = ("cat", "dog")) -> Document:
    """One picture of 64 x 48 pixels; category ids 10, 20, ...; every box is the last class."""
    return {
        "images": [{"id": 5, "file_name": "a.png", "width": 64, "height": 48}],
        "categories": [{"id": 10 * i + 10, "name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": 5, "category_id": 10 * len(names), "bbox": box, "iscrowd": 0}
            for i, box in enumerate(boxes)
        ],
    }


def source(folder: Path, content: Document, name: str = "data.json") -> CocoSource:
    cv2.imwrite(str(folder / "a.png"), np.full((48, 64, 3), 90, np.uint8))
    (folder / name).write_text(json.dumps(content))
    return CocoSource(folder / name, folder)


@pytest.mark.parametrize(
    ("box", "kept", "problem"),
    [
        ([10, 10, 20, 20], [10, 10, 30, 30], None),
        ([-5, 10, 20, 60], [0, 10, 15, 48], "boxes reaching over the edge, clipped"),
        ([10, 10, 0, 20], None, "zero-size boxes, left out"),
        ([10, 10, -4, 20], None, "zero-size boxes, left out"),
        ([70, 10, 20, 20], None, "boxes outside their picture, left out"),
    ],
)
def test_boxes_are_mended_or_left_out_and_counted(
    tmp_path: Path, box: list[float], kept: list[float] | None, problem: str | None
) -> None:
    data = CocoPictures.read([source(tmp_path, document([[1, 1, 9, 9], box]))])
    assert data.pictures[0].boxes[1:].tolist() == ([kept] if kept else [])
    assert data.pictures[0].labels[0] == 1
    assert +data.problems == ({problem: 1} if problem else {})


def test_missing_pictures_and_crowds_are_left_out_and_counted(tmp_path: Path) -> None:
    content = document([[1, 1, 9, 9], [2, 2, 9, 9]])
    content["annotations"][1]["iscrowd"] = 1
    content["images"].append({"id": 6, "file_name": "gone.png", "width": 64, "height": 48})
    data = CocoPictures.read([source(tmp_path, content)])
    assert len(data.pictures) == 1
    assert len(data.pictures[0].boxes) == 1
    assert +data.problems == {"missing pictures, left out": 1, "crowd regions, left out": 1}


def without(part: str) -> Document:
    content = document([[1, 1, 9, 9]])
    del content[part]
    return content


def changed(part: str, value: Any) -> Document:
    return document([[1, 1, 9, 9]]) | {part: value}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"image_id": 1}], "a list of detections"),
        (5, "no list images, annotations, categories"),
        ({}, "no list images, annotations, categories"),
        (changed("categories", [{"name": "cat"}]), "no 'id'"),
        (changed("images", [3]), "not as COCO defines it"),
        (without("categories"), "no list categories"),
        (changed("images", []), "the list of images is empty"),
        (changed("annotations", []), "with a usable box (the list of annotations is empty)"),
        (without("annotations"), "with a usable box (the list of annotations is empty)"),
        (document([[1, 1, 0, 0]]), "no picture with a usable box (1 zero-size boxes, left out)"),
        (changed("categories", [{"id": 1, "name": "cat"}]), "the category id 20 is not"),
        (changed("annotations", [{"image_id": 5, "category_id": 20}]), "no 'bbox'"),
        (
            changed("annotations", [{"image_id": 5, "category_id": 20, "bbox": [1, 2]}]),
            "annotations[0] (id None): 'bbox' is [1, 2], expected four finite numbers",
        ),
        (changed("images", [{"id": 5, "file_name": "a.png"}]), "no 'height'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, content: Document, words: str
) -> None:
    given = source(tmp_path, content)
    with pytest.raises(InputFileError) as caught:
        CocoPictures.read([given])
    assert str(caught.value).startswith(str(given.annotations))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "\x00"])
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(text)
    with pytest.raises(InputFileError, match="not JSON"):
        CocoPictures.read([CocoSource(path, tmp_path)])


def test_several_files_are_joined_by_class_name(tmp_path: Path) -> None:
    first = source(tmp_path, document([[1, 1, 9, 9]]), "first.json")
    swapped = source(tmp_path, document([[2, 2, 9, 9]], ("dog", "cat")), "second.json")
    data = CocoPictures.read([first, swapped])
    assert data.names == ["cat", "dog"]
    assert [picture.labels.tolist() for picture in data.pictures] == [[1], [0]]
    assert len({picture.image_id for picture in data.pictures}) == 2

    strange = source(tmp_path, document([[2, 2, 9, 9]], ("dog", "bird")), "third.json")
    with pytest.raises(InputFileError, match="'bird' is not to be trained; the classes are"):
        CocoPictures.read([first, strange])


def test_detections_written_as_labels_can_be_trained_on_beside_real_ones(tmp_path: Path) -> None:
    real = source(tmp_path, document([[1, 1, 9, 9]]), "real.json")
    box = np.array([[4, 5, 70, 30]], np.float32)
    found = Detections(box, np.full(1, 0.9, np.float32), np.zeros(1, np.int64), ("cat", "dog"))
    sink = CocoSink(tmp_path / "pseudo.json")
    path = tmp_path / "a.png"
    sink.add(Frame(read_image(path), PictureSource(path)), found)
    sink.finish()
    data = CocoPictures.read([real, CocoSource(tmp_path / "pseudo.json", tmp_path)])
    assert data.pictures[1].boxes.tolist() == [[4, 5, 64, 30]]
    assert [picture.labels.tolist() for picture in data.pictures] == [[1], [0]]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b"no picture"), "not a picture"),
        (lambda path: cv2.imwrite(str(path), np.zeros((9, 9, 3), np.uint8)), "9x9 pixels"),
    ],
)
def test_a_broken_picture_is_named(tmp_path: Path, workers: int, damage: Any, words: str) -> None:
    data = CocoPictures.read([source(tmp_path, document([[1, 1, 9, 9]]))])
    damage(tmp_path / "a.png")
    requests = EpochRequests(1, 1, (64, 64), Recipe(mosaic_prob=0.0), seed=0)
    with pytest.raises(ImageError, match=words) as caught:
        list(batches(batch_loader(data, requests, workers, pin_memory=False)))
    assert str(caught.value).startswith(str(tmp_path / "a.png"))
    assert "\n" not in str(caught.value)
    del caught
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("every_processor")  # PyTorch warns of more workers than processors
def test_batches_depend_on_seed_and_epoch_and_not_on_workers(draw_digits: Draw) -> None:
    data = CocoPictures.read([draw_digits(12)])
    recipe = Recipe(epochs=3, warmup_epochs=1, plain_epochs=1, multiscale=20)

    def epoch(workers: int, seed: int = 4, epoch: int = 1) -> list[tuple[torch.Tensor, ...]]:
        requests = EpochRequests(12, 4, (64, 96), recipe, seed, epoch=epoch)
        return list(batches(batch_loader(data, requests, workers, pin_memory=False)))

    def equal(
        first: list[tuple[torch.Tensor, ...]], second: list[tuple[torch.Tensor, ...]]
    ) -> bool:
        pairs = zip(first, second, strict=True)
        return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)

    once = epoch(0)
    assert equal(once, epoch(2))
    assert not equal(once, epoch(0, seed=5))
    assert not equal(once, epoch(0, epoch=0))


def test_processes_share_an_epoch_without_overlap() -> None:
    recipe = Recipe(epochs=1, warmup_epochs=0, plain_epochs=0)
    parts = [EpochRequests(20, 4, (64, 64), recipe, 0, rank, 2) for rank in range(2)]
    seen = [request.picture for part in parts for batch in part for request in batch]
    assert sorted(seen) == list(range(20))


YAML = """
train:
  - {annotations: data.json, images: .}
  - data.json
val: {annotations: data.json}
names: [dog, cat]
"""


def test_yaml_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    source(tmp_path, document([[1, 1, 9, 9]]))
    # As editors of Windows write it.
    (tmp_path / "data.yaml").write_text(YAML, "utf-8-sig")
    files = data_files([tmp_path / "data.yaml"])
    assert [s.images.resolve() for s in files.train] == [tmp_path.resolve()] * 2
    assert files.val[0].annotations == tmp_path / "data.json"
    assert CocoPictures.read(files.train, files.names).names == ["dog", "cat"]


@pytest.mark.parametrize("text", ["", "train: 5", "train: [{images: x}]", "a: [", "names: {a: 1}"])
def test_a_yaml_file_that_describes_no_data_is_refused(tmp_path: Path, text: str) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(InputFileError) as caught:
        data_files([tmp_path / "data.yaml"])
    assert "\n" not in str(caught.value)
