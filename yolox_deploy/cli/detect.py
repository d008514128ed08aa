"""``yolox-detect``: pictures and videos in, annotated ones and result files out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from yolox_deploy.cli.common import (
    MODEL_CODES,
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
from yolox_deploy.cli.parser import TYPES, add_options, one_value
from yolox_deploy.cli.running import Run
from yolox_deploy.detector import Detector
from yolox_deploy.errors import UsageError, YoloxDeployError
from yolox_deploy.files import STANDARD_OUTPUT
from yolox_deploy.mapping.tiles import OVERLAP, Tiling
from yolox_deploy.postprocess import IOU_THRESHOLD, SCORE_THRESHOLD
from yolox_deploy.sinks import SINKS, FolderSink, PictureSink, Sink
from yolox_deploy.sinks.base import paths_of
from yolox_deploy.sinks.outputs import check_apart, check_new, free_folder
from yolox_deploy.sources import Source, find_sources
from yolox_deploy.sources.live import Patience
from yolox_deploy.sources.still import DEFAULT_FPS
from yolox_deploy.spec import LARGEST_BATCH
from yolox_deploy.terminal import note, print_line, say
from yolox_deploy.tracking import Tracker

COMMAND = "yolox-detect"
EXAMPLES = """\
  yolox-detect street.jpg --model yolox_nano.onnx
  yolox-detect photos/ "more/*.png" --model yolox_s.xml --score-threshold 0.4
  yolox-detect photos/ --model my7.onnx --classes cat dog --json found.json
  yolox-detect street.jpg --model yolox_nano.onnx --no-draw --json - | jq .
  yolox-detect street.mp4 --model yolox_nano.onnx --jsonl found.jsonl
  yolox-detect aerial.jpg --model yolox_s.onnx --tile 640 --overlap 0.2
  yolox-detect rtsp://camera.local/stream --model yolox_nano.onnx --no-draw --jsonl -
"""
NO_MODEL = "note: no --model was given: the model of drawn digits in this package is used"
SUGGESTED = (
    "note: score threshold {:g}, which {} suggests: the highest F1 on its validation pictures;"
    " --score-threshold sets another"
)
SOURCES = (
    "picture, video, folder, glob, numbered pictures (frames/%%06d.png), text file with a path per "
    "line, number of a camera (0), or address (rtsp://, http://)"
)


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    what, codes = "pictures, videos and live streams", (*MODEL_CODES, SOME_UNREADABLE)
    result = make_parser(COMMAND, f"Detect objects in {what}.", EXAMPLES, codes)
    result.add_argument("sources", nargs="+", metavar="SOURCE", help=SOURCES)
    add_options(result, f"--model MODEL: {model_help()}")
    add_thresholds(result, None, IOU_THRESHOLD)
    add_options(
        result,
        """
        --class-agnostic: suppress over all classes, not within each class
        --max-detections N: highest number of detections per picture
        --classes CLASS ...: look for these classes only: names or ids (default: all classes)
        --no-clip: let boxes reach beyond the picture
        --batch N: number of pictures per inference call
        --tile [PIXELS]: also look for small objects in large pictures: detect in overlapping tiles
            of this side, too, and merge what is found (default side: that of the model's input)
        --overlap F: share of a tile, 0 to 0.99, that its neighbour shows, too
        --track: follow objects from frame to frame; each keeps its id, which all results have
        --track-classes CLASS ...: follow these classes only (default: all that are looked for)
        --forecast: follow objects, and move their boxes to where the objects are when the result is
            there; for cameras, streams and --live
        --fps RATE: frames per second of numbered pictures such as frames/%%06d.png
        --[no-]live: take the newest frame and leave out those that arrive meanwhile (default: on
            for cameras and streams, off for files)
        --timeout S: longest wait for a connection, and for the next frame of a camera or a stream,
            in seconds
        --reconnect S: connect again to a stream that breaks off, for this many seconds; then it is
            taken as ended
        """,
        max_detections=300,
        batch=1,
        overlap=OVERLAP,
        fps=DEFAULT_FPS,
        live=None,
        timeout=Patience.timeout,
        reconnect=Patience.reconnect,
    )
    add_max_pixels(result)
    output = result.add_argument_group("output")
    output.add_argument("--no-draw", action="store_true", help="write no annotated pictures")
    add_options(output, OVERWRITE.format(folder="--output, --txt and --mot"))
    add_engine_arguments(result)
    add_model_hints(result)
    # Last, so that a sink of another package takes the name of no other option.
    for kind in SINKS.values():
        ExtensionOptions(output, f"the sink {kind.name!r}").add_argument(
            f"--{kind.name}",
            dest=f"sink_{kind.name}",
            type=one_value(TYPES.get(kind.metavar, Path)),
            metavar=kind.metavar,
            help=kind.help,
        )
    return result


def detect(arguments: argparse.Namespace) -> int:
    """Detect in every picture and video; returns the exit code."""
    if not 1 <= arguments.batch <= LARGEST_BATCH:
        raise UsageError(f"--batch must lie in 1..{LARGEST_BATCH}, got {arguments.batch}")
    sources = find_sources(
        arguments.sources,
        fps=arguments.fps,
        patience=Patience(arguments.timeout, arguments.reconnect),
        max_pixels=arguments.max_pixels,
    )
    check_forecast(arguments, sources)
    tiles = make_tiles(arguments)
    tracker = make_tracker(arguments)
    sinks = make_sinks(arguments, sources)
    run: Run | None = None
    try:
        with ExitStack() as stack:
            detector = stack.enter_context(open_detector(arguments))
            if arguments.model is None:
                note(NO_MODEL)
            if arguments.score_threshold is None and detector.spec.suggested_score_threshold:
                note(SUGGESTED.format(detector.thresholds.score, arguments.model))
                tracker = make_tracker(arguments, detector.thresholds.score)
            for sink in sinks:
                stack.enter_context(sink)
            run = Run(detector, sinks, arguments.batch, arguments.live, tracker, tiles)
            run.forecast = arguments.forecast
            run(sources)
    except (KeyboardInterrupt, YoloxDeployError):
        if kept := [str(sink.path) for sink in sinks if sink.kept]:
            done = f"the results of {run.done}" if run else "what was done"
            say(f"{COMMAND}: kept {done} in {', '.join(kept)}")
        raise
    print_line(run.summary)
    for sink in sinks:
        if sink.written and sink.path != STANDARD_OUTPUT:
            print_line(f"wrote {sink.written}", whole=True)
    for line in run.unreadable:
        say(f"{COMMAND}: {line}")
    return SOME_UNREADABLE if run.unreadable else 0


def open_detector(arguments: argparse.Namespace) -> Detector:
    """Return the detector that the arguments ask for."""
    return Detector(
        classes=as_classes(arguments.classes),
        settings=engine_settings(arguments),
        clip=not arguments.no_clip,
        **given(arguments, "model", "backend", "device", "threads", "precision"),
        **given(arguments, "score_threshold", "iou_threshold", "class_agnostic", "max_detections"),
        max_pixels=arguments.max_pixels,
        **vars(model_hints(arguments)),
    )


def check_forecast(arguments: argparse.Namespace, sources: Sequence[Source]) -> None:
    """Raise :class:`UsageError` for a forecast of what is not live."""
    live = [source.live if arguments.live is None else arguments.live for source in sources]
    still = [source.name for source, is_live in zip(sources, live, strict=True) if not is_live]
    still += [source.name for source in sources if not source.moving]
    if arguments.forecast and still:
        raise UsageError(
            f"--forecast moves boxes by the age of their frame, and {still[0]} is not live: it is "
            "for cameras and streams; --live treats a video like a camera"
        )


def make_tiles(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the detector needs to know of tiles, checked; raises :class:`UsageError`."""
    if arguments.tile is None:
        if arguments.overlap != OVERLAP:
            raise UsageError("--overlap is that of tiles: add --tile")
        return {}
    if arguments.batch != 1:
        raise UsageError("--batch: with --tile the model's own batch is filled with tiles")
    Tiling(arguments.tile, arguments.overlap)
    return {"tile": arguments.tile, "overlap": arguments.overlap}


def make_tracker(arguments: argparse.Namespace, usual: float = SCORE_THRESHOLD) -> Tracker | None:
    """Return the tracker that the arguments ask for; raises :class:`UsageError`."""
    if not (arguments.track or arguments.track_classes or arguments.forecast):
        if arguments.sink_mot is not None:
            raise UsageError("--mot needs the ids of tracks: add --track")
        return None
    score = usual if arguments.score_threshold is None else arguments.score_threshold
    return Tracker(score, as_classes(arguments.track_classes))


def as_classes(words: Sequence[str] | None) -> list[int | str] | None:
    """Return what was given as names and ids of classes."""
    # An id has few digits; Python reads no number of thousands.
    return [int(c) if c.isdecimal() and len(c) < 10 else c for c in words or ()] or None


def make_sinks(arguments: argparse.Namespace, sources: Sequence[Source]) -> list[Sink]:
    """Return the sinks that the arguments ask for; nothing is written yet.

    Raises :class:`OutputError` and :class:`UsageError` where writing would fail or lose something.
    """
    sinks: dict[str, Sink] = {}
    for kind in SINKS.values():
        path = getattr(arguments, f"sink_{kind.name}", None)
        if path is None and kind.default is not None:
            path = kind.default if arguments.overwrite else free_folder(kind.default)
        if path and not (kind.sink is PictureSink and arguments.no_draw):
            sinks[f"--{kind.name}"] = kind.sink(path, sources)
    check_apart(
        {option: sink.files() for option, sink in sinks.items()},
        [*paths_of(sources), *files_read(arguments, [arguments.model])],
    )
    for sink in sinks.values():
        sink.check()
        if isinstance(sink, FolderSink) and not arguments.overwrite:
            check_new(sink.files())
    return list(sinks.values())


main = partial(run_command, COMMAND, parser, detect)
