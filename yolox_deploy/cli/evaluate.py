"""``yolox-eval``: COCO AP of checkpoints and artifacts, side by side."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.accuracy import detect_dataset, evaluation_detector
from yolox_deploy.cli.common import (
    add_max_pixels,
    add_model_hints,
    add_thresholds,
    given,
    make_parser,
    model_hints,
    run_command,
)
from yolox_deploy.cli.outputs import OVERWRITE, check_file_option, files_read
from yolox_deploy.cli.parser import add_options
from yolox_deploy.data.ap import CocoDataset, figure_text
from yolox_deploy.detector import Detector
from yolox_deploy.files import write_atomically, write_document
from yolox_deploy.postprocess import EVALUATION
from yolox_deploy.progress import track
from yolox_deploy.runtimes import CHECKPOINT_SUFFIXES
from yolox_deploy.sinks.outputs import check_apart, check_folder, check_new
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
    add_options(result, OVERWRITE.format(folder="--results"))
    add_max_pixels(result)
    add_thresholds(result, EVALUATION.score, EVALUATION.iou)
    add_model_hints(result)
    return result


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure every model on every backend and print the table."""
    dataset = CocoDataset(arguments.data, arguments.images)
    for text in dataset.notes:
        note(f"note: {text}")
    read = [*dataset.pictures.values(), *files_read(arguments, arguments.model, arguments.data)]
    check_file_option("--json", arguments.json, read)
    if arguments.results:
        check_folder(arguments.results)
    with ExitStack() as stack:
        # All of them before the first is measured, which may take hours.
        opened = []
        for model, backend in itertools.product(arguments.model, arguments.backend):
            detector = stack.enter_context(open_detector(arguments, model, backend))
            dataset.check_metric(task_of(detector.spec).metric)
            dataset.category_ids(detector.names)
            opened.append((model, detector))
        files = result_files(arguments, opened, read)
        rows = []
        for (model, detector), file in itertools.zip_longest(opened, files):
            results, row = measure(dataset, model, detector)
            rows.append(row)
            if file:
                write_results(results, file)
    titles = TITLES | (BY_SIZE if arguments.full else {})
    cells = []
    for row in rows:
        difference = f"{row['ap'] - rows[0]['ap']:+.4f}"
        figures = [figure_text(row[key]) for key in titles]
        cells.append([row["model"], row["backend"], *figures, difference])
    print_table(["model", "backend", *titles.values(), "difference"], cells)
    if arguments.json:
        about = {"data": str(arguments.data), "images": str(arguments.images)}
        write_document(arguments.json, COMMAND, {**about, "results": rows})
    return 0


def result_files(
    arguments: argparse.Namespace, opened: Sequence[tuple[str, Detector]], read: Sequence[Any]
) -> list[Path]:
    """Return the file for the detections of each model, if they were asked for, checked."""
    if not arguments.results:
        return []
    files = [
        arguments.results / f"{number}_{Path(model).name}.{detector.backend}.json"
        for number, (model, detector) in enumerate(opened, 1)
    ]
    figures = [arguments.json] if arguments.json else []
    check_apart({"--json": figures, "--results": files}, read)
    if not arguments.overwrite:
        check_new(files)
    return files


def open_detector(arguments: argparse.Namespace, model: str, backend: str) -> Detector:
    """Return the detector of one row of the table."""
    if backend == "auto" and find_model(model).suffix.lower() in CHECKPOINT_SUFFIXES:
        backend = "torch"
    return evaluation_detector(
        model,
        backend,
        **given(arguments, "score_threshold", "iou_threshold", "clip", "threads", "precision"),
        max_pixels=arguments.max_pixels,
        **vars(model_hints(arguments)),
    )


def measure(
    dataset: CocoDataset, model: str, detector: Detector
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the result entries of a model and its row of the table; the detector is closed."""
    with detector:
        note(f"{model} on {detector.backend}: {len(dataset.pictures)} pictures")
        results = detect_dataset(detector, dataset, partial(track, total=len(dataset.pictures)))
    row = {"model": Path(model).name, "backend": detector.backend}
    found = dataset.evaluate(results, task_of(detector.spec).metric)
    return results, {**row, **found.as_dict()}


main = partial(run_command, COMMAND, parser, evaluate)


def write_results(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Write result entries as COCO's tools read them; raises :class:`OutputError`."""
    write_atomically(path, json.dumps(list(results)) + "\n")
