"""Frames played to one system: each in turn without a clock, in real time, and simulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

WARM_UP = 10
# A simulation plays short sequences several times, so that its result does not depend on chance.
SIMULATED_FRAMES = 1500
MOST_PASSES = 20
# All sequences played once: for each its stream, and the entries of every frame.
Passing = list[tuple[Stream, list[Entries]]]


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
        # By sequence: what is in each frame, and what came out in real time.
        self.cached: list[list[Entries]] = []
        self.real: Passing = []
        # Of every call, back to back and in real time.
        self.seconds: list[float] = []
        self.real_seconds: list[float] = []

    def measure(self, speeds: Sequence[float]) -> Streamed:
        """Return all playings of the system."""
        arguments, label = self.context.arguments, self.system.info.label
        for number, sequence in enumerate(self.footage.sequences, 1):
            where = f"{label}, sequence {number} of {len(self.footage.sequences)}"
            self.context.begin(f"{where}: detecting in every frame")
            frames = self.footage.frames(sequence)
            self._detect_all(frames, sequence)
            if not arguments.simulate:
                lasts = len(frames) / self.footage.fps
                self.context.begin(f"{where}: playing {lasts:.1f} s in real time")
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

    def _detect(self, frame: ImageArray) -> Detections:
        (found,) = self.system.detect([frame], self.thresholds)
        return found

    def _detect_all(self, frames: Sequence[ImageArray], sequence: Sequence[int]) -> None:
        """Detect in every frame, back to back, and keep detections and latencies."""
        for frame in frames[:WARM_UP] if not self.cached else frames[:1]:
            self._detect(frame)
        found = []
        for frame in frames:
            start = perf_counter()
            found.append(self._detect(frame))
            self.seconds.append(perf_counter() - start)
        self.cached.append(self._entries(found, sequence))

    def _in_real_time(
        self, frames: Sequence[ImageArray], sequence: Sequence[int]
    ) -> tuple[Stream, list[Entries]]:
        """Play the frames, and return the stream and what came out."""
        found = [Detections.empty(self.system.detector.names)] * len(frames)
        runtime = median(self.seconds[-len(frames) :]) * self.footage.fps
        schedule = SCHEDULES[self.context.arguments.schedule](runtime)

        def detect(number: int) -> None:
            start = perf_counter()
            found[number] = self._detect(frames[number])
            self.real_seconds.append(perf_counter() - start)

        stream = run_stream(detect, len(frames), WallClock(self.footage.fps), schedule)
        return stream, self._entries(found, sequence)

    def _simulated(self, schedule: str, speed: float | None) -> list[Passing]:
        """Return passings with drawn latencies; without ``speed`` the latency is zero."""
        seconds = np.array(self.real_seconds or self.seconds)
        runtimes = seconds * self.footage.fps / (speed or math.inf)
        draw = draws(runtimes, self.context.arguments.seed)
        frames = sum(map(len, self.footage.sequences))
        passes = min(math.ceil(SIMULATED_FRAMES / frames), MOST_PASSES) if speed else 1
        wait = SCHEDULES[schedule](float(np.median(runtimes)))
        return [
            [(simulate(len(entries), draw, wait), entries) for entries in self.cached]
            for _ in range(passes)
        ]

    def _entries(self, found: Sequence[Detections], numbers: Sequence[int]) -> list[Entries]:
        return [
            detections.to_coco(number, self.category_ids)
            for detections, number in zip(found, numbers, strict=True)
        ]

    def _truth(self) -> dict[str, Any]:
        """Return the annotations, or what the detector finds at zero latency."""
        if self.footage.truth is not None:
            return self.footage.truth
        entries = [entry for frames in self.cached for frame in frames for entry in frame]
        if not entries:
            raise UsageError(
                f"{self.system.info.label} finds nothing in {self.footage.name}, so lateness "
                "cannot be measured: choose other frames, or give annotations with --data"
            )
        numbers = [number for sequence in self.footage.sequences for number in sequence]
        categories = dict(zip(self.category_ids, self.system.detector.names, strict=True))
        return entries_as_truth(entries, numbers, categories)

    def _run(
        self, mode: str, schedule: str, speed: float, passings: Sequence[Passing], truth: Any
    ) -> Playing:
        """Return the mean figures of some passings."""
        figures = []
        for passing in passings:
            shown: Entries = []
            for (stream, entries), sequence in zip(passing, self.footage.sequences, strict=True):
                shown += shown_entries(stream, entries, sequence)
            figures.append(average_precision(truth, shown).as_dict())
        streams = [stream for passing in passings for stream, _ in passing]
        lags = np.concatenate([stream.lags for stream in streams])
        count = len(passings)
        return Playing(
            mode,
            schedule,
            speed,
            {key: _mean([f[key] for f in figures]) for key in figures[0]},
            sum(stream.missed for stream in streams) / count,
            sum(stream.in_time for stream in streams) / count,
            float(lags.mean()) if lags.size else None,
            sum(len(stream.frames) for stream in streams) / count,
            count,
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
