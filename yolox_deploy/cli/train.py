"""``yolox-train``: train or fine-tune a YOLOX network."""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from yolox_deploy.architectures import ARCHITECTURES
from yolox_deploy.cli.common import NO_BETTER, make_parser, run_command
from yolox_deploy.cli.outputs import check_file_option
from yolox_deploy.cli.parser import add_options
from yolox_deploy.errors import DownloadError, UsageError, number_of
from yolox_deploy.files import write_document
from yolox_deploy.packages import install_line, require
from yolox_deploy.processors import wait_passively

if TYPE_CHECKING:
    from yolox_deploy.training.report.outcome import Outcome

COMMAND = "yolox-train"
# From fewer objects than these a score threshold is a rough value.
FEW_OBJECTS = 200
EXAMPLES = """\
  yolox-train --arch nano --data train.json --val val.json --epochs 50
  yolox-train --data a.json b.json --weights yolox_nano.pth --set flip_prob=0
  yolox-train --resume --output runs/nano
  torchrun --nproc-per-node 4 -m yolox_deploy.cli.train --arch s --data a.yaml

data.yaml (paths are relative to its folder; without images the usual places are
tried):
  train:
  - {annotations: real.json, images: real}
  - {annotations: pseudo.json, images: more}
  val: [{annotations: val.json, images: val}]
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    codes = (DownloadError.exit_code, NO_BETTER)
    result = make_parser(COMMAND, "Train or fine-tune a YOLOX network.", EXAMPLES, codes)
    add_options(
        result.add_argument_group("data"),
        """
        --data PATH ...: COCO JSON files; a data.yaml of YOLO's text labels, or one as below; a
            folder with XML files of Pascal VOC; or a folder as Roboflow exports it
        --images PATH ...: folders with the pictures of --data, in the same order (default: looked
            for in the usual places beside each file)
        --val PATH ...: COCO JSON files to measure AP on (default: those of data.yaml; without them
            AP is not measured)
        --val-images PATH ...: folders with the pictures of --val, in the same order
        """,
        **dict.fromkeys(("data", "images", "val", "val_images"), ()),
    )
    add_options(
        result.add_argument_group("model"),
        f"""
        --arch NAME: {", ".join(ARCHITECTURES)} (default: the one that --weights hold)
        --weights MODEL: checkpoint to start from, or name of published weights such as yolox_nano
            (default: random weights)
        --[no-]legacy: whether the input is that of release 0.1.0: RGB, /255, mean and std (default:
            what --weights state or tell, otherwise not)
        --imgsz PIXELS ...: input size: one side, or height and width (default: what --weights
            state, otherwise the published size)
        """,
        legacy=None,
    )
    add_options(
        result.add_argument_group("recipe"),
        """
        --epochs N: number of epochs; the phases of the recipe shrink in proportion (default: chosen
            for the data, 300 from random weights)
        --time TIME: shorten the schedule so that training ends within this time, such as 30m or
            1h30m (default: no limit)
        --batch N: number of pictures per step, over all processes (default: 16)
        --lr RATE: learning rate for a batch of 64; it is scaled with the batch (default: chosen for
            the data, 0.01 from random weights)
        --freeze N: number of stages, counted from the picture, that keep their weights: 1 to 5 for
            the backbone's, 6 for the pyramid as well (default: chosen for the data, none from
            random weights)
        --patience N: end training if AP was not better for this many epochs (default: never)
        --seed N: random seed; the same seed gives the same losses (default: 0)
        --set NAME=VALUE ...: other settings of the recipe, for example flip_prob=0
            scale=[0.5,1.5]; for a list of all names give one that does not exist (default: those
            chosen for the data)
        """,
    )
    machine = result.add_argument_group("machine")
    machine.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        help="precision to compute in (default: fp16 on CUDA, otherwise fp32)",
    )
    add_options(
        machine,
        """
        --device NAME: auto, cpu or cuda
        --workers N: number of processes that make batches (default: 2)
        --threads N: number of CPU threads (default: one less than the number of cores)
        --output DIR: folder of the run (default: runs/ARCH)
        --json FILE: write settings and results of all epochs as JSON, to the standard output for -
        --resume: continue the run in --output after its last complete epoch
        """,
        device="auto",
    )
    return result


def work(arguments: argparse.Namespace) -> int:
    """Train, or continue a run, and show the progress."""
    read = [*arguments.data, *arguments.val, *([arguments.weights] if arguments.weights else [])]
    check_file_option("--json", arguments.json, read)
    # Before PyTorch is loaded: its threads would take the cores from the data workers.
    wait_passively()
    require("torch", "training needs torch", install_line("train"))
    from yolox_deploy.training import train
    from yolox_deploy.training.console import ConsoleReporter
    from yolox_deploy.training.distributed import is_first

    # Everything else is an argument of `train`, under the same name.
    asked = {key: value for key, value in vars(arguments).items() if key not in ("json", "quiet")}
    asked["set"] = dict(map(_setting, arguments.set or []))
    with ConsoleReporter(silent=not is_first()) as reporter:
        outcome = train(**asked, reporter=reporter)
        for line in _summary(outcome):
            reporter.message(line)
    if arguments.json and is_first():
        write_document(arguments.json, COMMAND, outcome.document())
    return 0 if outcome.gained else NO_BETTER


def _summary(outcome: Outcome) -> list[str]:
    """Return what a run came to, and the commands to go on with."""
    threshold = outcome.score_threshold
    objects = sum(outcome.after.objects) if outcome.after else 0
    rough = f" (from {number_of(objects, 'object')}: rough)" if objects < FEW_OBJECTS else ""
    return [
        f"{outcome.folder} holds best.pth, last.pth and results.csv, .json, .png",
        f"{outcome.report_path} shows the run",
        outcome.sentence(),
        *(
            [
                f"best.pth suggests the score threshold {threshold:.2f}, which has the highest F1"
                f"{rough}"
            ]
            if threshold
            else []
        ),
        "next:",
        *(f"  {line}" for line in outcome.commands()),
    ]


def _setting(text: str) -> tuple[str, Any]:
    """Return name and value of ``NAME=VALUE``; ranges are written ``scale=[0.5,1.5]``."""
    name, equals, value = text.partition("=")
    try:
        parsed = json.loads(value)
    except ValueError:
        equals = ""
    if not equals:
        raise UsageError(f"--set {text}: expected NAME=NUMBER or NAME=[NUMBER,NUMBER]")
    return name, tuple(parsed) if isinstance(parsed, list) else parsed


main = partial(run_command, COMMAND, parser, work)

if __name__ == "__main__":
    raise SystemExit(main())
