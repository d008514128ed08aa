"""The files that the command lines name, and what may be done to one of them before a case."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from yolox_deploy.cli import export
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import read_image

REPORTS = Path(__file__).parents[2] / "yolox_deploy/benchmarks/results"
SIZE = (64, 48)
# Names that a person may give, and that programs forget.
ODD_NAMES = (
    *("b d.jpg", "a,b.jpg", "été_猫.jpg", "-dash.jpg", "[1].jpg", "100%d{}.jpg", "new\nline.jpg"),
    *("caf\udce9.jpg", "\x1b[31mred.jpg", "noend", ".hidden.jpg", "upper.JPG"),
)
PIPE = "a pipe"
OPENED = ("d.pth", "d.onnx", "d.xml", "d.ncnn.param", "foreign.onnx")


def write_files(folder: Path, others: bool) -> None:
    """Write the sound files and the odd ones; ``others`` also writes OpenVINO's and NCNN's."""
    os.chdir(folder)
    for suffix in ("pth", "onnx"):
        shutil.copy2(ASSETS / f"digits_nano.{suffix}", f"d.{suffix}")
    line = "--model d.pth --to openvino,ncnn --imgsz 64 --no-verify -q"
    if others and export.main(line.split()):
        raise SystemExit("the sound artifacts could not be written")
    model = onnx.load("d.onnx")
    del model.metadata_props[:]
    onnx.save(model, "foreign.onnx")
    _write_pictures()
    _write_data()
    _write_texts()
    _write_film()
    shutil.copyfile(REPORTS / "streaming_nano.json", "streaming.json")
    Path("latency.json").write_text(json.dumps(_short(REPORTS / "yolox_nano.json")))
    os.symlink("p.jpg", "link.jpg")
    os.symlink("loop.jpg", "loop.jpg")
    os.symlink("d.onnx", "link.onnx")
    os.symlink("old.json", "link.json")
    os.symlink("sub/new.json", "dangling.json")


def _short(report: Path) -> Any:
    """Return a report of its first system alone, and of its first calls: quick to evaluate."""
    content = json.loads(report.read_text())
    result = content["result"]
    for part, names in ((content, ["systems"]), (result, ["series", "cold_starts", "costs"])):
        part.update({name: part[name][:1] for name in names})
    (series,) = result["series"]
    series.update({name: values and values[:60] for name, values in series.items()})
    return content


def _write_pictures() -> None:
    for folder in ("pics", "none", "sub", "full", "read_only"):
        os.mkdir(folder)
    for number in (1, 2):
        image = cv2.resize(read_image(ASSETS / f"digits_{number}.jpg"), SIZE)
        cv2.imwrite(f"pics/{number}.jpg", image)
    for name in ("p.jpg", "p.png", "p.webp"):
        cv2.imwrite(name, image)
    cv2.imwrite("grey.png", image[:, :, 0])
    cv2.imwrite("deep.png", image.astype(np.uint16) * 256)
    cv2.imwrite("dot.png", image[:1, :1])
    cv2.imwrite("wide.png", np.zeros((1, 20_000, 3), np.uint8))
    for name in ODD_NAMES:
        shutil.copyfile("p.jpg", name)
    # A header that claims 60,000 x 60,000 pixels.
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    Path("bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


def _write_data() -> None:
    box: dict[str, Any] = {"bbox": [9, 5, 20, 30], "area": 600, "iscrowd": 0}
    content: dict[str, Any] = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": SIZE[0], "height": SIZE[1]} for i in (1, 2)
        ],
        "categories": [{"id": i, "name": str(i)} for i in range(10)],
        "annotations": [
            {"id": i + 1, "image_id": 1 + i % 2, "category_id": i, **box} for i in range(10)
        ],
    }
    variants: dict[str, dict[str, Any]] = {
        "data": {},
        "no_boxes": {"annotations": []},
        "no_pictures": {"images": []},
        "other_names": {"categories": [{"id": i, "name": f"c{i}"} for i in range(3)]},
        "gone": {"images": [{**content["images"][0], "file_name": "gone.jpg"}]},
        "huge": {"images": [{**i, "width": 10**12, "height": 10**12} for i in content["images"]]},
    }
    for name, change in variants.items():
        Path(f"{name}.json").write_text(json.dumps(content | change))
    Path("data.yaml").write_text("train:\n- {annotations: data.json, images: pics}\n")
    Path("odd.yaml").write_text("train: 7\nval: [{images: pics}]\n")

    _write_foreign_data()


def _write_foreign_data() -> None:
    """Give the same pictures labels as YOLO has them, and as Pascal VOC does."""
    for folder in ("yolo", "yolo/images", "yolo/labels", "voc"):
        os.mkdir(folder)
    lines = ["train: images", "val: images", f"names: {[str(i) for i in range(10)]}"]
    Path("yolo/data.yaml").write_text("\n".join(lines))
    corners = "<xmin>10</xmin><ymin>6</ymin><xmax>30</xmax><ymax>36</ymax>"
    for number in (1, 2):
        for folder in ("yolo/images", "voc"):
            shutil.copyfile(f"pics/{number}.jpg", f"{folder}/{number}.jpg")
        Path(f"yolo/labels/{number}.txt").write_text("3 0.3 0.4 0.3 0.6\n")
        Path(f"voc/{number}.xml").write_text(
            f"<annotation><filename>{number}.jpg</filename>"
            f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
            f"<object><name>3</name><bndbox>{corners}</bndbox></object></annotation>"
        )


def _write_film() -> None:
    writer = cv2.VideoWriter("film.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 5, SIZE)
    for number in (1, 2, 1, 2):
        writer.write(read_image(Path(f"pics/{number}.jpg")))
    writer.release()


def _write_texts() -> None:
    Path("names.txt").write_text("\n".join("abcdefghij"), "utf-8")
    Path("odd_names.txt").write_bytes(b"\xff\xfe\x00a\nb\n")
    for name in ("old.json", "full/p.txt", "full/p.jpg", "full/last.pth", "locked.json"):
        Path(name).write_text("precious")
    Path("text.jpg").write_text("<html>404: not found</html>")
    Path("empty").touch()
    Path("locked.json").chmod(0o444)
    Path("read_only").chmod(0o555)


def _instead(make: Callable[[Path], object], file: Path) -> None:
    file.unlink()
    make(file)


def _truncate(share: float, file: Path) -> None:
    os.truncate(file, int(file.stat().st_size * share))


# What may be done to a file, by name.
CHANGES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": partial(_truncate, 0),
    "a tenth": partial(_truncate, 0.1),
    "half": partial(_truncate, 0.5),
    "unreadable": lambda file: file.chmod(0),
    "read-only": lambda file: file.chmod(0o444),
    "a folder": partial(_instead, Path.mkdir),
    PIPE: partial(_instead, os.mkfifo),
    "a link to itself": partial(_instead, lambda file: file.symlink_to(file.name)),
    "a device": partial(_instead, lambda file: file.symlink_to("/dev/zero")),
    "a text": lambda file: file.write_text("<html>404: not found</html>"),
    "a picture": lambda file: file.write_bytes(Path("p.png").read_bytes()),
    "a model": lambda file: file.write_bytes(Path("d.onnx").read_bytes()),
    "JSON": lambda file: file.write_text("[[]]"),
    "nulls": lambda file: file.write_bytes(bytes(5000)),
}
