"""``yolox-compare``: what two models detect differently, and why."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from yolox_deploy.cli.common import (
    MODEL_CODES,
    add_model_hints,
    make_parser,
    model_hints,
    run_command,
)
from yolox_deploy.cli.outputs import check_file_option, files_read
from yolox_deploy.cli.parser import add_options
from yolox_deploy.errors import VerificationError
from yolox_deploy.files import write_document
from yolox_deploy.opening.models import open_model
from yolox_deploy.packages import is_installed
from yolox_deploy.progress import stages
from yolox_deploy.runtimes import CHECKPOINT_SUFFIXES
from yolox_deploy.sinks.page import check_page, write_page
from yolox_deploy.terminal import note, print_line, print_table
from yolox_deploy.verification.differences import (
    Differences,
    Image,
    Side,
    common_thresholds,
    compare_sides,
)
from yolox_deploy.verification.verify import load_pictures
from yolox_deploy.weights import find_model

COMMAND = "yolox-compare"
# Rows of the table of detections, and pictures that are drawn.
SHOWN, DRAWN = 20, 5
EXAMPLES = """\
  yolox-compare yolox_nano.onnx yolox_nano_official.onnx
  yolox-compare yolox_nano.pth yolox_nano.xml --images val2017/ --draw worst.html
  yolox-compare nano.onnx nano_fp16.onnx --json differences.json
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND,
        "Compare two models on the same pictures: what their outputs differ by, which detections "
        "only one of them has, and, where it can be found, why. Exit code 5 if they differ by more "
        "than their precision explains.",
        EXAMPLES,
        MODEL_CODES,
    )
    result.add_argument("a", metavar="A", help="a checkpoint or an artifact: the reference")
    result.add_argument("b", metavar="B", help="another one, of the same classes")
    add_options(
        result,
        """
        --images DIR: folder of pictures, of which at most 64 are taken (default: drawn pictures of
            this package)
        --backend NAME ...: what runs A and B: one name for both, or two (default: auto, which opens
            a .pth with torch)
        --precision NAME ...: what the engines compute in: one name for both, or two (default: the
            backend's first, mostly fp32)
        --threads N: number of CPU threads (default: the engine's choice)
        --draw FILE: draw the worst pictures side by side, A left and B right, into one page (.html)
            or picture (.png)
        --json FILE: write all differences as JSON, to the standard output for -
        """,
        backend=("auto",),
    )
    add_model_hints(result)
    return result


def work(arguments: argparse.Namespace) -> int:
    """Run both models, compare them, and print what differs; returns the exit code."""
    read = files_read(arguments, (arguments.a, arguments.b))
    check_file_option("--json", arguments.json, read)
    check_file_option("--draw", arguments.draw, read, text=False)
    if arguments.draw:
        check_page(arguments.draw)
    images = load_pictures(arguments.images)
    hints, precisions = model_hints(arguments), arguments.precision or [None]
    with ExitStack() as stack, stages(COMMAND) as begin:
        runtimes = []
        for i, model in enumerate((arguments.a, arguments.b)):
            backend = arguments.backend[min(i, len(arguments.backend) - 1)]
            if backend == "auto" and find_model(model).suffix.lower() in CHECKPOINT_SUFFIXES:
                backend = "torch"
            options = {
                "threads": arguments.threads,
                "precision": precisions[min(i, len(precisions) - 1)],
            }
            runtimes.append(stack.enter_context(open_model(model, backend, hints, **options)))
        thresholds = common_thresholds(*(runtime.spec for runtime in runtimes))
        sides = []
        for model, runtime in zip((arguments.a, arguments.b), runtimes, strict=True):
            begin(f"running {model}")
            sides.append(Side.run(model, runtime, images, thresholds))
        begin("comparing")
        found = compare_sides(sides[0], sides[1], images)
        both = all(runtime.path.suffix.lower() == ".onnx" for runtime in runtimes)
        if found.problems and both and np.array_equal(sides[0].inputs, sides[1].inputs):
            found.named += graphs(sides, found)
    report(sides, found, len(images), arguments)
    if arguments.draw:
        draw(arguments.draw, sides, found, images)
    if found.problems:
        raise VerificationError(
            f"{arguments.b} differs from {arguments.a}: {'; '.join(found.named or found.problems)}"
        )
    return 0


def graphs(sides: list[Side], found: Differences) -> list[str]:
    """Return where the two ONNX graphs part, on the worst picture."""
    if not (is_installed("onnx") and is_installed("onnxruntime")):
        return []
    from yolox_deploy.verification.graphs import graph_differences

    worst = found.worst[0] if found.worst else 0
    a, b = sides
    precision = "fp32" if a.spec.precision == b.spec.precision == "fp32" else "fp16"
    inputs = a.inputs[worst : worst + 1], b.inputs[worst : worst + 1]
    return graph_differences(a.runtime.path, b.runtime.path, inputs, precision)


def report(
    sides: list[Side], found: Differences, count: int, arguments: argparse.Namespace
) -> None:
    """Print the tables, and write the JSON file."""
    rows = []
    for name, side in zip("AB", sides, strict=True):
        spec = side.spec
        size = f"{spec.height}x{spec.width}"
        engine = f"{side.runtime.name}, {side.precision}"
        rows.append([name, side.name, engine, size, spec.output, str(sum(map(len, side.found)))])
    print_table(["", "model", "ran on", "input", "output", "detections"], rows)
    print_line()
    shown = found.only[:SHOWN]
    if shown:
        cells = []
        for one in shown:
            side = sides["AB".index(one.side)]
            detection = side.found[one.picture]
            box = ", ".join(f"{value:.0f}" for value in detection.xyxy[one.place])
            name = detection.name_of(int(detection.class_ids[one.place]))
            cells.append([str(one.picture), one.side, name, f"{one.score:.3f}", box])
        print_table(["picture", "only in", "class", "score", "box"], cells)
        if len(found.only) > SHOWN:
            print_line(f"and {len(found.only) - SHOWN} more")
        print_line()
    for line in lines(found, count):
        print_line(line)
    if arguments.json:
        content = {
            "a": arguments.a,
            "b": arguments.b,
            "pictures": count,
            "same": not found.problems,
            "reasons": found.named,
            "problems": found.problems,
            "matched": found.matched,
            "only": [one._asdict() for one in found.only],
            "worst": found.worst,
            "comparison": found.comparison and dict(found.comparison),
        }
        write_document(arguments.json, COMMAND, content)


def lines(found: Differences, count: int) -> list[str]:
    """Return what was found, one sentence per line."""
    result = [f"{found.matched} detections match on {count} pictures, {len(found.only)} do not."]
    if found.comparison is not None:
        c = found.comparison
        result.append(
            f"Scores differ by up to {c['score_difference']:.1e}, boxes by up to "
            f"{c['box_pixels']:.1e} pixels of the input."
        )
    result += [f"reason: {text}" for text in found.named]
    result += [f"beyond the tolerance: {text}" for text in found.problems]
    return result if found.problems else [*result, "No difference beyond the tolerance."]


def draw(path: Path, sides: list[Side], found: Differences, images: list[Image]) -> None:
    """Draw the worst pictures side by side."""
    rows = []
    for index in found.worst[:DRAWN]:
        left, right = (side.found[index].draw(images[index]) for side in sides)
        rows.append((f"picture {index}: {sides[0].name} and {sides[1].name}", left, right))
    title = f"{sides[0].name} and {sides[1].name}"
    write_page(path, title, "\n".join(lines(found, len(images))), rows)
    note(f"wrote {path}")


main = partial(run_command, COMMAND, parser, work)
