"""Frames played to one system: each in turn without a clock, in real time, and simulated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, product
from statistics import fmean, median
from time import perf_counter
from typing import Any

import numpy as np

from yolox_deploy.benchmarks.measure.systems import ImageArray, System
from yolox_deploy.benchmarks.scenarios.base import Context
from yolox_deploy.benchmarks.scenarios.streaming.footage import Footage
from yolox_deploy.benchmarks.scenarios.streaming.result import Playing, Streamed
from yolox_deploy.benchmarks.scenarios.streaming.streams import (
    SCHEDULES,
    Entries,
    Stream,
    WallClock,
    draws,
    run_stream,
    shown_entries,
    simulate,
)
from yolox_deploy.data.ap import average_precision, entries_as_truth, match_categories
from yolox_deploy.data.categories import default_category_ids
from yolox_deploy.errors import UsageError
from yolox_deploy.tasks import Detections
from yolox_deploy.tracking import Moving, Tracker

WARM_UP = 10
# A simulation plays short sequences several times, so that its result does not depend on chance.
SIMULATED_FRAMES = 1500
MOST_PASSES = 20
# How boxes are shown, see ``Playing``.
DETECTED, TRACKED, FORECAST = "as detected", "tracked", "forecast"
# What came out of one call, and what of it moves on.
Output = tuple[Detections, Moving]
# All sequences played once: for each its stream, and what came out.
Passing = list[tuple[Stream, list[Output]]]


class Way:
    """One way of looking at frames: the detector alone, or a tracker behind it.

    ``boxes`` are how what came out is shown.  ``real`` is what came out in real time, ``seconds``
    and ``real_seconds`` the times of every call, back to back and in real time.
    """

    def __init__(self, *boxes: str) -> None:
        self.boxes = boxes
        self.real: Passing = []
        self.seconds: list[float] = []
        self.real_seconds: list[float] = []

    @property
    def measured(self) -> list[float]:
        """The times of calls in real time, or back to back where there was no real time."""
        return self.real_seconds or self.seconds


class Streamer:
    """Plays the footage to one system."""

    def __init__(self, context: Context, system: System, footage: Footage) -> None:
        self.context = context
        self.system = system
        self.footage = footage
        self.thresholds = system.thresholds(for_ap=footage.truth is not None)
        names = system.detector.names
        if footage.truth is None:
            self.category_ids: Sequence[int] = default_category_ids(names)
        else:
            categories = {c["name"]: c["id"] for c in footage.truth["categories"]}
            self.category_ids = match_categories(names, categories)
        # By sequence: what is in each frame.
        self.cached: list[list[Detections]] = []
        self.alone = Way(DETECTED)
        self.ways = [self.alone]
        if context.arguments.forecast:
            self.ways.append(Way(TRACKED, FORECAST))

    def measure(self, speeds: Sequence[float]) -> Streamed:
        """Return all playings of the system."""
        arguments, label = self.context.arguments, self.system.info.label
        for number, sequence in enumerate(self.footage.sequences, 1):
            where = f"{label}, sequence {number} of {len(self.footage.sequences)}"
            self.context.begin(f"{where}: detecting in every frame")
            frames = self.footage.frames(sequence)
            self._detect_all(frames)
            if not arguments.simulate:
                lasts = len(frames) / self.footage.fps * len(self.ways)
                self.context.begin(f"{where}: playing {lasts:.1f} s in real time")
                for way in self.ways:
                    way.real.append(self._in_real_time(frames, way))
        truth = self._truth()
        runs = self._runs(
            "zero latency", "", 1.0, self.alone, self._simulated("naive", None), truth
        )
        for way in self.ways:
            if way.real:
                runs += self._runs("real time", arguments.schedule, 1.0, way, [way.real], truth)
        for speed in speeds:
            self.context.begin(f"{label}: simulating")
            for way, name in product(self.ways, SCHEDULES):
                passings = self._simulated(name, speed, way)
                runs += self._runs("simulated", name, speed, way, passings, truth)
        return Streamed(label, tuple(self.alone.measured), tuple(runs))

    def _detect(self, frame: ImageArray) -> Detections:
        (found,) = self.system.detect([frame], self.thresholds)
        return found

    def _look(self, way: Way) -> Callable[[Detections, int], Output]:
        """Return what is done with the detections of one frame after another in a way."""
        if way is self.alone:
            return lambda found, frame: (found, Moving.still(found))
        tracker = Tracker(self.system.detector.thresholds.score, fps=self.footage.fps)

        def look(found: Detections, frame: int) -> Output:
            tracked = tracker(found, frame / self.footage.fps)
            return tracked, tracker.moving(tracked)

        return look

    def _detect_all(self, frames: Sequence[ImageArray]) -> None:
        """Detect in every frame, back to back, and keep detections and latencies."""
        for frame in frames[:WARM_UP] if not self.cached else frames[:1]:
            self._detect(frame)
        found = []
        for frame in frames:
            start = perf_counter()
            found.append(self._detect(frame))
            self.alone.seconds.append(perf_counter() - start)
        self.cached.append(found)
        for way in self.ways[1:]:
            look = self._look(way)
            for number, (detections, seconds) in enumerate(
                zip(found, self.alone.seconds[-len(found) :], strict=True)
            ):
                start = perf_counter()
                look(detections, number)
                way.seconds.append(seconds + perf_counter() - start)

    def _in_real_time(self, frames: Sequence[ImageArray], way: Way) -> tuple[Stream, list[Output]]:
        """Play the frames, and return the stream and what came out."""
        outputs: list[Output] = []
        runtime = median(way.seconds[-len(frames) :]) * self.footage.fps
        schedule = SCHEDULES[self.context.arguments.schedule](runtime)
        look = self._look(way)

        def detect(number: int) -> None:
            start = perf_counter()
            outputs.append(look(self._detect(frames[number]), number))
            way.real_seconds.append(perf_counter() - start)

        stream = run_stream(detect, len(frames), WallClock(self.footage.fps), schedule)
        return stream, outputs

    def _simulated(
        self, schedule: str, speed: float | None, way: Way | None = None
    ) -> list[Passing]:
        """Return passings with drawn latencies; without ``speed`` the latency is zero."""
        way = way or self.alone
        runtimes = np.array(way.measured) * self.footage.fps / (speed or math.inf)
        draw = draws(runtimes, self.context.arguments.seed)
        frames = sum(map(len, self.footage.sequences))
        passes = min(math.ceil(SIMULATED_FRAMES / frames), MOST_PASSES) if speed else 1
        wait = SCHEDULES[schedule](float(np.median(runtimes)))

        def play(found: Sequence[Detections]) -> tuple[Stream, list[Output]]:
            stream, look = simulate(len(found), draw, wait), self._look(way)
            return stream, [look(found[frame], frame) for frame in stream.frames.tolist()]

        return [[play(found) for found in self.cached] for _ in range(passes)]

    def _truth(self) -> dict[str, Any]:
        """Return the annotations, or what the detector finds at zero latency."""
        if self.footage.truth is not None:
            return self.footage.truth
        numbers = [number for sequence in self.footage.sequences for number in sequence]
        entries = [
            entry
            for number, found in zip(numbers, chain(*self.cached), strict=True)
            for entry in found.to_coco(number, self.category_ids)
        ]
        if not entries:
            raise UsageError(
                f"{self.system.info.label} finds nothing in {self.footage.name}, so lateness "
                "cannot be measured: choose other frames, or give annotations with --data"
            )
        categories = dict(zip(self.category_ids, self.system.detector.names, strict=True))
        return entries_as_truth(entries, numbers, categories)

    def _runs(
        self,
        mode: str,
        schedule: str,
        speed: float,
        way: Way,
        passings: Sequence[Passing],
        truth: Any,
    ) -> list[Playing]:
        """Return the mean figures of some passings, for each way of showing their boxes."""
        streams = [stream for passing in passings for stream, _ in passing]
        lags = np.concatenate([stream.lags for stream in streams])
        count = len(passings)
        found = []
        for boxes in way.boxes:
            each = [average_precision(truth, self._shown(p, boxes)).as_dict() for p in passings]
            found.append(
                Playing(
                    mode,
                    schedule,
                    speed,
                    {key: _mean([figures[key] for figures in each]) for key in each[0]},
                    sum(stream.missed for stream in streams) / count,
                    sum(stream.in_time for stream in streams) / count,
                    float(lags.mean()) if lags.size else None,
                    sum(len(stream.frames) for stream in streams) / count,
                    count,
                    boxes,
                )
            )
        return found

    def _shown(self, passing: Passing, boxes: str) -> Entries:
        """Return COCO result entries of what stood at the time of every frame."""
        shown: Entries = []
        for (stream, outputs), sequence in zip(passing, self.footage.sequences, strict=True):
            shown += shown_entries(stream, sequence, partial(self._entries, outputs, boxes))
        return shown

    def _entries(self, outputs: Sequence[Output], boxes: str, output: int, age: int) -> Entries:
        found, moving = outputs[output]
        if boxes == FORECAST:
            found = moving.after(age / self.footage.fps)
        return found.to_coco(0, self.category_ids)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
