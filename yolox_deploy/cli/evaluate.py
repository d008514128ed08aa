"""``yolox-eval``: COCO AP of checkpoints and artifacts, side by side."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.accuracy import detect_dataset, evaluation_detector, write_results
from yolox_deploy.cli.common import (
    add_model_hints,
    add_thresholds,
    make_parser,
    model_hints,
    run_command,
)
from yolox_deploy.data.ap import CocoDataset
from yolox_deploy.files import write_atomically
from yolox_deploy.postprocess import EVALUATION
from yolox_deploy.progress import print_table, say, track
from yolox_deploy.runtimes import CHECKPOINT_SUFFIXES
from yolox_deploy.tasks import task_of
from yolox_deploy.weights import find_model

COMMAND = "yolox-eval"
# The figures of AveragePrecision, in the order of the table.
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
EXAMPLES = """\
  yolox-eval --model yolox_nano.pth --backend torch --data val.json --images val2017/
  yolox-eval --model yolox_nano.pth yolox_nano.onnx --data val.json --images val2017/
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND, "Measure COCO AP of models on any backend, side by side.", EXAMPLES
    )
    result.add_argument(
        "--model",
        nargs="+",
        required=True,
        help="checkpoints (.pth), artifacts (.onnx, .xml, .param, .engine) or names of published "
        "weights, such as yolox_s",
    )
    result.add_argument(
        "--backend",
        default="auto",
        help="backends to measure each model on, separated by commas, for example "
        "onnxruntime,openvino (default: auto, which opens a .pth with torch)",
    )
    result.add_argument(
        "--data", type=Path, required=True, metavar="JSON", help="annotations in COCO's format"
    )
    result.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with the pictures that the annotations name",
    )
    add_thresholds(result, EVALUATION.score, EVALUATION.iou)
    result.add_argument(
        "--clip",
        action="store_true",
        help="clip boxes to the picture (default: not clipped, as in the original's evaluation)",
    )
    result.add_argument(
        "--threads", type=int, help="number of CPU threads (default: the engine's choice)"
    )
    result.add_argument(
        "--precision",
        help="precision that the engine computes in, for example bf16 (default: fp32)",
    )
    result.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures to this file as JSON"
    )
    result.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="write the detections of each model to this folder, in COCO's format of results",
    )
    add_model_hints(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(COMMAND, parser, evaluate, argv)


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure every model on every backend and print the table."""
    dataset = CocoDataset(arguments.data, arguments.images)
    backends = [name.strip() for name in arguments.backend.split(",")]
    runs = itertools.product(arguments.model, backends)
    rows = [
        measure(arguments, dataset, model, backend, number)
        for number, (model, backend) in enumerate(runs, 1)
    ]
    headers = ["model", "backend", "AP", "AP50", "AP75", "APs", "APm", "APl", "difference"]
    first = rows[0]["ap"]
    print_table(
        headers,
        [
            [
                row["model"],
                row["backend"],
                *(f"{row[key]:.4f}" for key in KEYS),
                f"{row['ap'] - first:+.4f}",
            ]
            for row in rows
        ],
    )
    if arguments.json:
        write_atomically(arguments.json, json.dumps(rows, indent=1) + "\n")
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
        score_threshold=arguments.score_threshold,
        iou_threshold=arguments.iou_threshold,
        clip=arguments.clip,
        threads=arguments.threads,
        precision=arguments.precision,
        **vars(model_hints(arguments)),
    ) as detector:
        metric = task_of(detector.spec).metric
        dataset.check_metric(metric)
        say(f"{model} on {detector.backend}: {len(dataset.pictures)} pictures")
        results = detect_dataset(detector, dataset, partial(track, total=len(dataset.pictures)))
        found = {"model": Path(model).name, "backend": detector.backend}
    if arguments.results:
        name = f"{number}_{Path(model).name}.{found['backend']}.json"
        write_results(results, arguments.results / name)
    return {**found, **dataset.evaluate(results, metric).as_dict()}
