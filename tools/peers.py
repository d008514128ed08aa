"""Picture to boxes beside the peers: the same weights, picture and thresholds, in turns.

``python -m tools.peers yolox_nano.pth dog.jpg`` exports the checkpoint and gives every package the
same graph, with the decoding in it if the package needs that.  Packages that are not installed are
left out: ``pip install rtmlib libreyolo``.  All run in one process, each with the number of threads
that its engine chooses.  The machine must be quiet.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from yolox_deploy import Detector
from yolox_deploy.export import ExportOptions, export_model
from yolox_deploy.pictures.images import read_image
from yolox_deploy.terminal import print_table

SCORE_THRESHOLD = 0.25
IOU_THRESHOLD = 0.45
WARM_UP = 20
TURN = 20

ImageArray = NDArray[np.uint8]
Detect = Callable[[ImageArray], int]


def ours(checkpoint: Path, folder: Path) -> Iterator[tuple[str, Detect]]:
    """Yield our detectors as functions from a picture to the number of boxes."""
    results = export_model(checkpoint, ["onnx", "openvino"], ExportOptions(), folder)
    for result, backend in zip(results, ("onnxruntime", "openvino"), strict=True):
        detector = Detector(result.path, backend, SCORE_THRESHOLD, IOU_THRESHOLD)
        yield f"yolox_deploy, {backend}", _counting(detector, len)
    # What OpenVINO chooses by itself on processors that have it, and so gives to who does not ask.
    fast = Detector(results[1].path, "openvino", SCORE_THRESHOLD, precision="bf16")
    yield "yolox_deploy, openvino bf16", _counting(fast, len)


def rtmlib(checkpoint: Path, folder: Path) -> Iterator[tuple[str, Detect]]:
    """Yield rtmlib's detector on our ONNX file; it returns boxes and classes, no scores."""
    from rtmlib import YOLOX

    path = folder / f"{checkpoint.stem}.onnx"
    with Detector(path, "onnxruntime") as opened:
        size = (opened.spec.height, opened.spec.width)
    for backend in ("onnxruntime", "openvino"):
        detector = YOLOX(
            str(path), size, "multiclass", IOU_THRESHOLD, SCORE_THRESHOLD, backend=backend
        )
        yield f"rtmlib, {backend}", _counting(detector, lambda found: len(found[0]))


def libreyolo(checkpoint: Path, folder: Path) -> Iterator[tuple[str, Detect]]:
    """Yield LibreYOLO's ONNX backend, which wants decoded boxes and metadata of its own."""
    from libreyolo.backends.onnx import OnnxBackend

    decoded = folder / "decoded"
    (result,) = export_model(checkpoint, ["onnx"], ExportOptions(decode=True), decoded)
    model = onnx.load(result.path)
    spec = result.spec
    about = {
        "model_family": "yolox",
        "task": "detect",
        "nc": str(spec.num_classes),
        "names": json.dumps(dict(enumerate(spec.class_names))),
        "imgsz": str(spec.height),
    }
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, result.path)
    detector = OnnxBackend(str(result.path), spec.num_classes, "cpu")

    def detect(image: ImageArray) -> int:
        found = detector(image, conf=SCORE_THRESHOLD, iou=IOU_THRESHOLD, color_format="bgr")
        return len(found.boxes)

    yield "libreyolo, onnxruntime", detect


def _counting(detector: Callable[[ImageArray], Any], count: Callable[[Any], int]) -> Detect:
    return lambda image: count(detector(image))


PEERS: dict[str, Callable[[Path, Path], Iterator[tuple[str, Detect]]]] = {
    "yolox_deploy": ours,
    "rtmlib": rtmlib,
    "libreyolo": libreyolo,
}


def measure(detectors: dict[str, Detect], image: ImageArray, count: int) -> dict[str, Any]:
    """Return the seconds of ``count`` calls and the number of boxes of each detector.

    They take turns of ``TURN`` calls: an engine's threads go on spinning for a while after a call,
    which is the next one's loss, and not to be seen in a median.
    """
    boxes = {name: detect(image) for name, detect in detectors.items() for _ in range(WARM_UP)}
    seconds: dict[str, list[float]] = {name: [] for name in detectors}
    for _ in range(count // TURN):
        for name, detect in detectors.items():
            for _ in range(TURN):
                start = perf_counter()
                detect(image)
                seconds[name].append(perf_counter() - start)
    return {name: (np.array(seconds[name]), boxes[name]) for name in detectors}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--count", type=int, default=300, help="calls (default: %(default)s)")
    arguments = parser.parse_args()
    image = read_image(arguments.image)
    detectors: dict[str, Detect] = {}
    with tempfile.TemporaryDirectory() as folder:
        for package, make in PEERS.items():
            if package != "yolox_deploy" and importlib.util.find_spec(package) is None:
                print(f"{package} is not installed: pip install {package}")
                continue
            with contextlib.redirect_stdout(io.StringIO()):
                detectors.update(make(arguments.checkpoint, Path(folder)))
        load = os.getloadavg()[0]
        results = measure(detectors, image, arguments.count)
    best = {b: np.median(results[f"yolox_deploy, {b}"][0]) for b in ("onnxruntime", "openvino")}
    rows = [
        [
            name,
            *(f"{1e3 * np.percentile(seconds, p):.2f}" for p in (50, 90)),
            f"{np.median(seconds) / best[name.split(', ')[1].split()[0]]:.2f}",
            str(boxes),
        ]
        for name, (seconds, boxes) in results.items()
    ]
    print_table(["package, engine", "p50 ms", "p90 ms", "ratio to ours", "boxes"], rows)
    versions = ", ".join(
        f"{p} {importlib.metadata.version(p)}"
        for p in ("rtmlib", "libreyolo", "onnxruntime", "openvino")
        if importlib.util.find_spec(p) is not None
    )
    print(f"{arguments.count} calls each, load before {load:.1f}; {versions}")


if __name__ == "__main__":
    main()
