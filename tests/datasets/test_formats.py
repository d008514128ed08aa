"""One data set, written in every format: the readers agree, and broken files are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from yolox_deploy.cli import train
from yolox_deploy.cli.convert import main
from yolox_deploy.datasets.sources import DataFiles, data_files
from yolox_deploy.errors import InputFileError, ModelWarning
from yolox_deploy.pictures.drawing import class_colour

NAMES = ["cat", "dog"]
SIZE = (48, 64)
# Picture, class, x, y, width, height: whole pixels, which every format can say.
BOXES = [(0, 0, 3, 4, 20, 10), (0, 1, 30, 8, 34, 40), (2, 1, 0, 0, 8, 8)]
Rows = list[tuple[str, str, list[float]]]


def draw(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((*SIZE, 3), 80, np.uint8))


def coco() -> dict[str, Any]:
    fields = ("id", "file_name", "height", "width")
    rows = enumerate(BOXES, 1)
    return {
        "images": [dict(zip(fields, (i, f"{i}.png", *SIZE), strict=True)) for i in range(3)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
        "annotations": [
            {"id": i, "image_id": b[0], "category_id": b[1], "bbox": b[2:]} for i, b in rows
        ],
    }


def roboflow_coco(root: Path) -> Path:
    for part in ("train", "valid"):
        draw(root / part)
        (root / part / "_annotations.coco.json").write_text(json.dumps(coco()))
    return root


def yolo(root: Path) -> Path:
    for part in ("train", "valid"):
        draw(root / part / "images")
        (root / part / "labels").mkdir()
        for i in (0, 2):
            lines = []
            for number, index, x, y, w, h in BOXES:
                if number == i:
                    shares = (x + w / 2) / 64, (y + h / 2) / 48, w / 64, h / 48
                    lines.append(" ".join(map(str, (index, *shares))))
            (root / part / "labels" / f"{i}.txt").write_text("\n".join(lines) + "\n")
    # As Roboflow writes it: relative to a folder that is not there.
    content = {"train": "../train/images", "val": "../valid/images", "nc": 2, "names": NAMES}
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return root


def ultralytics(root: Path) -> Path:
    """Folders by kind, class names by number, polygons, and a list of pictures."""
    yolo(root / "flat")
    for part, name in (("train", "train"), ("valid", "val")):
        for kind in ("images", "labels"):
            (root / "data" / kind).mkdir(parents=True, exist_ok=True)
            shutil.move(root / "flat" / part / kind, root / "data" / kind / name)
    shares = 3 / 64, 4 / 48, 23 / 64, 4 / 48, 23 / 64, 14 / 48, 3 / 64, 14 / 48
    labels = root / "data" / "labels" / "train" / "0.txt"
    polygon = " ".join(map(str, (0, *shares)))
    labels.write_text(polygon + "\n" + labels.read_text().splitlines()[1])
    listed = "".join(f"./images/val/{i}.png\n" for i in range(3))
    (root / "data" / "val.txt").write_text(listed)
    parts = {"path": "data", "train": "images/train", "val": "val.txt"}
    content = parts | {"names": dict(enumerate(NAMES))}
    (root / "mine.yaml").write_text(yaml.safe_dump(content))
    return root / "mine.yaml"


def voc(root: Path) -> Path:
    for part in ("train", "valid"):
        draw(root / part)
        for number in range(3):
            objects = "".join(
                f"<object><name>{NAMES[i]}</name><difficult>0</difficult><bndbox><xmin>{x + 1}"
                f"</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox>"
                "</object>"
                for image, i, x, y, w, h in BOXES
                if image == number
            )
            (root / part / f"{number}.xml").write_text(
                f"<annotation><filename>elsewhere\\{number}.jpg</filename><size><width>64</width>"
                f"<height>48</height></size>{objects}</annotation>"
            )
    return root


def voc_lists(root: Path) -> Path:
    """As the challenge has it: one folder of files, and lists of their names."""
    voc(root / "flat")
    for part, name in (("train", "train"), ("valid", "val")):
        folders = {".xml": root / "Annotations", ".png": root / "JPEGImages"}
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        lines = []
        for path in sorted((root / "flat" / part).iterdir()):
            folders[path.suffix].mkdir(exist_ok=True)
            shutil.copy(path, folders[path.suffix])
            lines += [path.stem] if path.suffix == ".xml" else []
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def rows(files: DataFiles) -> list[Rows]:
    """What was read of each part: file name, class name and box."""
    found = []
    for source in (*files.train, *files.val):
        document = source.read()
        names = {image.id: Path(document.file_name(image)).name for image in document.images}
        assert all(image.size == SIZE for image in document.images)
        assert sorted(names.values()) == ["0.png", "1.png", "2.png"]
        found.append(
            sorted(
                (names[row.image_id], document.categories[row.category_id], list(row.bbox))
                for row in document.annotations
            )
        )
    return found


def test_a_mosaic_is_no_file_that_is_read_or_written(tmp_path: Path, capsys: Any) -> None:
    data, picture = str(yolo(tmp_path / "set") / "data.yaml"), str(tmp_path / "all_train.json")
    assert main([data, "--draw", data]) == 2
    assert main([data, "--to", str(tmp_path / "all.json"), "--draw", picture]) == 2
    assert main([data, "--to", ""]) == 2
    assert "--to and --draw both write it" in capsys.readouterr().err
    assert main([data, "--draw", str(tmp_path / "mosaic.txt")]) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_the_folder_of_the_pictures_can_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "shots")
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path / "images")
    content = coco()
    content["annotations"][0]["iscrowd"] = 1
    Path("images.json").write_text(json.dumps(content))
    assert main(["images.json"]) == 3
    tried = "images, images/images, ., ../images, ../images/images: name the image folder"
    assert f"0.png is in none of {tried}, for example with --images" in capsys.readouterr().err

    assert main(["images.json", "--images", "../shots", "--to", "../all.json"]) == 0
    assert "of these boxes, training leaves out 1 crowd region" in capsys.readouterr().err
    written = json.loads((tmp_path / "all.json").read_text())
    assert [image["file_name"] for image in written["images"]] == [
        f"shots/{i}.png" for i in range(3)
    ]
    assert main(["images.json", "--images", "gone"]) == 0
    assert "3 of the pictures are missing, the first is gone/0.png" in capsys.readouterr().err
    (tmp_path / "images.json").write_text(json.dumps(content))
    shutil.move(tmp_path / "shots", tmp_path / "images" / "images")
    monkeypatch.chdir(tmp_path / "images" / "images")
    assert data_files([Path("../../images.json")]).train[0].images == Path("../../images/images")


WRITERS = [roboflow_coco, yolo, ultralytics, voc, voc_lists]


@pytest.mark.filterwarnings("ignore:.*have no label file")
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_format_reads_the_same(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    expected = [(f"{image}.png", NAMES[i], [*map(float, box)]) for image, i, *box in BOXES]
    data = write(tmp_path / "set")
    for found in rows(data_files([data])):
        assert [row[:2] for row in found] == [row[:2] for row in expected]
        np.testing.assert_allclose([r[2] for r in found], [r[2] for r in expected], atol=1e-4)

    drawn = tmp_path / "mosaic.png"
    assert main([str(data), "--to", str(tmp_path / "all.json"), "--draw", str(drawn)]) == 0
    # Pictures are drawn five times as large, 8 pixels from the edge, below a line of 18.
    mosaic = cv2.imread(str(drawn))
    assert mosaic is not None
    assert mosaic[26 + 5 * 10, 8 + 5 * 3].tolist() == list(class_colour(0))
    assert mosaic[26 + 5 * 30, 8 + 5 * 30].tolist() == list(class_colour(1))
    assert mosaic[26 + 5 * 20, 8 + 5 * 15].tolist() == [80, 80, 80]
    converted = [tmp_path / "all_train.json", tmp_path / "all_val.json"]
    again = rows(data_files(converted[:1], converted[1:]))
    for found in again:
        np.testing.assert_allclose([r[2] for r in found], [r[2] for r in expected], atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*have no label file")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("train/labels/0.txt", "5 0.5 0.5 0.1 0.1"), "0.txt, line 1: class 5, but there are 2"),
        (("train/labels/0.txt", "0 320 240 10 10"), "must be shares of the picture"),
        (("train/labels/0.txt", "cat 0.5 0.5 1 1"), "expected a class index and four numbers"),
        (("train/labels/0.txt", "0 nan 0.5 1 1"), "must be shares of the picture"),
        (("data.yaml", "names: [a]\nnc: 3\ntrain: train"), "nc is 3, but there are 1 names"),
        (("data.yaml", "names: [cat, dog]\ntrain: gone"), "train: gone is not there"),
        (("data.yaml", "names: {1: cat}\ntrain: train"), "names must be numbered 0, 1, 2"),
        (("data.yaml", "- 1"), "expected names: and train:"),
        (("train/images/0.png", "no picture"), "0.png: not a picture"),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    yolo(tmp_path / "set")
    (tmp_path / "set" / change[0]).write_text(change[1])
    with pytest.raises(InputFileError) as caught:
        data_files([tmp_path / "set"]).train[0].read()
    assert words in str(caught.value)


def test_pictures_without_labels_are_counted_and_a_set_of_them_refused(tmp_path: Path) -> None:
    source = data_files([yolo(tmp_path / "set")]).train[0]
    with pytest.warns(ModelWarning, match="1 of 3 pictures have no label file"):
        source.read()
    shutil.rmtree(tmp_path / "set" / "train" / "labels")
    with pytest.raises(InputFileError, match=r"none of its 3 pictures has labels: .*labels.0\.txt"):
        source.read()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "<annotation><object><name>cat</name></object></annotation>",
            "without a name or a bndbox",
        ),
        ("<note/>", "its root is 'note', expected 'annotation'"),
        ("none", "no XML"),
    ],
)
def test_a_broken_voc_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    voc(tmp_path / "set")
    (tmp_path / "set" / "train" / "1.xml").write_text(text)
    with pytest.raises(InputFileError) as caught:
        data_files([tmp_path / "set"]).train[0].read()
    assert "1.xml" in str(caught.value)
    assert words in str(caught.value)


def test_a_run_trains_on_text_labels_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = str(ultralytics(tmp_path / "set")), str(tmp_path / "run")
    run = ["--arch", "nano", "--imgsz", "64", "--workers", "0", "--device", "cpu", "--batch", "4"]
    assert train.main(["--data", data, *run, "--epochs", "1", "--output", output]) == 0
    assert train.main(["--resume", "--output", output]) == 0
    told = capsys.readouterr().err
    assert told.count("training: 3 pictures, 3 boxes, 2 classes") == 2
    # The same drawings everywhere, and so copies of each other.
    assert "3 of its 3 pictures are training pictures, too" in told


def test_a_folder_without_a_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no data set in it; expected"):
        data_files([tmp_path])
    (tmp_path / "list.txt").write_text("a.jpg")
    with pytest.raises(InputFileError, match=r"list\.txt: a list of pictures is read in"):
        data_files([tmp_path / "list.txt"], images=[tmp_path]).train[0].read()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_a_device_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    for name in ("data.yaml", "list.txt"):
        (tmp_path / name).symlink_to("/dev/zero")
    other = tmp_path / "other.yaml"
    other.write_text("names: [a]\ntrain: list.txt\nval: list.txt\n")
    for path, words in (
        (tmp_path / "data.yaml", "larger than 16 MiB, so no data.yaml"),
        (other, "larger than 16 MiB, so no list of pictures"),
        (Path("/dev/zero"), "is a device"),
    ):
        with pytest.raises(InputFileError, match=words):
            data_files([path], images=[tmp_path] * (path == Path("/dev/zero"))).train[0].read()
