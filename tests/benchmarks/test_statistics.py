"""Intervals and verdicts on series whose truth is known, with the drift of a real machine."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from yolox_deploy.benchmarks.measure.statistics import (
    FEWEST_BATCHES,
    Interval,
    batches,
    median_interval,
    of_rounds,
    paired_interval,
    percentile_interval,
    ratio_interval,
    summarize,
)
from yolox_deploy.benchmarks.report.compare import SpeedChange, margin_of, verdict
from yolox_deploy.errors import MissingPackageError

pytest.importorskip("scipy")

TRUE_MEDIAN = 5.0


def drifting(seed: int, drift: float = 0.02, rounds: int = 40, calls: int = 25) -> Any:
    """Milliseconds whose level wanders from round to round (AR(1)) about the true median."""
    random = np.random.default_rng(seed)
    level, levels = random.normal(), []
    for _ in range(rounds):
        level = 0.7 * level + np.sqrt(1 - 0.7**2) * random.normal()
        levels.append(level)
    noise = random.lognormal(0, 0.05, (rounds, calls))
    values = TRUE_MEDIAN * np.exp(drift * np.array(levels))[:, None] * noise
    return values.ravel(), np.arange(rounds).repeat(calls)


def test_figures_are_those_of_the_whole_series() -> None:
    values = np.arange(1, 101, dtype=float)
    values[17] = 5000  # an outlier is a measurement
    found = summarize(values)
    assert (found.minimum, found.maximum) == (1, 5000)
    assert found.mean == pytest.approx(values.sum() / 100)
    assert found.p50 == pytest.approx(51.5)
    assert found.p90 == pytest.approx(np.percentile(values, 90))
    assert found.sd == pytest.approx(np.sqrt(((values - values.mean()) ** 2).sum() / 99))
    assert found.cv == pytest.approx(found.sd / found.mean)


def test_one_value_has_no_spread() -> None:
    found = summarize(np.array([3.0]))
    assert (found.p50, found.p99, found.sd, found.cv) == (3, 3, 0, 0)
    assert median_interval(np.array([3.0]), np.array([0])) == (3, 3)


def test_intervals_hold_the_truth_in_spite_of_drift() -> None:
    covered = naive = 0
    for seed in range(40):
        values, rounds = drifting(seed)
        low, high = median_interval(values, rounds)
        covered += low <= TRUE_MEDIAN <= high
        # What assumes independent calls: the median's standard error of a normal sample.
        half = 1.96 * 1.2533 * values.std() / np.sqrt(len(values))
        naive += abs(np.median(values) - TRUE_MEDIAN) <= half
    assert covered >= 31
    assert naive < covered - 8


def test_paired_ratios_hold_the_truth_however_they_scatter() -> None:
    random = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        low, high = paired_interval((1.3 * random.lognormal(0, 0.8, 6)).tolist())
        held += low <= 1.3 <= high
    assert held > 0.93 * 400
    assert paired_interval([2, 1, 3, 4, 6, 5]) == Interval(1, 6)
    assert paired_interval([*range(24)]) == Interval(6, 17)
    assert paired_interval([1, 1, 1]) == Interval(-np.inf, np.inf)


def test_figures_of_rounds_and_of_percentiles() -> None:
    assert of_rounds(np.array([1.0, 3, 2, 9]), np.array([4, 4, 4, 7])) == {4: 2.0, 7: 9.0}
    values, rounds = drifting(1)
    low, high = percentile_interval(values, rounds, 99)
    assert low <= np.percentile(values, 99) <= high
    assert low > median_interval(values, rounds).high


def test_independent_rounds_stay_and_wandering_ones_are_merged() -> None:
    random = np.random.default_rng(3)
    rounds = np.arange(40).repeat(5)
    assert len(batches(random.normal(5, 0.1, 200), rounds)) == 40
    wandering = np.cumsum(random.normal(0, 1, 40)).repeat(5) + random.normal(0, 0.01, 200)
    merged = batches(wandering, rounds)
    assert FEWEST_BATCHES <= len(merged) < 20
    assert np.array_equal(np.concatenate(merged), wandering)


def test_an_interval_is_the_same_every_time() -> None:
    assert median_interval(*drifting(1)) == median_interval(*drifting(1))


def test_without_scipy_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingPackageError, match=r"\[bench\]"):
        median_interval(*drifting(1))


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(1.0, "no difference"), (1.15, "slower"), (1 / 1.15, "faster")],
)
def test_verdicts_are_right_in_nine_of_ten_pairs(factor: float, expected: str) -> None:
    right = 0
    for pair in range(10):
        before, (after, rounds) = drifting(100 + pair), drifting(200 + pair)
        _, interval = ratio_interval(before, (after * factor, rounds))
        right += verdict(interval) == expected
    assert right >= 9


def test_a_ratio_is_after_divided_by_before() -> None:
    values, rounds = drifting(7)
    ratio, interval = ratio_interval((values, rounds), (values * 2, rounds))
    assert ratio == pytest.approx(2)
    assert interval.low < 2 < interval.high


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.10, 1.20, "slower"),
        (0.80, 0.90, "faster"),
        (0.97, 1.04, "no difference"),
        (1.02, 1.09, "no difference"),
        (1.04, 1.26, "cannot say"),
        (0.80, 1.25, "cannot say"),
        (0.80, 1.00, "cannot say"),
    ],
)
def test_a_verdict_needs_the_whole_interval(low: float, high: float, expected: str) -> None:
    assert verdict(Interval(low, high)) == expected


def test_a_share_that_others_had_allows_no_verdict_below_it() -> None:
    def report(lost: float) -> Any:
        return SimpleNamespace(environment=SimpleNamespace(lost=lost))

    assert margin_of(report(0), report(0)) == pytest.approx(0.05)
    margin = margin_of(report(0), report(0.3))
    assert margin == pytest.approx(0.5)
    assert verdict(Interval(1.2, 1.3), margin) == "cannot say"
    assert verdict(Interval(0.99, 1.01), margin) == "cannot say"
    assert verdict(Interval(1.6, 1.7), margin) == "slower"


def test_the_limit_of_ci_needs_certainty_and_size() -> None:
    def compared(ratio: float, word: Any) -> SpeedChange:
        return SpeedChange("x", 1, ratio, ratio, Interval(ratio - 0.01, ratio + 0.01), word)

    assert compared(1.15, "slower").is_slower_than(1.10)
    assert not compared(1.08, "slower").is_slower_than(1.10)
    assert not compared(1.15, "cannot say").is_slower_than(1.10)
