"""A disk that is full: one line, exit code 7, and what was there stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_cases import Case, Ran, check
from films import read_film, write_film


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
EXPORT = "yolox-export --model {in}/tiny.pth --no-verify --to"
TRAIN = f"yolox-train --arch nano {DATA} --imgsz 64 --epochs 1 --batch 1 --workers 0 --device cpu"
CACHED = "yolox-detect {in}/pics --model {in}/tiny.pth"
CASES = [
    # Known before the work.
    (0, Case(f"{DETECT} --no-draw --json result", 7, "No space left")),
    (0, Case(f"{DETECT} --no-draw --txt result", 7, "No space left")),
    (0, Case(f"{DETECT} --output new", 7, "No space left")),
    (0, Case(f"yolox-eval --model {{in}}/m.onnx {DATA} --json ap.json", 7, "No space left")),
    (0, Case(f"yolox-eval --model {{in}}/m.onnx {DATA} --results new", 7, "No space left")),
    (0, Case("yolox-bench show {in}/r.json --json r.json", 7, "No space left")),
    (0, Case(f"{TRAIN} --output new", 7, "No space left")),
    (0, Case(f"{EXPORT} onnx", 7, "No space left")),
    # Found while it is written, in what way the library that writes may tell it.
    (1_500_000, Case(f"{TRAIN} --output new", 7, "No space left", ("new",))),
    (1_500_000, Case(f"{EXPORT} onnx", 7, "No space left")),
    (1_500_000, Case(f"{EXPORT} openvino", 7, "No space left")),
    (1_500_000, Case(f"{EXPORT} ncnn", 7, "No space left")),
    (
        1_500_000,
        Case(
            "yolox-detect {in}/pics --model {in}/tiny.pth --no-draw", 7, "No space left", ("cache",)
        ),
    ),
]


@pytest.mark.parametrize(("left", "case"), CASES, ids=str)
def test_a_full_disk_is_one_line(
    left: int,
    case: Case,
    small_disk: Path,
    inputs: Path,
    command: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(small_disk)
    monkeypatch.setenv("YOLOX_DEPLOY_CACHE", str(small_disk / "cache"))
    (small_disk / "precious.txt").write_text("precious")
    fill(small_disk)
    if left:
        os.truncate("filler", os.path.getsize("filler") - left)
    line = case.line.replace("{in}", str(inputs))
    check(replace(case, line=line), lambda name, words: command(name, *words), small_disk)
    assert not [name for name in os.listdir() if name.startswith(".")]
    monkeypatch.undo()


def test_what_was_done_when_the_disk_was_full_can_be_read(
    small_disk: Path,
    inputs: Path,
    command: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A video of noise, which cannot be made small, with its detections."""
    pytest.importorskip("av")
    images = np.random.default_rng(0).integers(0, 256, (40, 240, 320, 3), np.uint8)
    times = [i / 25 for i in range(len(images))]
    film = write_film(inputs / "noise.avi", times, images=images, codec="mjpeg")
    monkeypatch.chdir(small_disk)
    fill(small_disk)
    os.truncate("filler", os.path.getsize("filler") - 400_000)
    words = [film, "--model", inputs / "m.onnx", "--threads", 1, "--jsonl", "r.jsonl"]
    ran = command("yolox-detect", *words, "--output", "out")
    kept, failed = ran.err.splitlines()[-2:]
    assert (ran.code, "No space left" in failed) == (7, True), ran.err
    assert kept.startswith("yolox-detect: kept the results of ")
    assert kept.endswith(" in out, r.jsonl")
    frames = len(list(read_film(small_disk / "out/noise.mp4")))
    lines = [json.loads(line) for line in (small_disk / "r.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(len(lines)))
    assert 3 < frames <= 40
    assert frames - 1 <= len(lines) <= 40
    assert {p.name for p in small_disk.iterdir()} == {"filler", "out", "r.jsonl"}
    monkeypatch.undo()
