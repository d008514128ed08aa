"""The race: opens the candidates, and measures what the policy asks for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from yolox_deploy.benchmarks.accuracy import detect_dataset
from yolox_deploy.benchmarks.measure.cold_start import cold_starts
from yolox_deploy.benchmarks.measure.loop import SLOW_SECONDS, Turns, warm_up
from yolox_deploy.benchmarks.measure.opening import open_systems
from yolox_deploy.benchmarks.measure.systems import ImageArray, System, SystemRequest
from yolox_deploy.benchmarks.planning.candidates import Candidate, Demand
from yolox_deploy.benchmarks.planning.policy import Scheduler, Score, Step
from yolox_deploy.data.ap import CocoDataset
from yolox_deploy.data.matches import resampled
from yolox_deploy.errors import (
    ConversionError,
    DeviceError,
    MissingPackageError,
    UsageError,
    VerificationError,
)
from yolox_deploy.progress import Stages
from yolox_deploy.runtimes.doubts import NOT_COVERED
from yolox_deploy.tasks import task_of

# A candidate's turn lasts this long, and at least one call.
TURN_SECONDS = 0.1
# So often the pictures are drawn again for the intervals of AP.
DRAWS, SEED = 100, 0
# Why a candidate may be left out without ending the command.
UNUSABLE = (UsageError, VerificationError, ConversionError, DeviceError, MissingPackageError)


class Race:
    """Opened candidates, and what was found of them in ``scheduler``; close it at the end.

    ``pictures`` (uint8 BGR, in memory) are what times are measured with, ``dataset`` is what AP is
    measured on.
    """

    def __init__(
        self, dataset: CocoDataset, pictures: Sequence[ImageArray], demand: Demand, begin: Stages
    ) -> None:
        self.dataset, self.pictures, self.demand, self.begin = dataset, pictures, demand, begin
        self.systems: list[System] = []
        self.turns: list[Turns] = []
        self.notes: list[str] = []
        self.slow: list[bool] = []
        self.rounds = 0
        self.order = np.random.default_rng(SEED)
        self.numbers = self.order.permutation(list(dataset.pictures)).tolist()
        self.entries: dict[tuple[object, ...], list[dict[str, Any]]] = {}
        self.found_by: dict[tuple[object, ...], set[int]] = {}
        self.scheduler = Scheduler([], 0, demand)

    def close(self) -> None:
        """Free the engines' memory."""
        for system in self.systems:
            system.close()

    def open(self, wanted: Sequence[SystemRequest]) -> None:
        """Open every candidate; what cannot be opened is left out with a note.

        Raises the last error if nothing can be opened.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            opened = open_systems(wanted, self.pictures, self.begin, System, UNUSABLE)
            self.systems, self.notes = opened
        said = {str(warning.message): warning.category for warning in caught}
        for text, category in said.items():
            # The choice is proven in its own precision later.
            if NOT_COVERED not in text:
                warnings.warn(text, category, stacklevel=2)
        for system in self.systems:
            # Now, not after minutes: classes may have nothing in common with the data set.
            self.dataset.category_ids(system.detector.names)
            self.dataset.check_metric(task_of(system.detector.spec).metric)
        candidates = [_described(system) for system in self.systems]
        self.scheduler = Scheduler(candidates, len(self.numbers), self.demand)

    def run(self) -> None:
        """Measure until the policy asks for nothing more."""
        self.begin("warming up")
        for system in self.systems:
            self.slow.append(warm_up(system) > SLOW_SECONDS)
            self.turns.append(Turns(system, TURN_SECONDS, 1))
        for step in self.scheduler.steps():
            if step.kind == "time":
                self._time(step)
            else:
                self._detect(step.candidates[0], step.amount)
            for i in self.scheduler.dropped:
                self.systems[i].close()
        if self.demand.memory_mb is not None:
            for i in self.scheduler.alive:
                self.begin(f"memory of {self.scheduler.candidates[i]}")
                self.scheduler.memory[i] = cold_starts(self.systems[i], 1)[0].peak_bytes

    def _time(self, step: Step) -> None:
        """Let candidates take turns, in an order that changes from round to round."""
        self.begin(f"timing {len(step.candidates)} candidates")
        for number in range(step.amount):
            self.begin.advance("round", number + 1, step.amount)
            for i in self.order.permutation(step.candidates):
                if not self.slow[i]:
                    self.turns[i].settle()
                self.turns[i].take(self.rounds)
            self.rounds += 1
        for i in step.candidates:
            self.scheduler.series[i] = self.turns[i].series()

    def _detect(self, i: int, count: int) -> None:
        """Measure AP of a candidate's group on the first pictures, as far as it is not known."""
        group = self.scheduler.candidates[i].group
        entries = self.entries.setdefault(group, [])
        known = self.scheduler.scores.get(group)
        numbers = self.numbers[: known.pictures if known else 0]
        self.found_by.setdefault(group, set()).add(i)
        entries += self._entries(i, self.numbers[len(numbers) : count])
        self.scheduler.scores[group] = self._score(i, entries, count)

    def confirm(self, i: int) -> None:
        """Measure AP on all pictures with this very candidate, if others of its group did it."""
        group = self.scheduler.candidates[i].group
        if self.found_by[group] != {i}:
            self.entries[group] = self._entries(i, self.numbers)
            self.found_by[group] = {i}
            self.scheduler.scores[group] = self._score(i, self.entries[group], len(self.numbers))

    def _entries(self, i: int, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Return what a candidate finds in some pictures, as entries of a COCO result."""
        system, name = self.systems[i], self.scheduler.candidates[i]
        self.begin(f"AP of {name}")

        def track(pictures: Any) -> Any:
            for number, picture in enumerate(pictures, 1):
                self.begin.advance("picture", number, len(numbers))
                yield picture

        part = self.dataset.part(numbers)
        return detect_dataset(system.detector, part, track, system.thresholds(for_ap=True))

    def _score(self, i: int, entries: Sequence[dict[str, Any]], count: int) -> Score:
        part = self.dataset.part(self.numbers[:count])
        metric = task_of(self.systems[i].detector.spec).metric
        found = part.evaluated(entries, metric)
        draws = np.zeros(DRAWS) if not found.matches else resampled(found.matches, DRAWS, SEED)
        return Score(count, found.figures.ap, draws)


def _described(system: System) -> Candidate:
    spec, info = system.detector.spec, system.info
    threads = system.request.threads
    return Candidate(spec.name, spec.height, spec.width, info.backend, info.precision, threads)
