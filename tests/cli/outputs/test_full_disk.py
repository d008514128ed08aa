"""A disk that is full: one line, exit code 7, and what was there stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_cases import Case, check, in_a_process


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this test needs to mount a disk, which only root may")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    """Leave no room on a disk."""
    with (place / "filler").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


@pytest.fixture
def inputs(tmp_path: Path, tiny_pth: Path, model_for: Any, dog_path: Path) -> Path:
    """A folder, on another disk, with what commands read."""
    folder = tmp_path / "inputs"
    (folder / "pics").mkdir(parents=True)
    shutil.copy(model_for("onnxruntime", size=(64, 64)).path, folder / "m.onnx")
    shutil.copy(tiny_pth, folder / "tiny.pth")
    shutil.copy(dog_path, folder / "pics/dog.jpg")
    results = Path(__file__).parents[3] / "yolox_deploy/benchmarks/results"
    shutil.copy(results / "yolox_nano.json", folder / "r.json")
    image = {"id": 1, "file_name": "dog.jpg", "height": 576, "width": 768}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [130, 200, 190, 340]}
    content = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "dog"}]}
    (folder / "data.json").write_text(json.dumps(content))
    return folder


DETECT = "yolox-detect {in}/pics --model {in}/m.onnx"
DATA = "--data {in}/data.json --images {in}/pics"
CASES = [
    *(f"{DETECT} --no-draw --{name} result" for name in ("json", "csv", "coco", "txt")),
    f"{DETECT} --output new",
    f"yolox-eval --model {{in}}/m.onnx {DATA} --json ap.json",
    f"yolox-eval --model {{in}}/m.onnx {DATA} --results new",
    "yolox-bench show {in}/r.json --json r.json",
    "yolox-bench show {in}/r.json --plot r.png",
    f"yolox-train --arch nano {DATA} --imgsz 64 --epochs 1 --batch 1 --workers 0 --output new",
    *(f"yolox-export --model {{in}}/tiny.pth --to {to}" for to in ("onnx", "openvino", "ncnn")),
    "yolox-detect {in}/pics --model {in}/tiny.pth --imgsz 64 --no-draw",
]


@pytest.mark.parametrize("full", [True, False], ids=["full", "nearly full"])
@pytest.mark.parametrize("line", CASES)
def test_a_full_disk_is_one_line(
    line: str, full: bool, small_disk: Path, inputs: Path, environment: dict[str, str]
) -> None:
    environment["YOLOX_DEPLOY_CACHE"] = str(small_disk / "cache")
    (small_disk / "precious.txt").write_text("precious")
    if full:
        fill(small_disk)
    elif not any(word in line for word in (".pth", "train")):
        pytest.skip("3 MB are enough for this result")
    line = line.replace("{in}", str(inputs))
    run = in_a_process(small_disk, environment)
    check(Case(line, 7, "cannot write", ("cache",) if "detect" in line else ()), run, small_disk)
    assert not [name for name in os.listdir(small_disk) if name.startswith(".")]
