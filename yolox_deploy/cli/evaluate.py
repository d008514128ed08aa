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
    MODEL_CODES,
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
from yolox_deploy.data.matches import Matches, interval
from yolox_deploy.detector import Detector
from yolox_deploy.errors import UsageError, VerificationError, in_short, number_of
from yolox_deploy.files import write_atomically, write_document
from yolox_deploy.postprocess import EVALUATION
from yolox_deploy.processors import wait_passively
from yolox_deploy.progress import track
from yolox_deploy.runtimes import CHECKPOINT_SUFFIXES
from yolox_deploy.sinks.outputs import check_apart, check_folder, check_new
from yolox_deploy.tasks import task_of
from yolox_deploy.terminal import note, print_line, print_table
from yolox_deploy.weights import find_model

COMMAND = "yolox-eval"
# A repeat gives the same interval.
SEED, MOST_DRAWS = 5, 10_000
# The figures of AveragePrecision, and what they are called in the table.
TITLES = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}
BY_SIZE = {"ap_small": "APs", "ap_medium": "APm", "ap_large": "APl"}
EXAMPLES = """\
  yolox-eval --model yolox_nano.pth --data val.json --images val2017/
  yolox-eval --model yolox_nano.pth yolox_nano.onnx --data val.json --images val2017/
  yolox-eval --model m.onnx --backend onnxruntime openvino --data val.json --images val/
  yolox-eval --model my3.pth --data val.json --images val2017/ --classes person car bus
  yolox-eval --model m.onnx --data val.json --images val/ --reference 0.286 --tolerance 0.005
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND, "Measure COCO AP of models on any backend, side by side.", EXAMPLES, MODEL_CODES
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
        --classes NAME ...: measure AP over these categories of the data set only, for example
            --classes cat dog (default: all that have objects)
        --full: show AP for small, medium and large objects, too
        --per-class: show AP of each class
        --bootstrap N: also show the 95 %% confidence interval of each difference from the first
            model, by drawing the pictures N times with replacement, for example 500 (default: 0,
            no interval)
        --reference AP: exit with code 5 if the AP of a model is further than --tolerance from this
            AP, for example 0.286
        --tolerance AP: with --reference: the largest allowed distance, on both sides
        --clip: clip boxes to the picture (default: not clipped, as in the original's evaluation)
        --threads N: number of CPU threads (default: the engine's choice)
        --precision NAME: precision that the engine computes in, for example bf16 (default: fp32)
        --json FILE: write the figures as JSON, to the standard output for -
        --results DIR: write the detections of each model to this folder, in COCO's format of
            results
        """,
        required=("model", "data", "images"),
        backend=("auto",),
        bootstrap=0,
        tolerance=0.005,
    )
    add_options(result, OVERWRITE.format(folder="--results"))
    add_max_pixels(result)
    add_thresholds(result, EVALUATION.score, EVALUATION.iou)
    add_model_hints(result)
    return result


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure every model on every backend and print the table."""
    if not 0 <= arguments.bootstrap <= MOST_DRAWS:
        raise UsageError(f"--bootstrap takes 0 to {MOST_DRAWS} draws, got {arguments.bootstrap}")
    # Before a library with threads of OpenMP is loaded.
    wait_passively()
    dataset = CocoDataset(arguments.data, arguments.images, arguments.classes)
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
            try:
                dataset.category_ids(detector.names)
            except UsageError as error:
                raise UsageError(f"{model}: {error}") from error
            opened.append((model, detector))
        files = result_files(arguments, opened, read)
        rows: list[dict[str, Any]] = []
        matches = []
        for (model, detector), file in itertools.zip_longest(opened, files):
            results, row, matched = measure(dataset, model, detector)
            rows.append(row)
            matches.append(matched)
            if file:
                write_results(results, file)
    for row, matched in zip(rows, matches, strict=True):
        row["difference"] = row["ap"] - rows[0]["ap"]
        if arguments.bootstrap and matched and matches[0] and matched is not matches[0]:
            row["interval"] = interval(matches[0], matched, arguments.bootstrap, SEED)
    known = [set(dataset.category_ids(detector.names)) for _, detector in opened]
    over = [dataset.categories[name] for name in rows[0]["classes"]]
    show(rows, [sum(i in ids for i in over) for ids in known], arguments)
    if arguments.json:
        about: dict[str, Any] = {"data": str(arguments.data), "images": str(arguments.images)}
        about["classes"] = list(rows[0]["classes"])
        write_document(arguments.json, COMMAND, {**about, "results": rows})
    if arguments.reference is not None:
        demand_reference(rows, arguments.reference, arguments.tolerance)
    return 0


def show(
    rows: Sequence[dict[str, Any]], known: Sequence[int], arguments: argparse.Namespace
) -> None:
    """Print one row per model, and one per class if they were asked for.

    ``known`` is the number of measured classes that each model has.
    """
    titles = TITLES | (BY_SIZE if arguments.full else {})
    between = ["95 % interval"] if arguments.bootstrap else []
    cells = []
    for row in rows:
        figures = [figure_text(row[key]) for key in titles]
        low_high = [f"{value:+.4f}" for value in row.get("interval", ())]
        ends = [" to ".join(low_high) or "-"] * len(between)
        cells.append([row["model"], row["backend"], *figures, f"{row['difference']:+.4f}", *ends])
    print_table(["model", "backend", *titles.values(), "difference", *between], cells)
    over = list(rows[0]["classes"])
    print_line(f"AP is the mean of {len(over)} class{'es' * (len(over) > 1)}: {in_short(over)}")
    fewer = [(row["model"], n) for row, n in zip(rows, known, strict=True) if n < len(over)]
    for model, count in dict.fromkeys(fewer):
        print_line(f"{model} knows {count} of these {len(over)}; AP of the others is 0")
    if arguments.per_class:
        print_line()
        names = list(dict.fromkeys(name for row in rows for name in row["classes"]))
        table = [
            [name, *(f"{row['classes'].get(name, 0.0):.4f}" for row in rows)]
            for name in sorted(names, key=lambda name: -rows[0]["classes"].get(name, 0.0))
        ]
        print_table(["class", *(f"{row['model']} {row['backend']}" for row in rows)], table)


def demand_reference(rows: Sequence[dict[str, Any]], reference: float, tolerance: float) -> None:
    """Raise :class:`VerificationError` for an AP further than ``tolerance`` from ``reference``."""
    texts = [
        f"{row['model']} on {row['backend']} has AP {row['ap']:.4f}"
        for row in rows
        if not abs(row["ap"] - reference) <= tolerance
    ]
    if texts:
        raise VerificationError(
            f"{'; '.join(texts)}: further than {tolerance:g} from the reference {reference:g}. If "
            "it is higher, pictures, annotations or thresholds are not those of the reference"
        )


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
) -> tuple[list[dict[str, Any]], dict[str, Any], Matches | None]:
    """Return result entries, the row of the table and the matches; the detector is closed."""
    with detector:
        note(f"{model} on {detector.backend}: {number_of(len(dataset.pictures), 'picture')}")
        results = detect_dataset(detector, dataset, partial(track, total=len(dataset.pictures)))
    row = {"model": Path(model).name, "backend": detector.backend}
    found = dataset.evaluated(results, task_of(detector.spec).metric)
    names = {number: name for name, number in dataset.categories.items()}
    classes = {names[number]: ap for number, ap in found.by_category.items()}
    return results, {**row, **found.figures.as_dict(), "classes": classes}, found.matches


main = partial(run_command, COMMAND, parser, evaluate)


def write_results(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Write result entries as COCO's tools read them; raises :class:`OutputError`."""
    write_atomically(path, json.dumps(list(results)) + "\n")
