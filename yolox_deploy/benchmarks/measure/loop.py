"""The measuring loop: systems take turns in short rounds, and every time is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import Any

import numpy as np

from yolox_deploy.benchmarks.measure.statistics import Floats, Integers
from yolox_deploy.benchmarks.measure.systems import ImageArray, Outcome, Stages, TimedDetector
from yolox_deploy.errors import InputFileError
from yolox_deploy.records import Amount, Record, Schema
from yolox_deploy.tasks import Detections
from yolox_deploy.timing import StageSeconds

WARM_UP_CALLS, WARM_UP_SECONDS = 10, 1.0
# Long enough to forget the system before (its threads spin on for milliseconds), short against
# the drift of a machine.
ROUND_SECONDS = 0.25
FEWEST_ROUNDS, MOST_ROUNDS = 20, 1000
# How long a system runs untimed when its turn begins, so that it meets its own caches and idle
# cores.  Systems slower than the second do not need it.
SETTLE_SECONDS, SLOW_SECONDS = 0.01, 0.25
STAGES = Stages._fields
INFERENCE = STAGES.index("inference")


@dataclass(frozen=True)
class Series(Record):
    """Seconds per call: ``stages`` (n, 6) in the order of ``Stages``, and ``total`` (n,) of all.

    ``rounds`` (n,) is the round that each call took place in.  Copies that an engine does not make
    are NaN.
    """

    rounds: Integers
    stages: Floats
    total: Floats

    @property
    def median(self) -> float:
        """The median of the seconds per call."""
        return float(np.median(self.total))

    @property
    def other(self) -> Floats:
        """Seconds of each call that belong to no stage."""
        rest: Floats = self.total - np.nansum(self.stages, 1)
        return rest

    def columns(self) -> dict[str, Floats]:
        """Return the seconds by stage, then what belongs to no stage, and the whole."""
        stages = dict(zip(STAGES, self.stages.T, strict=True))
        return {**stages, "other": self.other, "end to end": self.total}

    def to_json(self) -> dict[str, Any]:
        """Return nanoseconds by stage, ``None`` for a stage that does not exist."""
        stages = map(_nanoseconds, self.stages.T)
        columns = {**dict(zip(STAGES, stages, strict=True)), "total": _nanoseconds(self.total)}
        return {"rounds": self.rounds.tolist(), **columns}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Series:
        """Return what :meth:`to_json` gave; raises :class:`InputFileError` for uneven columns."""
        total, rounds = content["total"], np.array(content["rounds"], np.int64)
        unknown = [np.nan] * len(total)
        columns = [unknown if content[name] is None else content[name] for name in STAGES]
        if {len(column) for column in (*columns, rounds)} != {len(total)}:
            raise InputFileError("the report is damaged: the columns of a series differ in length")
        return cls(rounds, np.array(columns, np.float64).T / 1e9, np.array(total, np.float64) / 1e9)

    @classmethod
    def schema(cls) -> Schema:
        """Return the schema of what :meth:`to_json` gives."""
        numbers = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
        stages = {name: {"anyOf": [numbers, {"type": "null"}]} for name in STAGES}
        properties = {"rounds": numbers, **stages, "total": numbers}
        return {"type": "object", "properties": properties, "required": list(properties)}


@dataclass(frozen=True)
class HarnessCost(Record):
    """Seconds that measuring adds to each call: inside the measured time, and between two calls."""

    inside: Amount
    between: Amount


def measure(
    systems: Sequence[TimedDetector],
    seconds: float,
    min_count: int,
    begin: Callable[[str], None] = lambda stage: None,
    advance: Callable[[float, float, int], None] | None = None,
) -> list[Series]:
    """Call every system until both ``seconds`` and ``min_count`` calls of it have been timed.

    Systems take turns in rounds, in an order that changes from round to round (seeded).
    ``begin`` is told each stage.  ``advance`` is told before each turn the seconds that are done,
    those that it may take in all, and the number of the system.  If another system or ``advance``
    ran before, a fast system begins its turn with some untimed calls.  No timed call is dropped.
    """
    disturbed = len(systems) > 1 or advance is not None
    advance = advance or (lambda done, total, number: None)
    begin("warming up")
    usual = []
    for i, system in enumerate(systems):
        advance(0, 0, i)
        usual.append(warm_up(system))
    count = min(max(ceil(seconds / ROUND_SECONDS), FEWEST_ROUNDS), MOST_ROUNDS)
    turns = [Turns(system, seconds / count, ceil(min_count / count)) for system in systems]
    order = np.random.default_rng(0)
    costs = [max(turn.seconds, turn.calls * u) for turn, u in zip(turns, usual, strict=True)]
    done, total = 0.0, count * sum(costs)
    begin(f"measuring, about {total:.0f} s")
    for number in range(count):
        for i in order.permutation(len(turns)):
            advance(done, total, i)
            if disturbed and usual[i] < SLOW_SECONDS:
                turns[i].settle()
            turns[i].take(number)
            done += costs[i]
    return [turn.series() for turn in turns]


def warm_up(system: TimedDetector) -> float:
    """Call a system until its first calls are over; return the seconds of the last call."""
    start, last = perf_counter(), 0.0
    for call in range(WARM_UP_CALLS):
        last = system.run(range(system.batch)).seconds
        if call and perf_counter() - start > WARM_UP_SECONDS:
            break
    return last


class Turns:
    """The calls of one system, turn by turn."""

    def __init__(self, system: TimedDetector, seconds: float, calls: int) -> None:
        self.system = system
        self.seconds = seconds
        self.calls = calls
        self.next = 0
        self.rounds: list[int] = []
        self.stages: list[Stages] = []
        self.total: list[float] = []

    def settle(self) -> None:
        """Call untimed for a moment."""
        end = perf_counter() + SETTLE_SECONDS
        self.call()
        while perf_counter() < end:
            self.call()

    def call(self) -> Outcome:
        """Call the system with the next pictures."""
        first, self.next = self.next, self.next + self.system.batch
        return self.system.run(range(first, self.next))

    def take(self, number: int) -> None:
        """Take one turn."""
        spent, calls = 0.0, 0
        while spent < self.seconds or calls < self.calls:
            outcome = self.call()
            self.rounds.append(number)
            self.stages.append(outcome.stages)
            self.total.append(outcome.seconds)
            spent += outcome.seconds
            calls += 1

    def series(self) -> Series:
        """Return everything that was timed."""
        return Series(np.array(self.rounds), np.array(self.stages), np.array(self.total))


class IdleDetector:
    """Does nothing in a detector's place, so that only the harness remains to be measured."""

    nothing = Detections.empty().timed(StageSeconds(0, 0, 0, 0))

    def __call__(self, image: ImageArray, thresholds: object = None) -> Detections:
        """Return no detections."""
        return self.nothing


def harness_cost(pictures: Sequence[ImageArray], calls: int = 2000) -> HarnessCost:
    """Return what the measuring loop itself costs, around a detector that does nothing."""
    idle = TimedDetector(IdleDetector(), pictures)
    Turns(idle, 0, calls).take(0)
    turns = Turns(idle, 0, calls)
    start = perf_counter()
    turns.take(0)
    whole = (perf_counter() - start) / calls
    inside = float(np.median(turns.total))
    return HarnessCost(inside, max(whole - inside, 0.0))


def _nanoseconds(seconds: Floats) -> list[int] | None:
    return None if np.isnan(seconds).any() else [int(value) for value in np.rint(seconds * 1e9)]
