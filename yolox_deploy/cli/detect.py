"""``yolox-detect``: pictures in, annotated pictures and result files out."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.cli.common import (
    SOME_UNREADABLE,
    ExtensionOptions,
    add_engine_arguments,
    add_max_pixels,
    add_model_hints,
    add_thresholds,
    engine_settings,
    given,
    make_parser,
    model_help,
    model_hints,
    run_command,
)
from yolox_deploy.cli.outputs import OVERWRITE, files_read
from yolox_deploy.cli.parser import add_options
from yolox_deploy.detector import Detector
from yolox_deploy.errors import ImageError, UsageError
from yolox_deploy.files import STANDARD_OUTPUT
from yolox_deploy.pictures.images import find_images, read_image
from yolox_deploy.postprocess import IOU_THRESHOLD, SCORE_THRESHOLD
from yolox_deploy.progress import track
from yolox_deploy.sinks import SINKS, FolderSink, PictureSink, Sink
from yolox_deploy.sinks.outputs import check_apart, check_new, free_folder
from yolox_deploy.spec import LARGEST_BATCH
from yolox_deploy.tasks import Detections
from yolox_deploy.terminal import counted, note, print_line, say

COMMAND = "yolox-detect"
EXAMPLES = """\
  yolox-detect street.jpg --model yolox_nano.onnx
  yolox-detect photos/ "more/*.png" --model yolox_s.xml --score-threshold 0.4
  yolox-detect photos/ --model my7.onnx --classes cat dog --json found.json
  yolox-detect street.jpg --model yolox_nano.onnx --no-draw --json - | jq .
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND, "Detect objects in pictures, folders of pictures, and globs.", EXAMPLES
    )
    result.add_argument("sources", nargs="+", metavar="PICTURE", help="picture, folder or glob")
    add_options(result, f"--model MODEL: {model_help()}")
    add_thresholds(result, SCORE_THRESHOLD, IOU_THRESHOLD)
    add_options(
        result,
        """
        --class-agnostic: suppress over all classes, not within each class
        --max-detections N: highest number of detections per picture
        --classes CLASS ...: look for these classes only: names or ids (default: all classes)
        --no-clip: let boxes reach beyond the picture
        --batch N: number of pictures per inference call
        """,
        max_detections=300,
        batch=1,
    )
    add_max_pixels(result)
    output = result.add_argument_group("output")
    output.add_argument("--no-draw", action="store_true", help="write no annotated pictures")
    add_options(output, OVERWRITE.format(folder="--output and --txt"))
    add_engine_arguments(result)
    add_model_hints(result)
    # Last, so that a sink of another package takes the name of no other option.
    for kind in SINKS.values():
        ExtensionOptions(output, f"the sink {kind.name!r}").add_argument(
            f"--{kind.name}",
            dest=f"sink_{kind.name}",
            type=Path,
            metavar=kind.metavar,
            help=kind.help,
        )
    return result


def detect(arguments: argparse.Namespace) -> int:
    """Detect in every picture; returns the exit code."""
    if not 1 <= arguments.batch <= LARGEST_BATCH:
        raise UsageError(f"--batch must lie in 1..{LARGEST_BATCH}, got {arguments.batch}")
    paths = find_images(arguments.sources)
    unreadable: list[str] = []
    counts: Counter[str] = Counter()
    sinks = make_sinks(arguments, paths)
    with ExitStack() as stack:
        detector = stack.enter_context(open_detector(arguments))
        if arguments.model is None:
            note("note: no --model was given: the model of drawn digits in this package is used")
        for sink in sinks:
            stack.enter_context(sink)
        start = perf_counter()
        readable = read_all(track(paths, len(paths)), arguments.max_pixels, unreadable)
        while chunk := list(islice(readable, arguments.batch)):
            results = detector.batch(image for _, image in chunk)
            for (path, image), found in zip(chunk, results, strict=True):
                counts.update(d.name for d in found)
                for sink in sinks:
                    sink.add(path, image, found)
                print_found(path, found, heading=len(paths) > 1)
        seconds = perf_counter() - start
    good = len(paths) - len(unreadable)
    rate = f"{good / seconds:.1f}/s"
    pictures = "1 picture" if good == 1 else f"{good} pictures"
    print_line(f"{pictures} in {seconds:.1f} s ({rate}), {detector.backend}: {counted(counts)}")
    for sink in sinks:
        if sink.path != STANDARD_OUTPUT:
            print_line(f"wrote {sink.path}", whole=True)
    for line in unreadable:
        say(f"{COMMAND}: {line}")
    return SOME_UNREADABLE if unreadable else 0


def print_found(path: Path, found: Detections, *, heading: bool) -> None:
    """Print a line per detection, below the name of the picture if there are several."""
    indent = "  " if heading else ""
    if heading:
        print_line(str(path) if len(found) else f"{path}: nothing", whole=True)
    for d in found:
        x1, y1, x2, y2 = d.xyxy
        print_line(f"{indent}{d.name} {d.score:.3f}  {x1:.0f},{y1:.0f} to {x2:.0f},{y2:.0f}")


def open_detector(arguments: argparse.Namespace) -> Detector:
    """Return the detector that the arguments ask for."""
    classes = [int(c) if c.isdigit() else c for c in arguments.classes or ()]
    return Detector(
        classes=classes or None,
        settings=engine_settings(arguments),
        clip=not arguments.no_clip,
        **given(arguments, "model", "backend", "device", "threads", "precision"),
        **given(arguments, "score_threshold", "iou_threshold", "class_agnostic", "max_detections"),
        max_pixels=arguments.max_pixels,
        **vars(model_hints(arguments)),
    )


def make_sinks(arguments: argparse.Namespace, paths: Sequence[Path]) -> list[Sink]:
    """Return the sinks that the arguments ask for; nothing is written yet.

    Raises :class:`OutputError` and :class:`UsageError` where writing would fail or lose something.
    """
    sinks: dict[str, Sink] = {}
    for kind in SINKS.values():
        path = getattr(arguments, f"sink_{kind.name}", None)
        if path is None and kind.default is not None:
            path = free_folder(kind.default)
        if path and not (kind.sink is PictureSink and arguments.no_draw):
            sinks[f"--{kind.name}"] = kind.sink(path, paths)
    check_apart(
        {option: sink.files() for option, sink in sinks.items()},
        [*paths, *files_read(arguments, [arguments.model])],
    )
    for sink in sinks.values():
        sink.check()
        if isinstance(sink, FolderSink) and not arguments.overwrite:
            check_new(sink.files())
    return list(sinks.values())


def read_all(
    paths: Iterable[Path], max_pixels: int, unreadable: list[str]
) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
    """Yield every picture that can be read; the others' errors go to ``unreadable``."""
    for path in paths:
        try:
            image = read_image(path, max_pixels)
        except ImageError as error:
            unreadable.append(str(error))
        else:
            yield path, image


main = partial(run_command, COMMAND, parser, detect)
