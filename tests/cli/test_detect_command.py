"""``yolox-detect`` from pictures to result files, with the real nano."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from yolox_deploy import Detector
from yolox_deploy.cli import running
from yolox_deploy.files import ASSETS
from yolox_deploy.weights import BUNDLED

DOG = {"dog": 0.855, "bicycle": 0.803, "car": 0.798, "truck": 0.306, "cat": 0.260}


def pictures_in(path: Path) -> list[dict[str, Any]]:
    """The pictures of a JSON file of results."""
    content = json.loads(path.read_text())
    assert (content["format"], content["version"]) == ("yolox-detect", 1)
    pictures: list[dict[str, Any]] = content["pictures"]
    return pictures


@pytest.fixture
def photos(tmp_path: Path, mixed_pictures: list[Path]) -> Path:
    """A folder with three pictures, one of them in a folder of its own."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for path, name in zip(mixed_pictures, ("dog.jpg", "b.jpg", "more/c.jpg"), strict=False):
        shutil.copy(path, folder / name)
    return folder


def test_one_picture_is_annotated_and_its_detections_are_printed(
    command: Any, onnx_nano: Path, dog_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = command("yolox-detect", dog_path, "--model", onnx_nano, "--output", out)
    assert (found.code, found.err) == (0, "")
    lines = found.out.splitlines()
    printed = {line.split()[0]: float(line.split()[1]) for line in lines[:5]}
    assert printed == pytest.approx(DOG, abs=0.002)
    assert "1 picture in" in lines[5]
    assert "onnxruntime: dog x1, bicycle x1, car x1, truck x1, cat x1" in lines[5]
    assert lines[6] == f"wrote {out / 'dog.jpg'}"
    drawn, plain = cv2.imread(str(out / "dog.jpg")), cv2.imread(str(dog_path))
    assert drawn.shape == plain.shape
    changed = np.abs(drawn.astype(int) - plain).max(2) > 60
    # The dog's box is 133,207 to 326,543.
    assert changed[375, 131:136].any()
    assert changed[541:546, 230].any()
    assert changed.mean() < 0.2


def test_every_kind_of_result_says_the_same(
    command: Any, onnx_nano: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = command(
        *("yolox-detect", photos, "--model", onnx_nano, "--no-draw"),
        *("--json", out / "r.json", "--csv", out / "r.csv"),
        *("--txt", out / "labels", "--coco", out / "coco.json"),
    )
    assert found.code == 0, found.err
    assert "3 pictures in" in found.out
    with Detector(onnx_nano) as detector:
        paths = [photos / "b.jpg", photos / "dog.jpg", photos / "more/c.jpg"]
        expected = [detector(path) for path in paths]
    total = sum(map(len, expected))

    pictures = pictures_in(out / "r.json")
    assert [p["image"] for p in pictures] == list(map(str, paths))
    assert [p["detections"] for p in pictures] == [e.to_dict() for e in expected]
    assert [(p["height"], p["width"]) for p in pictures] == [e.image_size for e in expected]

    with (out / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == total
    first = rows[len(expected[0])]
    assert (first["image"], first["name"]) == (str(photos / "dog.jpg"), "dog")
    assert float(first["score"]) == pytest.approx(0.855, abs=0.002)
    assert [float(first[k]) for k in ("x1", "y1", "x2", "y2")] == pytest.approx(
        [132.8, 206.6, 325.7, 543.1], abs=0.2
    )

    assert {p.name for p in (out / "labels").iterdir()} == {"b.txt", "dog.txt", "c.txt"}
    label, x, y, w, h, score = map(float, (out / "labels/dog.txt").read_text().split()[:6])
    assert (label, score) == (16, pytest.approx(0.855, abs=0.002))
    assert [x * 768, y * 576] == pytest.approx([229.2, 374.9], abs=0.3)
    assert [w * 768, h * 576] == pytest.approx([192.9, 336.5], abs=0.3)

    coco_module = pytest.importorskip("pycocotools.coco")
    data = coco_module.COCO(str(out / "coco.json"))
    assert len(data.imgs) == 3
    assert len(data.anns) == total
    (dogs,) = data.getCatIds(["dog"])
    assert dogs == 18
    (dog_number,) = (i for i, image in data.imgs.items() if image["file_name"] == "dog.jpg")
    (dog,) = data.loadAnns(data.getAnnIds([dog_number], [dogs]))
    assert dog["bbox"] == pytest.approx([132.8, 206.6, 192.9, 336.5], abs=0.3)
    assert dog["area"] == pytest.approx(192.9 * 336.5, rel=0.01)
    # Their evaluation takes the file as truth; the same boxes as results are perfect.
    evaluation = pytest.importorskip("pycocotools.cocoeval").COCOeval(
        data, data.loadRes(json.loads((out / "coco.json").read_text())["annotations"]), "bbox"
    )
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


@pytest.mark.parametrize("many", [100, 1])
def test_unreadable_pictures_are_reported_at_the_end_and_the_rest_is_done(
    many: int,
    command: Any,
    onnx_nano: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "MANY", many)
    (photos / "a_text.jpg").write_text("no picture")
    (photos / "empty.png").touch()
    out = tmp_path / "out"
    found = command("yolox-detect", photos, "--model", onnx_nano, "--output", out)
    assert found.code == 6
    assert "3 pictures in" in found.out
    first, second = found.err.splitlines()
    assert first.startswith(f"yolox-detect: {photos / 'a_text.jpg'}: not a picture")
    assert second == f"yolox-detect: {photos / 'empty.png'}: the file is empty"
    assert {p.name for p in out.iterdir()} == {"dog.jpg", "b.jpg", "c.jpg"}


def test_nothing_readable_ends_the_same_way(command: Any, onnx_nano: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    found = command(
        *("yolox-detect", tmp_path / "a.jpg", "--model", onnx_nano, "--output", tmp_path / "out"),
        *("--coco", tmp_path / "coco.json", "--json", tmp_path / "r.json"),
    )
    assert found.code == 6
    written = [tmp_path / "r.json", tmp_path / "coco.json"]
    lines = found.out.splitlines()
    assert lines[0] == "no picture and no frame could be read"
    assert set(lines[1:]) == {f"wrote {path}" for path in written}
    assert not (tmp_path / "out").exists()
    assert pictures_in(tmp_path / "r.json") == []
    assert json.loads((tmp_path / "coco.json").read_text())["images"] == []


def test_pictures_of_the_same_name_do_not_overwrite_each_other(
    command: Any, onnx_nano: Path, photos: Path, dog_path: Path, tmp_path: Path
) -> None:
    shutil.copy(dog_path, photos / "more" / "dog.jpg")
    shutil.copy(photos / "b.jpg", photos / "dog_2.jpg")
    cv2.imwrite(str(photos / "dog.png"), cv2.imread(str(dog_path)))
    out = tmp_path / "out"
    found = command(
        "yolox-detect", photos, "--model", onnx_nano, "--output", out, "--txt", out / "txt"
    )
    assert found.code == 0
    pictures = sorted(p.name for p in out.glob("*.*"))
    assert len(pictures) == 6
    assert {"b.jpg", "c.jpg", "dog.jpg", "dog_2.jpg", "dog.png"} < set(pictures)
    assert len(list((out / "txt").iterdir())) == 6


def test_a_picture_is_never_overwritten_by_its_annotated_self(
    command: Any, onnx_nano: Path, photos: Path
) -> None:
    before = {p: p.read_bytes() for p in photos.rglob("*.jpg")}
    found = command("yolox-detect", photos, "--model", onnx_nano, "--output", photos)
    assert found.code == 2
    assert "it is one of the files to read; choose another place" in found.err
    assert len(found.err.splitlines()) == 1
    assert {p: p.read_bytes() for p in photos.rglob("*.jpg")} == before


def test_a_picture_is_never_overwritten_by_another_of_its_name(
    command: Any, onnx_nano: Path, photos: Path, dog_path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(dog_path, other / "b.jpg")
    before = (photos / "b.jpg").read_bytes()
    found = command("yolox-detect", other, photos, "--model", onnx_nano, "--output", photos)
    assert found.code == 2
    assert (photos / "b.jpg").read_bytes() == before


@pytest.mark.parametrize("classes", ["dog,cat", "15, 16", "cat, 16"])
def test_only_the_wanted_classes_are_looked_for(
    classes: str, command: Any, onnx_nano: Path, dog_path: Path, tmp_path: Path
) -> None:
    found = command(
        *("yolox-detect", dog_path, "--model", onnx_nano, "--no-draw"),
        *("--classes", classes, "--json", tmp_path / "r.json"),
    )
    assert found.code == 0
    (picture,) = pictures_in(tmp_path / "r.json")
    assert [d["name"] for d in picture["detections"]] == ["dog", "cat"]


@pytest.mark.parametrize(("batch", "many"), [(1, 100), (2, 100), (8, 100), (1, 3), (2, 3)])
def test_batches_and_streams_change_nothing(
    batch: int,
    many: int,
    command: Any,
    model_for: Any,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "MANY", many)
    dynamic = model_for("onnxruntime", dynamic=True).path
    found = command(
        *("yolox-detect", photos, "--model", dynamic, "--no-draw"),
        *("--batch", batch, "--json", tmp_path / "r.json"),
    )
    assert found.code == 0
    with Detector(dynamic) as detector:
        for picture in pictures_in(tmp_path / "r.json"):
            alone = detector(picture["image"])
            assert [d["name"] for d in picture["detections"]] == [d.name for d in alone]
            for mine, one in zip(picture["detections"], alone, strict=True):
                assert mine["score"] == pytest.approx(one.score, abs=1e-4)
                assert mine["xyxy"] == pytest.approx(list(one.xyxy), abs=0.01)


def test_a_model_may_suggest_its_score_threshold(command: Any, tmp_path: Path) -> None:
    content = torch.load(BUNDLED, weights_only=True)
    model, picture = tmp_path / "mine.pth", ASSETS / "digits_1.jpg"
    torch.save(content | {"score_threshold": 0.9}, model)
    run = ["yolox-detect", picture, "--model", model, "--backend", "torch", "--threads", "1"]
    counts = []
    for more in ((), ("--score-threshold", "0.25")):
        found = command(*run, "--no-draw", "--json", tmp_path / "r.json", *more)
        assert found.code == 0, found.err
        told = f"note: score threshold 0.9, which {model} suggests: the highest F1"
        assert (told in " ".join(found.err.split())) == (not more)
        scores = [row["score"] for row in pictures_in(tmp_path / "r.json")[0]["detections"]]
        assert min(scores) >= (0.25 if more else 0.9)
        counts.append(len(scores))
    assert 0 < counts[0] < counts[1]


def test_thresholds_clipping_and_bounds_reach_the_detector(
    command: Any, onnx_nano: Path, dog_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "r.json"
    base = ("yolox-detect", dog_path, "--model", onnx_nano, "--no-draw", "--json", path)

    def found(*more: object) -> list[dict[str, Any]]:
        assert command(*base, *more).code == 0
        (picture,) = pictures_in(path)
        detections: list[dict[str, Any]] = picture["detections"]
        return detections

    assert len(found("--score-threshold", 0.5)) == 3
    assert len(found("--max-detections", 2)) == 2
    with Detector(onnx_nano, threads=1) as detector:
        for words, tile in (((), True), ((300, "--overlap", 0.4), 300)):
            overlap = 0.4 if words else 0.2
            tiled = detector.tiled(dog_path, tile, overlap).to_dict()
            assert [d["name"] for d in found("--tile", *words)] == [d["name"] for d in tiled]
    loose = found("--score-threshold", 0.02)
    assert len(loose) > 8
    assert len(found("--score-threshold", 0.02, "--iou-threshold", 0.9)) > len(loose)
    assert len(found("--score-threshold", 0.02, "--class-agnostic")) < len(loose)
    inside = np.array([d["xyxy"] for d in found("--score-threshold", 0.001)])
    beyond = np.array([d["xyxy"] for d in found("--score-threshold", 0.001, "--no-clip")])
    assert inside.min() >= 0
    assert inside[:, 2].max() <= 768
    assert inside[:, 3].max() <= 576
    assert beyond.min() < 0 or beyond[:, 2].max() > 768 or beyond[:, 3].max() > 576


@pytest.mark.parametrize("backend", ["openvino", "ncnn", "torch"])
def test_every_backend_can_be_chosen(
    backend: str, command: Any, model_for: Any, dog_path: Path
) -> None:
    path = model_for(backend).path
    found = command("yolox-detect", dog_path, "--model", path, "--backend", backend, "--no-draw")
    assert found.code == 0, found.err
    assert f"{backend}: dog x1" in found.out


def test_globs_are_expanded(command: Any, onnx_nano: Path, photos: Path) -> None:
    found = command("yolox-detect", photos / "*.jpg", "--model", onnx_nano, "--no-draw")
    assert found.code == 0
    assert "2 pictures in" in found.out
