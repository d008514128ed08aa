"""Medians and percentiles of a series of times, with confidence intervals that allow for drift.

The speed of a machine drifts, so neighbouring times are similar, and the usual confidence interval
of a median would be far too narrow.  Here times are grouped by rounds, rounds are merged until
neighbours no longer correlate (batch means, Law, "Simulation Modeling and Analysis"), and whole
batches are resampled (bootstrap, by SciPy).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.benchmarks.needs import require

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 999
# From fewer batches their scatter cannot be estimated.
FEWEST_BATCHES = 10
SEED = 0


class Interval(NamedTuple):
    """The ends of a confidence interval of :data:`CONFIDENCE`."""

    low: float
    high: float


class Summary(NamedTuple):
    """The figures of one series, in its own unit; ``cv`` is ``sd`` divided by the mean."""

    minimum: float
    p50: float
    p90: float
    p95: float
    p99: float
    maximum: float
    mean: float
    sd: float
    cv: float


def summarize(values: Floats) -> Summary:
    """Return the figures of a series of at least one value, none of them left out."""
    least, p50, p90, p95, p99, most = map(float, np.percentile(values, (0, 50, 90, 95, 99, 100)))
    mean = float(values.mean())
    sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return Summary(least, p50, p90, p95, p99, most, mean, sd, sd / mean if mean else 0.0)


def batches(values: Floats, rounds: Integers) -> list[Floats]:
    """Return ``values`` in batches whose medians no longer correlate with their neighbours'.

    ``rounds`` (n,) says in which round each value was measured, in order.  Batches begin as rounds
    and are merged in pairs; at least :data:`FEWEST_BATCHES` remain, or as many as there are rounds.
    """
    parts = np.split(values, np.flatnonzero(np.diff(rounds)) + 1)
    while len(parts) >= 2 * FEWEST_BATCHES and _correlated([float(np.median(p)) for p in parts]):
        pairs = [np.concatenate(parts[i : i + 2]) for i in range(0, len(parts) - 1, 2)]
        if len(parts) % 2:
            pairs[-1] = np.concatenate((pairs[-1], parts[-1]))
        parts = pairs
    return parts


def _correlated(medians: Sequence[float]) -> bool:
    """Whether the autocorrelation at lag 1 is more than chance gives white noise."""
    series = np.asarray(medians)
    # Ranks, so that one spike does not hide the rest.
    ranks = series.argsort().argsort() - (len(series) - 1) / 2
    lag = float((ranks[:-1] * ranks[1:]).sum() / (ranks**2).sum())
    return bool(lag > 1.645 / np.sqrt(len(series)))


def median_interval(values: Floats, rounds: Integers) -> Interval:
    """Return the confidence interval of the median."""
    return percentile_interval(values, rounds, 50)


def percentile_interval(values: Floats, rounds: Integers, percent: float) -> Interval:
    """Return the confidence interval of a percentile."""
    return _bootstrap([batches(values, rounds)], lambda found: found[0], percent)


def ratio_interval(
    before: tuple[Floats, Integers], after: tuple[Floats, Integers]
) -> tuple[float, Interval]:
    """Return the ratio of two medians, after / before, and its confidence interval.

    Each is (values, rounds).
    """
    ratio = float(np.median(after[0]) / np.median(before[0]))
    groups = [batches(*before), batches(*after)]
    return ratio, _bootstrap(groups, lambda medians: medians[1] / medians[0])


def of_rounds(values: Floats, rounds: Integers) -> dict[int, float]:
    """Return the median of each round, by its number."""
    starts = np.flatnonzero(np.diff(rounds, prepend=-1))
    parts = np.split(values, starts[1:])
    return {int(rounds[i]): float(np.median(p)) for i, p in zip(starts, parts, strict=True)}


def paired_interval(values: Sequence[float]) -> Interval:
    """Return the interval of the median of one figure per round, for example of paired ratios.

    Systems that take turns drift alike, so the ratio of two of them in one round does not.  The
    ends are order statistics (binomial), so it holds whatever the figures are distributed like;
    from fewer than six figures nothing follows.
    """
    place = int(require_scipy_stats().binom.ppf((1 - CONFIDENCE) / 2, len(values), 0.5))
    if not place:
        return Interval(-np.inf, np.inf)
    ordered = sorted(values)
    return Interval(ordered[place - 1], ordered[-place])


def _bootstrap(groups: list[list[Floats]], figure: Any, percent: float = 50) -> Interval:
    """Return the interval of a figure of each group's percentile, resampling batches in each."""
    if min(map(len, groups)) < 2:
        values = figure([float(np.percentile(np.concatenate(group), percent)) for group in groups])
        return Interval(values, values)
    stats = require_scipy_stats()

    def statistic(*chosen: Integers) -> float:
        found = [
            float(np.percentile(np.concatenate([group[i] for i in picked]), percent))
            for group, picked in zip(groups, chosen, strict=True)
        ]
        return float(figure(found))

    found = stats.bootstrap(
        tuple(np.arange(len(group)) for group in groups),
        statistic,
        n_resamples=RESAMPLES,
        vectorized=False,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def require_scipy_stats() -> Any:
    """Return ``scipy.stats``; raises :class:`MissingPackageError`."""
    return require("scipy.stats", "confidence intervals are computed by SciPy")
