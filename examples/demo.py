"""The main job in one go: export a checkpoint everywhere, verify, detect, and show one table."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2

from yolox_deploy import Detector
from yolox_deploy.cli.common import run
from yolox_deploy.errors import OutputError, YoloxDeployError
from yolox_deploy.export import TARGETS, ExportOptions, export_model
from yolox_deploy.files import ASSETS, write_atomically
from yolox_deploy.pictures.images import read_image
from yolox_deploy.progress import stages
from yolox_deploy.spec import SpecHints
from yolox_deploy.terminal import counted, print_line, print_table, say
from yolox_deploy.weights import find_model


def main() -> int:
    """Run the demo; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="checkpoint (default: the package's own model of digits)")
    parser.add_argument("--image", type=Path, help="picture (default: one the package ships)")
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    parser.add_argument("--legacy", action="store_true", default=None)
    arguments = parser.parse_args()
    return run("demo", lambda: demo(arguments))


def demo(arguments: argparse.Namespace) -> int:
    """Export, verify, detect, draw."""
    checkpoint = find_model(arguments.model)
    picture = ASSETS / ("drawn_1.jpg" if arguments.model else "digits_1.jpg")
    picture = arguments.image or picture
    image = read_image(picture)
    options = ExportOptions(hints=SpecHints(legacy=arguments.legacy), overwrite=True)
    with stages(checkpoint.name) as begin:
        results = export_model(checkpoint, targets_here(), options, arguments.output, begin)
    rows, seen = [], []
    for result in results:
        with Detector(result.path) as detector:
            found = detector(image)
            milliseconds = 1e3 * found.seconds.total if found.seconds else 0.0
        drawing = arguments.output / f"{checkpoint.stem}.{result.target}.jpg"
        good, data = cv2.imencode(".jpg", found.draw(image))
        if not good:
            raise OutputError(f"cannot write {drawing}: OpenCV cannot encode it")
        write_atomically(drawing, data.tobytes())
        rows.append(
            [
                result.target,
                result.path.name,
                f"{result.size / 1e6:.1f} MB",
                result.verification.status,
                str(len(found)),
                f"{milliseconds:.0f} ms",
            ]
        )
        seen.append(f"{drawing}: {counted(Counter(d.name for d in found))}")
    headers = ["format", "file", "size", "verification", "objects found", "first picture took"]
    print_table(headers, rows)
    print_line()
    print_line("The objects are drawn in these pictures:")
    for line in seen:
        print_line(f"  {line}")
    print_line()
    print_line("What to do next:")
    for purpose, words in next_commands(picture, [result.path for result in results]):
        print_line(f"  {purpose}:")
        print_line(f"    {shlex.join(words)}", whole=True)
    print_line("With a checkpoint and a picture of yours: make demo WEIGHTS=my.pth IMAGE=my.jpg")
    return 0


def next_commands(picture: Path, artifacts: Sequence[Path]) -> list[tuple[str, list[str]]]:
    """Return commands that can be run as they are, each with its purpose."""
    paths = [os.path.relpath(path) for path in artifacts]
    return [
        (
            "find objects in a picture",
            [command("yolox-detect"), os.path.relpath(picture), "--model", paths[0]],
        ),
        (
            "measure which engine is the fastest here",
            [command("yolox-bench"), "--model", *paths, "--plot", "speed.png"],
        ),
        (
            "read what a file says about itself",
            [command("yolox-export"), "--describe", paths[0]],
        ),
    ]


def command(name: str) -> str:
    """Return how to call a command: by its name, or by its path if it is not on ``PATH``."""
    path = Path(sys.executable).with_name(name)
    return name if shutil.which(name) or not path.is_file() else os.path.relpath(path)


def targets_here() -> list[str]:
    """Return the targets that can be made and run on this machine; names the others."""
    names = []
    for row in TARGETS.values():
        try:
            row.load()
            reason = row.why_not_executed()
        except YoloxDeployError as error:
            reason = str(error)
        if reason:
            say(f"left out: {row.name} ({reason})")
        else:
            names.append(row.name)
    return names


if __name__ == "__main__":
    raise SystemExit(main())
