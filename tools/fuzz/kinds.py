"""What is damaged: files of every kind that a user may have, and the command that reads them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import onnx

from tools.fuzz.mutations import damaged, damaged_json
from yolox_deploy.cli import bench, detect, evaluate, export
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import read_image

PICTURE = "digits_1.jpg"
RESULT = "found.json"
TARGETS = ("onnx", "openvino", "ncnn")
FORMATS = ("png", "jpg", "bmp", "webp", "tiff", "ppm")
REPORT_NAMES = ("yolox_nano.json", "streaming_nano.json")
REPORTS = Path(__file__).parents[2] / "benchmarks/results"
Main = Callable[[list[str]], int]


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    ``sets`` are the sound inputs: each a folder whose files are copied together.  ``damages`` says
    which of them may be damaged, by a pattern, and ``command`` what reads the copy.  Where
    ``proven``, a command that succeeds must have found what the sound input gives.
    """

    name: str
    sets: tuple[Path, ...]
    main: Main
    arguments: Callable[[Path], list[str]]
    damages: str = "*"
    json: bool = False
    proven: bool = False

    def lay_out(self, place: Path, dice: random.Random) -> Path:
        """Copy one of the sets into ``place``, damage one file of it, and return that file."""
        shutil.copytree(dice.choice(self.sets), place, dirs_exist_ok=True)
        file = dice.choice(sorted(place.glob(self.damages)))
        damage = damaged_json if self.json or file.suffix == ".json" else damaged
        file.write_bytes(damage(file.read_bytes(), dice))
        return file


def write_inputs(folder: Path, names: Collection[str]) -> None:
    """Write below ``folder`` the sound inputs of the kinds ``names``."""
    for target in TARGETS:
        if not any(target in name for name in names):
            continue
        place = folder / target
        code = export.main(["--to", target, "--output", str(place), "--quiet"])
        if code:
            raise SystemExit(f"yolox-export --to {target} ended with {code}")
        if target != "openvino":
            _write_without_spec(place, folder / f"foreign_{target}")
    (folder / "checkpoint").mkdir()
    shutil.copy2(ASSETS / "digits_nano.pth", folder / "checkpoint")
    image = cv2.resize(read_image(ASSETS / PICTURE), (97, 61))
    for suffix in FORMATS:
        place = folder / f"picture_{suffix}"
        place.mkdir()
        cv2.imwrite(str(place / f"picture.{suffix}"), image)
    _write_annotations(folder / "coco")
    for name in REPORT_NAMES:
        place = folder / f"report_{name}"
        place.mkdir()
        for copy in ("old.json", "new.json"):
            shutil.copyfile(REPORTS / name, place / copy)


def kinds_of(folder: Path) -> list[Kind]:
    """Return the kinds, whose sound inputs :func:`write_inputs` wrote below ``folder``."""
    picture = str(ASSETS / PICTURE)
    sound = str(ASSETS / "digits_nano.onnx")

    def sets(pattern: str) -> tuple[Path, ...]:
        return tuple(sorted(folder.glob(pattern)))

    def detection(pattern: str, *more: str) -> Callable[[Path], list[str]]:
        def arguments(place: Path) -> list[str]:
            (model,) = place.glob(pattern)
            return [picture, "--model", model.name, "--json", RESULT, *more]

        return arguments

    def of_picture(place: Path) -> list[str]:
        return [next(place.iterdir()).name, "--model", sound, "--json", RESULT]

    def of_annotations(place: Path) -> list[str]:
        return ["--model", sound, "--data", "data.json", "--images", str(ASSETS)]

    def of_report(place: Path) -> list[str]:
        return ["show", "new.json"]

    def of_reports(place: Path) -> list[str]:
        return ["compare", "old.json", "new.json"]

    proven = partial(Kind, main=detect.main, proven=True)
    foreign = partial(Kind, main=detect.main)
    text = partial(Kind, damages="*.json", json=True)
    report = partial(text, sets=sets("report_*"), damages="new.json", main=bench.main)
    return [
        proven("onnx", sets("onnx"), arguments=detection("*.onnx")),
        proven("openvino", sets("openvino"), arguments=detection("*.xml")),
        proven("ncnn", sets("ncnn"), arguments=detection("*.param")),
        foreign("foreign-onnx", sets("foreign_onnx"), arguments=detection("*.onnx")),
        foreign(
            "foreign-ncnn", sets("foreign_ncnn"), arguments=detection("*.param", "--imgsz", "320")
        ),
        Kind(
            *("checkpoint", sets("checkpoint"), detect.main),
            detection("*.pth", "--backend", "torch"),
        ),
        Kind("picture", sets("picture_*"), detect.main, of_picture),
        text("coco", sets("coco"), main=evaluate.main, arguments=of_annotations),
        report("report", arguments=of_report),
        report("compare", arguments=of_reports),
    ]


def _write_without_spec(made: Path, place: Path) -> None:
    """Copy an artifact as another exporter would have written it."""
    place.mkdir()
    for file in made.iterdir():
        if file.suffix == ".onnx":
            model = onnx.load(file)
            del model.metadata_props[:]
            onnx.save(model, place / "digits.onnx")
        elif file.suffix != ".json":
            shutil.copy2(file, place)


def _write_annotations(folder: Path) -> None:
    """Write a small COCO file of two pictures that ship with the package."""
    folder.mkdir()
    box = {"bbox": [90, 50, 40, 50], "area": 2000, "iscrowd": 0}
    content = {
        "images": [
            {"id": i, "file_name": f"digits_{i}.jpg", "width": 410, "height": 410} for i in (1, 2)
        ],
        "categories": [{"id": i, "name": str(i)} for i in range(10)],
        "annotations": [
            {"id": i, "image_id": 1 + i % 2, "category_id": i, **box} for i in range(10)
        ],
    }
    (folder / "data.json").write_text(json.dumps(content))
