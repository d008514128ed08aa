"""Streams, schedules and pairing against hand-made cases and an exhaustive search."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from yolox_deploy.benchmarks.scenarios.streaming.streams import (
    SCHEDULES,
    ShrinkingTail,
    Stream,
    WallClock,
    draws,
    naive,
    run_stream,
    shown_entries,
    simulate,
)
from yolox_deploy.data.ap import average_precision, entries_as_truth

RATIOS = sorted({Fraction(p, q) for q in range(1, 9) for p in range(1, 4 * q)})


def always(runtime: float) -> Callable[[], float]:
    return lambda: runtime


def shown_frames(stream: Stream) -> list[int | None]:
    """The frame that is seen at each frame's time."""
    return [int(stream.frames[i]) if i >= 0 else None for i in stream.shown]


@pytest.mark.parametrize(
    ("runtime", "schedule", "expected"),
    [
        (0, "naive", [0, 1, 2, 3, 4, 5]),
        (0.5, "naive", [None, 0, 1, 2, 3, 4]),
        (1, "naive", [None, 0, 1, 2, 3, 4]),
        # 0 to 1.5, frame 1 from 1.5 to 3, frame 3 from 3 to 4.5, frame 4 to 6.
        (1.5, "naive", [None, None, 0, 1, 1, 3, 4]),
        (1.5, "dynamic", [None, None, 0, 1, 1, 3, 4]),
        # Naive: 0-1.75, 1-3.5, 3-5.25; dynamic waits at 1.75 for frame 2: 2-3.75, 4-5.75.
        (1.75, "naive", [None, None, 0, 0, 1, 1, 3]),
        (1.75, "dynamic", [None, None, 0, 0, 2, 2, 4]),
        (2, "naive", [None, None, 0, 0, 2, 2, 4]),
        (math.inf, "naive", [None, None, None]),
        (math.inf, "dynamic", [None, None, None]),
    ],
)
def test_what_is_shown_at_each_frame(
    runtime: float, schedule: str, expected: list[int | None]
) -> None:
    stream = simulate(len(expected), always(runtime), SCHEDULES[schedule](runtime))
    assert shown_frames(stream) == expected
    lags = [t - frame for t, frame in enumerate(expected) if frame is not None]
    assert list(stream.lags) == lags
    assert stream.missed == expected.count(None)
    assert stream.in_time == sum(lag <= 1 for lag in lags)
    assert stream.mean_lag == (
        pytest.approx(np.mean(lags)) if lags else pytest.approx(np.nan, nan_ok=True)
    )


def lag_of_best_schedule(runtime: Fraction, count: int) -> int:
    """Sum of lags under the best of all choices between starting and waiting, by search."""

    @cache
    def best(now: Fraction, last: int, shown: int) -> int:
        """Cost of all comparisons after ``now``, at which the detector is free."""
        if now >= count:
            return 0
        newest = math.floor(now)

        def cost(until: Fraction) -> int:
            times = range(newest + 1, min(math.ceil(until), count))
            return sum(t - shown for t in times)

        arrival = Fraction(newest + 1)
        wait = cost(arrival) + (newest + 1 - shown) * (newest + 1 < count)
        choices = [wait + best(arrival, last, shown)]
        if newest != last:
            end = now + runtime
            at_end = int(end) - newest if end.denominator == 1 and end < count else 0
            choices.append(cost(end) + at_end + best(end, newest, newest))
        return min(choices)

    first = int(runtime) if runtime.denominator == 1 and runtime < count else 0
    return first + best(runtime, 0, 0)


@pytest.mark.parametrize("runtime", RATIOS, ids=str)
def test_the_dynamic_schedule_is_the_best_of_all(runtime: Fraction) -> None:
    def total(schedule: Any) -> int:
        return int(simulate_exactly(runtime, 24, schedule).lags.sum())

    found = total(ShrinkingTail(runtime))  # type: ignore[arg-type]
    assert found == lag_of_best_schedule(runtime, 24)
    assert found <= total(naive)
    if runtime == Fraction(5, 3):
        assert found < total(naive)


def simulate_exactly(runtime: Fraction, count: int, schedule: Any) -> Stream:
    """Like ``simulate``, in fractions."""
    clock: Any = type("Exact", (), {"time": Fraction(0)})()
    clock.now = lambda: clock.time
    clock.wait_until = lambda time: setattr(clock, "time", max(clock.time, Fraction(time)))
    return run_stream(
        lambda frame: setattr(clock, "time", clock.time + runtime), count, clock, schedule
    )


@pytest.mark.parametrize("runtime", [1.05, 1.3, 1.55, 1.6, 1.9, 2.55, 2.7])
def test_the_dynamic_schedule_lags_no_more_in_the_long_run(runtime: float) -> None:
    streams = [simulate(2000, always(runtime), make(runtime)) for make in SCHEDULES.values()]
    assert streams[1].mean_lag <= streams[0].mean_lag
    if runtime % 1 > 0.5:
        assert streams[1].mean_lag < streams[0].mean_lag - 0.02


# --- the score -----------------------------------------------------------------------------------

IDS = [10 + i for i in range(12)]
CATEGORIES = {3: "a", 7: "b"}


def moving(frame: int) -> list[dict[str, Any]]:
    """Two objects of 20 pixels that move 5 and 1 pixels a frame."""
    return [
        {"image_id": IDS[frame], "category_id": c, "bbox": [x, 9.0, 20.0, 20.0], "score": 0.9}
        for c, x in ((3, 5.0 * frame), (7, 100.0 + frame))
    ]


TRUTH = entries_as_truth([e for f in range(len(IDS)) for e in moving(f)], IDS, CATEGORIES)


def ap(stream: Stream) -> float:
    shown = shown_entries(stream, IDS, lambda output, age: moving(int(stream.frames[output])))
    return average_precision(TRUTH, shown).ap


def shifted_ap(frames: int) -> float:
    """AP of every frame's detections moved to a later frame, counted without a stream."""
    entries = [
        {**entry, "image_id": IDS[frame + frames]}
        for frame in range(len(IDS) - frames)
        for entry in moving(frame)
    ]
    return average_precision(TRUTH, entries).ap


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_score_of_zero_one_frame_and_endless_latency(schedule: str) -> None:
    pytest.importorskip("pycocotools")

    def score(runtime: float) -> float:
        return ap(simulate(len(IDS), always(runtime), SCHEDULES[schedule](runtime)))

    assert score(0) == pytest.approx(1)
    assert score(1) == score(0.4) == shifted_ap(1)
    assert score(2) == pytest.approx(shifted_ap(2), abs=0.1)
    assert 0.1 < shifted_ap(1) < 0.9
    assert score(math.inf) == 0


def test_dynamic_scores_no_less_where_the_tail_shrinks() -> None:
    pytest.importorskip("pycocotools")
    for runtime in (1.05, 1.2, 1.35, 1.5, 1.51, 1.7, 1.9, 1.99):
        scores = [ap(simulate(len(IDS), always(runtime), m(runtime))) for m in SCHEDULES.values()]
        assert scores[1] >= scores[0]


# --- clocks and samples --------------------------------------------------------------------------


def test_the_wall_clock_paces_a_stream() -> None:
    seen: list[int] = []
    stream = run_stream(seen.append, 20, WallClock(40))
    assert seen == sorted(set(seen))
    assert list(stream.frames) == seen
    assert (stream.finished >= stream.frames).all()
    assert stream.finished[-1] >= 19


def test_draws_are_seeded_and_from_the_sample() -> None:
    runtimes = np.array([0.5, 1.0, 2.0])
    first, again, other = (draws(runtimes, seed) for seed in (3, 3, 4))
    drawn = [first() for _ in range(60)]
    assert drawn == [again() for _ in range(60)]
    assert drawn != [other() for _ in range(60)]
    assert set(drawn) == {0.5, 1.0, 2.0}


def test_entries_are_told_the_age_of_their_frame() -> None:
    stream = simulate(6, always(1.5))
    ages = [
        (entry["output"], entry["age"])
        for entry in shown_entries(
            stream, range(6), lambda output, age: [{"output": output, "age": age}]
        )
    ]
    # Frame 0 stands at times 2 and ends at 1.5, frame 1 at 3 and 4, frame 3 at 5.
    assert ages == [(0, 2), (1, 2), (1, 3), (2, 2)]
