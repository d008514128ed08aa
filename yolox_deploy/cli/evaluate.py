"""``yolox-eval``: COCO AP of checkpoints and artifacts, side by side."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.accuracy import detect_dataset, evaluation_detector
from yolox_deploy.cli.common import (
    add_model_hints,
    add_thresholds,
    given,
    make_parser,
    model_hints,
    run_command,
)
from yolox_deploy.cli.parser import add_options
from yolox_deploy.data.ap import CocoDataset
from yolox_deploy.files import write_atomically, write_document
from yolox_deploy.postprocess import EVALUATION
from yolox_deploy.progress import track
from yolox_deploy.runtimes import CHECKPOINT_SUFFIXES
from yolox_deploy.tasks import task_of
from yolox_deploy.terminal import note, print_table
from yolox_deploy.weights import find_model

COMMAND = "yolox-eval"
# The figures of AveragePrecision, and what they are called in the table.
TITLES = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}
BY_SIZE = {"ap_small": "APs", "ap_medium": "APm", "ap_large": "APl"}
EXAMPLES = """\
  yolox-eval --model yolox_nano.pth --data val.json --images val2017/
  yolox-eval --model yolox_nano.pth yolox_nano.onnx --data val.json --images val2017/
  yolox-eval --model m.onnx --backend onnxruntime openvino --data val.json --images val/
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND, "Measure COCO AP of models on any backend, side by side.", EXAMPLES
    )
    add_options(
        result,
        """
        --model MODEL ...: checkpoints (.pth), artifacts (.onnx, .xml, .param, .engine) or names of
            published weights, such as yolox_s
        --backend NAME ...: backends to measure each model on, for example onnxruntime openvino
            (default: auto, which opens a .pth with torch)
        --data JSON: annotations in COCO's format
        --images DIR: folder with the pictures that the annotations name
        --full: show AP for small, medium and large objects, too
        --clip: clip boxes to the picture (default: not clipped, as in the original's evaluation)
        --threads N: number of CPU threads (default: the engine's choice)
        --precision NAME: precision that the engine computes in, for example bf16 (default: fp32)
        --json FILE: write the figures as JSON, to the standard output for -
        --results DIR: write the detections of each model to this folder, in COCO's format of
            results
        """,
        required=("model", "data", "images"),
        backend=("auto",),
    )
    add_thresholds(result, EVALUATION.score, EVALUATION.iou)
    add_model_hints(result)
    return result


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure every model on every backend and print the table."""
    dataset = CocoDataset(arguments.data, arguments.images)
    runs = itertools.product(arguments.model, arguments.backend)
    rows = [
        measure(arguments, dataset, model, backend, number)
        for number, (model, backend) in enumerate(runs, 1)
    ]
    titles = TITLES | (BY_SIZE if arguments.full else {})
    cells = []
    for row in rows:
        difference = f"{row['ap'] - rows[0]['ap']:+.4f}"
        figures = [f"{row[key]:.4f}" for key in titles]
        cells.append([row["model"], row["backend"], *figures, difference])
    print_table(["model", "backend", *titles.values(), "difference"], cells)
    if arguments.json:
        about = {"data": str(arguments.data), "images": str(arguments.images)}
        write_document(arguments.json, COMMAND, {**about, "results": rows})
    return 0


def measure(
    arguments: argparse.Namespace, dataset: CocoDataset, model: str, backend: str, number: int
) -> dict[str, Any]:
    """Return one row of the table."""
    if backend == "auto" and find_model(model).suffix.lower() in CHECKPOINT_SUFFIXES:
        backend = "torch"
    with evaluation_detector(
        model,
        backend,
        **given(arguments, "score_threshold", "iou_threshold", "clip", "threads", "precision"),
        **vars(model_hints(arguments)),
    ) as detector:
        metric = task_of(detector.spec).metric
        dataset.check_metric(metric)
        note(f"{model} on {detector.backend}: {len(dataset.pictures)} pictures")
        results = detect_dataset(detector, dataset, partial(track, total=len(dataset.pictures)))
        found = {"model": Path(model).name, "backend": detector.backend}
    if arguments.results:
        name = f"{number}_{Path(model).name}.{found['backend']}.json"
        write_results(results, arguments.results / name)
    return {**found, **dataset.evaluate(results, metric).as_dict()}


main = partial(run_command, COMMAND, parser, evaluate)


def write_results(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Write result entries as COCO's tools read them; raises :class:`OutputError`."""
    write_atomically(path, json.dumps(list(results)) + "\n")
