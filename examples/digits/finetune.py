"""Shows what pretrained weights are worth: the same short run on digits, with and without them.

``python examples/digits/finetune.py yolox_nano.pth OUTPUT`` trains twice for a few hundred steps
on the same pictures in the same order and prints AP on the validation pictures for both.  With
weights of the original's 0.1.0 release give ``--legacy``: both runs then take its input convention,
so that the starting weights are the only difference.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from dataset import VALIDATION, Split, ensure_split
from rich.console import Console
from rich.table import Table
from train import digits_recipe, settings

from yolox_deploy.errors import YoloxDeployError
from yolox_deploy.training import CocoSource, EpochResult, Trainer
from yolox_deploy.training.console import ConsoleReporter

FEW = Split("few", 20_004, 1200)
EPOCHS = 4


def run(
    data: Path, output: Path, weights: Path | None, *, legacy: bool | None
) -> list[EpochResult]:
    """Train for ``EPOCHS`` passes over the few pictures and return the results of the epochs."""
    source = CocoSource(data / f"{FEW.name}.json", data / FEW.name)
    short = replace(
        settings(data),
        train=[source],
        recipe=digits_recipe(EPOCHS),
        weights=weights,
        legacy=legacy,
    )
    with ConsoleReporter() as reporter:
        return Trainer(short, output, reporter=reporter).fit()


def main() -> int:
    """Run both and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("weights", type=Path, help="a YOLOX-Nano checkpoint of any class count")
    parser.add_argument("output", type=Path, help="folder for data, checkpoints and results")
    parser.add_argument(
        "--legacy", action="store_true", default=None, help="both runs take the input of 0.1.0"
    )
    arguments = parser.parse_args()
    table = Table("start", "steps", "loss", "AP", "AP50", "AP75")
    try:
        data = arguments.output / "data"
        for split in (FEW, VALIDATION):
            ensure_split(data, split)
        for name, weights in (("scratch", None), ("pretrained", arguments.weights)):
            output = arguments.output / name
            history = run(data, output, weights, legacy=arguments.legacy)
            last = history[-1]
            steps = EPOCHS * (FEW.count // settings(data).batch)
            figures = (f"{value or 0.0:.4f}" for value in (last.ap, last.ap50, last.ap75))
            table.add_row(name, str(steps), f"{last.total:.3f}", *figures)
    except YoloxDeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
