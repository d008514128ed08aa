"""Fine-tune on few pictures: no run may end much worse than the model that it started from.

    python -m tools.checks.finetune ../shared runs/finetune

Three classes of COCO, 80 training and 40 validation pictures of ``coco_val`` for each of three
seeds, from the folded and from the legacy weights of nano: six runs with the recipe that
``yolox-train`` chooses.  What follows ``--`` is given to every run, for example ``-- --epochs 5``.
Prints a table.  Exit code 1 if the AP of a ``best.pth`` is below that of the untouched model, or if
that of the last epoch is more than 0.03 below it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from yolox_deploy.cli import train
from yolox_deploy.cli.common import NO_BETTER, run
from yolox_deploy.data.categories import COCO_NAMES
from yolox_deploy.errors import YoloxDeployError
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT
from yolox_deploy.terminal import print_table
from yolox_deploy.training import CocoSource
from yolox_deploy.training.data.pictures import CocoPictures
from yolox_deploy.training.evaluation import evaluate_network

ANNOTATIONS = "instances_val2017_subset206.json"
WEIGHTS = ("yolox_nano", "yolox_nano_legacy")
COUNTS = {"train": 80, "val": 40}
# How far below the untouched model's AP that of the last epoch may be.
MARGIN = 0.03
SIZE = (416, 416)
HEADERS = ("weights", "seed", "untouched", "start", "best", "epoch", "last", "minutes", "verdict")


def split(shared: Path, folder: Path, classes: Sequence[str], seed: int) -> dict[str, Path]:
    """Write COCO files of the pictures that have one of the classes, divided by chance."""
    source = json.loads((shared / "coco_val" / ANNOTATIONS).read_text())
    categories = [row for row in source["categories"] if row["name"] in classes]
    wanted = {row["id"] for row in categories}
    boxes = [row for row in source["annotations"] if row["category_id"] in wanted]
    shown = {row["image_id"] for row in boxes}
    images = [row for row in source["images"] if row["id"] in shown]
    if len(images) < sum(COUNTS.values()):
        raise YoloxDeployError(f"only {len(images)} pictures show {', '.join(classes)}")
    order = np.random.default_rng(seed).permutation(len(images))
    files, first = {}, 0
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in COUNTS.items():
        chosen = [images[i] for i in order[first : first + count]]
        first += count
        ids = {row["id"] for row in chosen}
        rows = [row for row in boxes if row["image_id"] in ids]
        files[part] = folder / f"{part}_{seed}.json"
        document = {"images": chosen, "categories": categories, "annotations": rows}
        files[part].write_text(json.dumps(document))
    return files


def untouched(weights: Path, val: CocoSource) -> float:
    """Return the AP of a model as it is, with all its 80 classes."""
    checkpoint = load_checkpoint(weights)
    legacy, _ = checkpoint.input_is_legacy()
    data = CocoPictures.read([val], COCO_NAMES)
    convention = LEGACY_INPUT if legacy else RAW_INPUT
    return evaluate_network(
        checkpoint.network, data, SIZE, convention, torch.device("cpu")
    ).figures.ap


def fine_tune(
    weights: Path, files: dict[str, Path], images: Path, seed: int, rest: list[str]
) -> list[str]:
    """Train with one seed and return a row of the table."""
    before = untouched(weights, CocoSource(files["val"], images))
    output = files["train"].parent / f"{weights.stem}_{seed}"
    began = time.perf_counter()
    words = ["--weights", weights, "--data", files["train"], "--images", images, "--val"]
    words += [files["val"], "--val-images", images, "--seed", seed, "--output", output, *rest]
    if (code := train.main(list(map(str, words)))) not in (0, NO_BETTER):
        raise YoloxDeployError(f"yolox-train ended with {code}")
    minutes = (time.perf_counter() - began) / 60
    start = json.loads((output / "results.json").read_text())["start"]["ap"]
    last = torch.load(output / "last.pth", weights_only=True)["history"][-1]["ap"]
    best = torch.load(output / "best.pth", weights_only=True)
    good = best["ap"] >= before - 5e-4 and last >= before - MARGIN
    figures = (f"{value:.4f}" for value in (before, start, best["ap"]))
    epoch, verdict = str(best["start_epoch"]), "good" if good else "BAD"
    return [weights.stem, str(seed), *figures, epoch, f"{last:.4f}", f"{minutes:.1f}", verdict]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("shared", type=Path, help="the folder of the test data")
    parser.add_argument("output", type=Path, help="a new folder for the runs")
    parser.add_argument("--classes", nargs=3, default=("person", "car", "chair"))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=WEIGHTS)
    words = list(sys.argv[1:] if argv is None else argv)
    own = words.index("--") if "--" in words else len(words)
    arguments, rest = parser.parse_args(words[:own]), words[own + 1 :]
    shared, rows = arguments.shared, []
    images = shared / "coco_val" / "images"
    for seed in arguments.seeds:
        files = split(shared, arguments.output, arguments.classes, seed)
        for name in arguments.weights:
            weights = shared / "weights" / f"{name}.pth"
            rows.append(fine_tune(weights, files, images, seed, rest))
    print_table(HEADERS, rows)
    return int(any(row[-1] != "good" for row in rows))


if __name__ == "__main__":
    sys.exit(run("finetune", main))
