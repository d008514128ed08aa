"""``--scenario streaming``: streaming accuracy (sAP) of the systems, in real time and simulated.

First every frame is detected in for its own sake, which gives AP at zero latency.  Then the frames
pass in real time, as a camera would show them; then again on a clock that only counts, for either
schedule and for faster or slower hardware, with latencies drawn from those of the real run (like
the paper's runtime profiles), or of the first pass where there was no real run.

Without annotations there is no AP: then the truth is what the same detector finds with zero
latency, and what is missing to 1 is the streaming penalty.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import numpy as np

from yolox_deploy.benchmarks.accuracy import (
    IOU_THRESHOLD,
    SCORE_THRESHOLD,
    average_precision,
    match_categories,
    require_pycocotools,
)
from yolox_deploy.benchmarks.scenarios import Context
from yolox_deploy.benchmarks.streaming_input import DEFAULT_FPS, Picture, Source, open_source
from yolox_deploy.benchmarks.streaming_result import SCHEMA, Run, Streamed, StreamingResult
from yolox_deploy.benchmarks.streams import (
    SCHEDULES,
    Entries,
    Latencies,
    Schedule,
    Stream,
    WallClock,
    entries_as_truth,
    run_stream,
    shown_entries,
    simulate,
)
from yolox_deploy.benchmarks.systems import System
from yolox_deploy.detections import Detections, default_category_ids
from yolox_deploy.errors import UsageError

__all__ = ["RESULT", "SCHEMA", "add_arguments", "measure"]

RESULT = StreamingResult
WARM_UP = 10
# A simulation passes short sequences several times, so that chance does not decide what it says.
SIMULATED_FRAMES = 1500
MOST_PASSES = 20
# One passing of all sequences: for each its stream, and the entries of the stream's outputs.
Passing = list[tuple[Stream, list[Entries]]]


def add_arguments(group: Any) -> None:
    """Add the arguments of streaming accuracy."""
    group.add_argument(
        "--video", type=Path, metavar="FILE", help="frames, with --data COCO_JSON their boxes"
    )
    group.add_argument(
        "--fps",
        type=float,
        metavar="F",
        help=f"frames a second (default: the video's, {DEFAULT_FPS:g} for pictures)",
    )
    group.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="the first N frames of each sequence (all, whatever --duration says)",
    )
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="naive",
        help="in real time: naive starts whenever there is a frame, dynamic waits where the "
        "paper's shrinking tail says so (naive); both are simulated",
    )
    group.add_argument(
        "--simulate", action="store_true", help="do not let the frames pass in real time"
    )
    group.add_argument(
        "--speed",
        default="1",
        metavar="X[,Y]",
        help="simulate hardware X times as fast (1)",
    )


def measure(context: Context) -> StreamingResult:
    """Stream every sequence past every system."""
    require_pycocotools()
    arguments = context.arguments
    speeds = check(arguments)
    if arguments.images and len(arguments.images) > 1:
        raise UsageError(f"--images takes one folder here, got {len(arguments.images)} names")
    folder = Path(arguments.images[0]) if arguments.images else None
    source = open_source(arguments.video, arguments.data, folder, arguments.fps, arguments.frames)
    systems, thresholds = [], ""
    for system in context.systems:
        with evaluation_thresholds(system, annotated=source.truth is not None):
            detector = system.detector
            thresholds = f"score {detector.score_threshold:g}, IoU {detector.iou_threshold:g}"
            systems.append(Streamer(context, system, source).measure(speeds))
    count = sum(map(len, source.sequences))
    return StreamingResult(
        source.name,
        source.fps,
        count,
        source.truth is not None,
        thresholds,
        arguments.seed,
        tuple(systems),
    )


def check(arguments: argparse.Namespace) -> list[float]:
    """Return the speeds; raises :class:`UsageError` for what cannot be streamed."""
    if arguments.fps is not None and not 0 < arguments.fps <= 10_000:
        raise UsageError(f"--fps must lie in 0..10000, got {arguments.fps:g}")
    if arguments.frames is not None and arguments.frames < 1:
        raise UsageError(f"--frames must be at least 1, got {arguments.frames}")
    try:
        speeds = [float(word) for word in arguments.speed.split(",") if word.strip()]
    except ValueError as error:
        raise UsageError(f"--speed takes numbers with commas, got {arguments.speed}") from error
    if not speeds or not all(0 < speed <= 1e6 for speed in speeds):
        raise UsageError(f"--speed must be more than 0, got {arguments.speed}")
    return speeds


@contextmanager
def evaluation_thresholds(system: System, *, annotated: bool) -> Iterator[None]:
    """With annotations, let the detector keep what AP needs; else leave it as it is deployed."""
    detector = system.detector
    if not annotated or detector.spec.output == "detections":
        yield
        return
    before = (
        detector.score_threshold,
        detector.iou_threshold,
        detector.max_detections,
        detector.clip,
    )
    detector.score_threshold, detector.iou_threshold = SCORE_THRESHOLD, IOU_THRESHOLD
    detector.max_detections, detector.clip = None, False
    try:
        yield
    finally:
        (
            detector.score_threshold,
            detector.iou_threshold,
            detector.max_detections,
            detector.clip,
        ) = before


class Streamer:
    """Streams the source past one system."""

    def __init__(self, context: Context, system: System, source: Source) -> None:
        self.context = context
        self.system = system
        self.source = source
        names = system.detector.names
        if source.truth is None:
            self.category_ids: Sequence[int] = default_category_ids(names)
        else:
            categories = {c["name"]: c["id"] for c in source.truth["categories"]}
            self.category_ids = match_categories(names, categories)
        # By sequence: what is in each frame, and what the real run gave.
        self.cached: list[list[Entries]] = []
        self.real: Passing = []
        # Of every call, back to back and in real time.
        self.seconds: list[float] = []
        self.real_seconds: list[float] = []

    def measure(self, speeds: Sequence[float]) -> Streamed:
        """Return all runs of the system."""
        arguments, label = self.context.arguments, self.system.info.label
        for number, sequence in enumerate(self.source.sequences, 1):
            where = f"{label}, sequence {number} of {len(self.source.sequences)}"
            self.context.begin(f"{where}: detecting in every frame")
            frames = self.source.frames(sequence)
            self._detect_all(frames, sequence)
            if not arguments.simulate:
                lasts = len(frames) / self.source.fps
                self.context.begin(f"{where}: {lasts:.1f} s in real time")
                self.real.append(self._in_real_time(frames, sequence))
        truth = self._truth()
        runs = [self._run("zero latency", "", 1.0, self._simulated("naive", None), truth)]
        if self.real:
            runs.append(self._run("real time", arguments.schedule, 1.0, [self.real], truth))
        for speed in speeds:
            self.context.begin(f"{label}: simulating")
            runs += [
                self._run("simulated", name, speed, self._simulated(name, speed), truth)
                for name in SCHEDULES
            ]
        return Streamed(label, tuple(self.real_seconds or self.seconds), tuple(runs))

    def _detect_all(self, frames: Sequence[Picture], sequence: Sequence[int]) -> None:
        """Detect in every frame, back to back, and keep detections and latencies."""
        detector = self.system.detector
        for frame in frames[:WARM_UP] if not self.cached else frames[:1]:
            detector(frame)
        found = []
        for frame in frames:
            start = perf_counter()
            found.append(detector(frame))
            self.seconds.append(perf_counter() - start)
        self.cached.append(self._entries(found, sequence))

    def _in_real_time(
        self, frames: Sequence[Picture], sequence: Sequence[int]
    ) -> tuple[Stream, list[Entries]]:
        """Let the frames pass, and return the stream and what came out."""
        detector, found = self.system.detector, []
        latencies = Latencies(self.seconds[-len(frames) :])
        schedule = SCHEDULES[self.context.arguments.schedule](
            latencies.median_frames(self.source.fps)
        )

        def detect(number: int) -> None:
            start = perf_counter()
            found.append(detector(frames[number]))
            self.real_seconds.append(perf_counter() - start)

        stream = run_stream(detect, len(frames), WallClock(self.source.fps), schedule)
        numbers = [sequence[frame] for frame in stream.frames]
        return stream, self._entries(found, numbers)

    def _simulated(self, schedule: str, speed: float | None) -> list[Passing]:
        """Return passings with drawn latencies; ``speed`` is ``None`` for zero latency."""
        latencies, fps = Latencies(self.real_seconds or self.seconds), self.source.fps
        draw = latencies.draws(fps, speed, self.context.arguments.seed) if speed else lambda: 0.0
        runtime = latencies.median_frames(fps, speed) if speed else 0.0
        frames = sum(map(len, self.source.sequences))
        passes = min(math.ceil(SIMULATED_FRAMES / frames), MOST_PASSES) if speed else 1
        return [
            [
                self._simulate(len(sequence), entries, draw, SCHEDULES[schedule](runtime))
                for sequence, entries in zip(self.source.sequences, self.cached, strict=True)
            ]
            for _ in range(passes)
        ]

    @staticmethod
    def _simulate(
        count: int, entries: list[Entries], draw: Callable[[], float], schedule: Schedule
    ) -> tuple[Stream, list[Entries]]:
        stream = simulate(count, draw, schedule)
        return stream, [entries[frame] for frame in stream.frames]

    def _entries(self, found: Sequence[Detections], numbers: Sequence[int]) -> list[Entries]:
        return [
            detections.to_coco(number, self.category_ids)
            for detections, number in zip(found, numbers, strict=True)
        ]

    def _truth(self) -> dict[str, Any]:
        """Return the annotations, or what the detector finds with zero latency."""
        if self.source.truth is not None:
            return self.source.truth
        entries = [entry for frames in self.cached for frame in frames for entry in frame]
        if not entries:
            raise UsageError(
                f"{self.system.info.label} finds nothing in {self.source.name}, so there is "
                "nothing to be late with: choose other frames, or give --data"
            )
        numbers = [number for sequence in self.source.sequences for number in sequence]
        categories = dict(zip(self.category_ids, self.system.detector.names, strict=True))
        return entries_as_truth(entries, numbers, categories)

    def _run(
        self,
        mode: str,
        schedule: str,
        speed: float,
        passings: Sequence[Passing],
        truth: dict[str, Any],
    ) -> Run:
        """Return the mean figures of some passings."""
        figures = []
        for passing in passings:
            shown: Entries = []
            for (stream, outputs), sequence in zip(passing, self.source.sequences, strict=True):
                shown += shown_entries(stream, outputs, sequence)
            figures.append(average_precision(truth, shown).as_dict())
        streams = [stream for passing in passings for stream, _ in passing]
        lags = np.concatenate([stream.lags for stream in streams])
        count = len(passings)
        return Run(
            mode,
            schedule,
            speed,
            {key: fmean(f[key] for f in figures) for key in figures[0]},
            sum(stream.missed for stream in streams) / count,
            sum(stream.in_time for stream in streams) / count,
            float(lags.mean()) if lags.size else None,
            sum(len(stream.frames) for stream in streams) / count,
            count,
        )
