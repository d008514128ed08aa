"""Result files: written when the work is done, and as their readers expect them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_deploy import Detections
from yolox_deploy.cli import detect
from yolox_deploy.errors import ExtensionWarning, OutputError
from yolox_deploy.registry import Registry
from yolox_deploy.sinks import (
    SINKS,
    CocoSink,
    CsvSink,
    JsonSink,
    PictureSink,
    Sink,
    SinkKind,
    YoloSink,
)
from yolox_deploy.sources import Frame
from yolox_deploy.sources.still import PictureSource

NAMES = ("näme, with comma", "two")
IMAGE = np.full((40, 60, 3), 90, np.uint8)
# Every sink of one file, by the name of the file that it is to write here.
KINDS: dict[str, type[Sink]] = {
    f"r.{kind.name}": kind.sink for kind in SINKS.values() if kind.metavar == "FILE"
}
# What each sink leaves for one picture in which nothing was found: what its file holds, or the name
# of the file in its folder.
EMPTY: dict[str, Any] = {
    "output": "a.jpg",
    "json": lambda text: len(json.loads(text)["pictures"]) == 1,
    "jsonl": lambda text: json.loads(text)["detections"] == [],
    "csv": lambda text: text == "image,name,class_id,score,x1,y1,x2,y2\n",
    "txt": "a.txt",
    "mot": "pics.txt",
    "coco": lambda text: len(json.loads(text)["images"]) == 1,
}


def still(name: str) -> Frame:
    return Frame(IMAGE, PictureSource(Path(name)))


def found(*scores: float) -> Detections:
    boxes = [[6, 4, 30, 24]] * len(scores)
    return Detections(boxes, scores, [0] * len(scores), NAMES, (40, 60))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_written_before_the_end(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / name
    with KINDS[name](path) as sink:
        sink.take(still("a.jpg"), found(0.5))
        assert not path.exists()
    assert path.is_file()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OutputError, RuntimeError])
@pytest.mark.parametrize("pictures", [0, 1])
def test_an_interrupt_keeps_what_was_done_and_an_error_of_ours_what_was_there(
    name: str, error: type[BaseException], pictures: int, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text("precious")
    sink = KINDS[name](path)
    sink.__enter__()
    for _ in range(pictures):
        sink.take(still("a.jpg"), found(0.5))
    sink.__exit__(error, error(), None)
    kept = pictures == 1 and error is not RuntimeError
    assert sink.kept is kept
    assert (path.read_text() == "precious") is not kept
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", KINDS)
def test_a_folder_in_the_way_is_told_at_once(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=f"{name}: it is a folder"), KINDS[name](tmp_path / name):
        pass
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_every_sink_has_its_test_material() -> None:
    assert set(EMPTY) == set(SINKS), "add a row to EMPTY in this file"


@pytest.mark.parametrize("name", SINKS)
def test_pictures_without_detections_are_there_too(name: str, tmp_path: Path) -> None:
    path = tmp_path / "written"
    frame = still("pics/a.jpg")
    with SINKS[name].sink(path, [frame.source]) as sink:
        nothing = replace(found(), track_ids=np.empty(0, np.int64))
        sink.take(frame, nothing if name == "mot" else found())
    if SINKS[name].metavar == "DIR":
        assert [file.name for file in path.iterdir()] == [EMPTY[name]]
    else:
        assert EMPTY[name](path.read_text("utf-8"))


def test_csv_survives_commas_and_umlauts(tmp_path: Path) -> None:
    with CsvSink(tmp_path / "r.csv") as sink:
        sink.take(still("a,b.jpg"), found(0.5, 0.25))
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[1] == ["a,b.jpg", NAMES[0], "0", "0.5", "6.0", "4.0", "30.0", "24.0"]
    assert len(rows) == 3


def test_coco_numbers_everything_from_one(tmp_path: Path) -> None:
    with CocoSink(tmp_path / "c.json") as sink:
        sink.take(still("a.jpg"), found(0.5))
        sink.take(still("b.jpg"), found(0.75, 0.25))
    content = json.loads((tmp_path / "c.json").read_text("utf-8"))
    assert content["categories"] == [{"id": 1, "name": NAMES[0]}, {"id": 2, "name": "two"}]
    assert content["images"][1] == {"id": 2, "file_name": "b.jpg", "height": 40, "width": 60}
    assert [a["id"] for a in content["annotations"]] == [1, 2, 3]
    assert content["annotations"][1] == {
        "id": 2,
        "image_id": 2,
        "category_id": 1,
        "bbox": [6.0, 4.0, 24.0, 20.0],
        "score": 0.75,
        "area": 480.0,
        "iscrowd": 0,
    }


def test_yolo_lines_are_relative_to_the_picture(tmp_path: Path) -> None:
    with YoloSink(tmp_path) as sink:
        sink.take(still("x/a.jpg"), found(0.5))
        sink.take(still("y/a.png"), found())
    assert (tmp_path / "a.txt").read_text() == "0 0.300000 0.350000 0.400000 0.500000 0.500000\n"
    assert (tmp_path / "a_2.txt").read_text() == ""


@pytest.mark.parametrize(
    ("source", "written"), [("a.png", "a.png"), ("A.PNG", "A.png"), ("a.bmp", "a.jpg")]
)
def test_annotated_pictures_are_png_or_jpeg(source: str, written: str, tmp_path: Path) -> None:
    with PictureSink(tmp_path) as sink:
        sink.take(still(source), found(0.5))
    (file,) = tmp_path.iterdir()
    assert file.name == written
    drawn = cv2.imread(str(file))
    assert drawn.shape == IMAGE.shape
    assert (np.abs(drawn.astype(int) - IMAGE) > 40).any()


@pytest.mark.parametrize("name", ["model", "backend", "no-draw"])
def test_a_sink_whose_option_is_taken_is_left_out(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [SinkKind(name, JsonSink, "FILE", "mine"), SinkKind("my-csv", CsvSink, "FILE", "mine")]
    monkeypatch.setattr(detect, "SINKS", Registry("sink", "no.such.group", rows))
    with pytest.warns(ExtensionWarning, match=f"the sink '{name}' has no option"):
        parser = detect.parser()
    words = ["a.jpg", "--model", "x.onnx", "--my-csv", str(tmp_path / "r.csv")]
    arguments = parser.parse_args(words)
    assert arguments.model == "x.onnx"
    (sink,) = detect.make_sinks(arguments, [])
    assert isinstance(sink, CsvSink)
