"""What the race of ``yolox-plan`` measures, drops and chooses, with recorded numbers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from yolox_deploy.benchmarks.measure.loop import Series
from yolox_deploy.benchmarks.planning.candidates import Candidate, Demand
from yolox_deploy.benchmarks.planning.policy import ALL_ROUNDS, Scheduler, Score, Step, subsets

pytest.importorskip("scipy")

PICTURES = 206
# Medians in ms and AP as they were measured on two cores: YOLOX-Nano in three sizes, by engine and
# precision, on one thread and on two.
AP = {320: 0.238, 416: 0.286, 512: 0.281}
MS = {
    ("onnxruntime", "fp32"): {320: (7.9, 5.1), 416: (13.0, 8.2), 512: (19.9, 12.3)},
    ("openvino", "fp32"): {320: (8.3, 5.4), 416: (13.7, 8.4), 512: (20.8, 12.9)},
    ("ncnn", "fp32"): {320: (13.6, 8.9), 416: (22.1, 14.0), 512: (33.5, 21.5)},
    ("ncnn", "bf16"): {320: (12.9, 8.5), 416: (20.9, 13.2), 512: (31.0, 20.1)},
}
CHANGE = {"fp32": 0.0, "bf16": -0.002}


def candidate(size: int, engine: str = "onnxruntime", precision: str = "fp32", threads: int = 2):
    return Candidate("yolox_nano", size, size, engine, precision, threads)


NANO = {
    candidate(size, *engine, threads): (MS[engine][size][threads - 1], AP[size] + CHANGE[engine[1]])
    for engine, size, threads in product(MS, AP, (1, 2))
}


class Recorded:
    """Plays a race with numbers that are known, and notes what it cost."""

    def __init__(self, known: dict[Candidate, tuple[float, float]], demand: Demand, **how: Any):
        self.known, self.demand = list(known.items()), demand
        self.scatter, self.ap_scatter = how.get("scatter", 0.02), how.get("ap_scatter", 0.03)
        self.random = np.random.default_rng(how.get("seed", 3))
        self.times: dict[int, list[np.ndarray]] = {}
        self.log: list[Step] = []
        self.seconds = 0.0
        self.scheduler = Scheduler(list(known), how.get("pictures", PICTURES), demand)
        for step in self.scheduler.steps():
            self.log.append(step)
            (self.time if step.kind == "time" else self.detect)(step)

    def time(self, step: Step) -> None:
        for i in step.candidates:
            ms = self.known[i][1][0]
            for _ in range(step.amount):
                self.seconds += 0.1
                noise = np.abs(self.random.normal(0, self.scatter, 10))
                self.times.setdefault(i, []).append(ms / 1e3 * (1 + noise + noise.mean()))
            total = np.concatenate(self.times[i])
            rounds = np.arange(len(self.times[i])).repeat(10)
            self.scheduler.series[i] = Series(rounds, np.zeros((len(total), 6)), total)

    def detect(self, step: Step) -> None:
        (i,) = step.candidates
        one, (ms, ap) = self.known[i]
        before = self.scheduler.scores.get(one.group)
        self.seconds += (step.amount - (before.pictures if before else 0)) * ms / 1e3
        # The same pictures are drawn for all: most of the scatter is common.
        random = np.random.default_rng(0)
        common = random.normal(0, self.ap_scatter, 100)
        own = np.random.default_rng(one.height).normal(0, self.ap_scatter / 3, 100)
        draws = ap + (common + own) * (PICTURES / step.amount) ** 0.5
        self.scheduler.scores[one.group] = Score(step.amount, ap, draws)

    @property
    def chosen(self) -> Candidate:
        return self.scheduler.candidates[self.scheduler.ranking()[0]]

    def why(self, one: Candidate) -> str:
        return self.scheduler.dropped.get(self.scheduler.candidates.index(one), "")


@pytest.mark.parametrize("seed", range(5))
def test_a_race_finds_the_best_in_a_part_of_the_time(seed: int) -> None:
    race = Recorded(NANO, Demand(p99_ms=1000), seed=seed, scatter=0.1)
    assert NANO[race.chosen][0] <= 1.05 * NANO[candidate(416)][0]
    assert (race.chosen.height, race.chosen.threads) == (416, 2)
    everything = sum(ALL_ROUNDS * 0.1 + PICTURES * ms / 1e3 for ms, _ in NANO.values())
    assert race.seconds < 0.4 * everything
    assert race.why(candidate(416, threads=1)).endswith("2 threads, with the same AP")
    # Slower, and AP is lower on all pictures.
    assert "with AP 0.281 instead of 0.286" in race.why(candidate(512))
    assert "takes 1." in race.why(candidate(416, "ncnn", "bf16"))
    front = [race.scheduler.candidates[i] for i in race.scheduler.front()]
    assert [one.height for one in front] == [320, 416]
    assert {one.threads for one in front} == {2}


def test_what_cannot_be_told_apart_is_said_to_be_equal() -> None:
    race = Recorded(NANO, Demand(p99_ms=1000))
    engines = {candidate(416, "onnxruntime"), candidate(416, "openvino")}
    number = race.scheduler.ranking()[0]
    equal = {race.scheduler.candidates[i] for i in race.scheduler.equals(number)}
    assert {race.chosen, *equal} == engines


def test_nothing_is_dropped_where_times_scatter_too_much() -> None:
    close = {one: (ms, ap) for one, (ms, ap) in NANO.items() if ms < 5.5}
    race = Recorded(close, Demand(), scatter=3.0, pictures=24)
    assert race.scheduler.dropped == {}


@pytest.mark.parametrize(
    ("demand", "size"),
    [
        # Without a bound for the time the highest AP is wanted, with one that of what holds it.
        (Demand(), 416),
        (Demand(p99_ms=7), 320),
        (Demand(p99_ms=14, streams=2), 320),
        (Demand(p99_ms=10, min_ap=0.25), 416),
        # Only AP is demanded: the fastest of those that have it.
        (Demand(min_ap=0.2), 320),
        (Demand(min_ap=0.27), 416),
    ],
    ids=str,
)
def test_the_choice_meets_the_demand(demand: Demand, size: int) -> None:
    race = Recorded(NANO, demand)
    assert race.chosen.height == size
    number = race.scheduler.ranking()[0]
    assert race.scheduler.misses(number) == []
    assert race.scheduler.reason(number, race.scheduler.ranking()).startswith("it has the ")


def test_of_what_has_the_same_ap_as_far_as_known_the_fastest_is_taken() -> None:
    few = {one: row for one, row in NANO.items() if one.backend == "onnxruntime"}
    race = Recorded(few, Demand(p99_ms=1000), ap_scatter=1.0)
    assert race.chosen == candidate(320)
    number = race.scheduler.ranking()[0]
    reason = race.scheduler.reason(number, race.scheduler.ranking())
    assert reason.endswith("(0.286, yolox_nano 416x416 onnxruntime fp32, 2 threads)")


def test_a_demand_that_nothing_meets_has_a_nearest() -> None:
    race = Recorded(NANO, Demand(p99_ms=1))
    assert race.scheduler.ranking() == []
    near = race.scheduler.nearest()
    assert race.scheduler.candidates[near].height == 320
    assert race.scheduler.misses(near)[0].endswith("ms per picture, 1.0 demanded")
    race = Recorded(NANO, Demand(min_ap=0.9))
    assert race.scheduler.ranking() == []
    near = race.scheduler.nearest()
    assert race.scheduler.candidates[near].height == 416
    assert race.scheduler.misses(near) == ["AP 0.286, 0.9 demanded"]


def test_what_surely_misses_a_demand_is_dropped_early() -> None:
    race = Recorded(NANO, Demand(p99_ms=9.5))
    assert race.why(candidate(512)) == "its median alone takes more than 9.5 ms"
    # AP of what is too slow is never measured.
    measured = {race.scheduler.candidates[s.candidates[0]] for s in race.log if s.kind == "detect"}
    assert 512 not in {one.height for one in measured}
    race = Recorded(NANO, Demand(min_ap=0.28), ap_scatter=0.003)
    assert "is below 0.28" in race.why(candidate(320))
    assert [s.amount for s in race.log if s.kind == "detect"][-1] == PICTURES


def test_memory_and_failed_tests_exclude_from_the_choice() -> None:
    race = Recorded(NANO, Demand(p99_ms=1000, memory_mb=100))
    scheduler = race.scheduler
    first = scheduler.ranking()[0]
    scheduler.memory[first] = 200_000_000
    assert scheduler.misses(first) == ["200 MB, 100 demanded"]
    second = scheduler.ranking()[0]
    scheduler.rejected[second] = "LoadGen: INVALID"
    assert second not in scheduler.ranking()
    assert {first, second} <= set(scheduler.alive)


def test_ap_is_measured_on_a_growing_part_of_the_pictures() -> None:
    assert subsets(5000) == [625, 1250, 2500, 5000]
    assert subsets(206) == [25, 50, 100, 206]
    assert subsets(12) == [12]
    race = Recorded(NANO, Demand())
    amounts = [step.amount for step in race.log if step.kind == "detect"]
    assert amounts == sorted(amounts)
    assert len([a for a in amounts if a == 25]) > len([a for a in amounts if a == PICTURES])
