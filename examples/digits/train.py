"""Trains the digit detector that ships with the package, from scratch, in one command.

``python examples/digits/train.py`` draws the data, trains a YOLOX-Nano on two CPU cores, measures
it on held-out pictures and writes ``runs/digits/digits_nano.pth``.  Run again after an
interruption, it goes on after the last complete epoch.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from dataset import HELD_OUT, TRAIN, VALIDATION, ensure_split
from evaluate import measure, table
from rich.console import Console

from yolox_deploy.errors import YoloxDeployError
from yolox_deploy.training import CocoSource, Recipe, Settings, Trainer, recipe
from yolox_deploy.training.console import ConsoleReporter

SEED = 1
SIZE = (256, 256)
# Most drawn digits are small, and a larger input than the trained one shows them larger.
RUN_SIZE = (320, 320)
BATCH = 16
EPOCHS = 14


def digits_recipe(epochs: int = EPOCHS) -> Recipe:
    """Return YOLOX-Nano's recipe, changed where digits and a short run ask for it."""
    return recipe("nano").but(
        epochs=epochs,
        warmup_epochs=1,
        plain_epochs=math.ceil(epochs / 5),
        eval_every=2,
        # A mirrored digit is no digit, and the drawn ones are turned and sheared already, with
        # tight boxes; turning a picture afterwards makes boxes loose.
        flip_prob=0.0,
        degrees=0.0,
        shear=0.0,
        # A few thousand steps instead of hundreds of thousands: larger ones, averaged over fewer.
        lr=0.04,
        ema_decay=0.998,
        multiscale=0,
    )


def settings(data: Path, *, epochs: int = EPOCHS, workers: int = 1) -> Settings:
    """Return the run's settings; ``data`` is the folder of the drawn sets."""
    return Settings(
        arch="nano",
        train=[CocoSource(data / f"{TRAIN.name}.json", data / TRAIN.name)],
        val=[CocoSource(data / f"{VALIDATION.name}.json", data / VALIDATION.name)],
        recipe=digits_recipe(epochs),
        imgsz=SIZE,
        batch=BATCH,
        seed=SEED,
        workers=workers,
        precision="bf16",
        # The other core makes the batches.  Fixed, because the number of threads decides the last
        # bits of every sum, and the same seed is to give the same losses.
        threads=1,
    )


def bundle(run: Path, target: Path) -> Path:
    """Write the averaged weights of ``run`` (a ``last.pth``) to ``target`` for shipping.

    Convolutions are stored in half precision.  Batch normalisation stays in float32: its
    variances of raw 0..255 input may lie beyond half precision's range, and they are small.
    """
    content = torch.load(run, map_location="cpu", weights_only=True)
    weights = {
        key: value.half() if value.ndim == 4 else value for key, value in content["model"].items()
    }
    about: dict[str, Any] = {key: content[key] for key in ("arch", "names", "legacy")}
    draft = target.with_suffix(".part")
    torch.save({"model": weights, "imgsz": list(RUN_SIZE), **about}, draft)
    draft.replace(target)
    return target


def main() -> int:
    """Train, measure and write the bundled checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "output",
        type=Path,
        nargs="?",
        default=Path("runs/digits"),
        help="folder for data, checkpoints and results (default: %(default)s)",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that read pictures")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    output: Path = arguments.output
    started = time.monotonic()
    try:
        data = output / "data"
        for split in (TRAIN, VALIDATION):
            ensure_split(data, split)
        with ConsoleReporter() as reporter:
            if (output / "last.pth").exists():
                trainer = Trainer.resume(output, reporter=reporter, workers=arguments.workers)
            else:
                asked = settings(data, workers=arguments.workers)
                trainer = Trainer(asked, output, reporter=reporter)
            trainer.fit()
        checkpoint = bundle(output / "last.pth", output / "digits_nano.pth")
        console.print(f"{checkpoint}: {checkpoint.stat().st_size / 1e6:.2f} MB")
        console.print(table(measure(checkpoint, HELD_OUT.seed, HELD_OUT.count)))
    except YoloxDeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from {output / 'last.pth'}", file=sys.stderr)
        return 130
    console.print(f"{(time.monotonic() - started) / 60:.1f} minutes in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
