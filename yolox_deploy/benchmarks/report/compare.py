"""Two runs of ``yolox-bench`` against each other, with a verdict only where they allow one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from yolox_deploy.benchmarks.machine.exchange import CHANGING, fastest, levels
from yolox_deploy.benchmarks.scenarios.latency.scenario import LatencyResult
from yolox_deploy.benchmarks.measure.loop import Series
from yolox_deploy.benchmarks.report.report import Report
from yolox_deploy.benchmarks.scenarios.base import Table
from yolox_deploy.benchmarks.measure.statistics import (
    CONFIDENCE,
    FEWEST_BATCHES,
    Floats,
    Integers,
    Interval,
    ratio_interval,
)
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.errors import UsageError

# What two processes of the same program differ by (memory layout, neighbours on the machine),
# which the scatter within one run does not show.
MARGIN = 0.05
# An interval that begins within the margin and reaches this far hides what all would call slower.
TOO_WIDE = 0.15

# Half a step of exchange.levels.
CHANGED = 2**0.5
SAME_MACHINE = ("CPU", "cores")

Verdict = Literal["slower", "faster", "no difference", "too noisy to say"]


@dataclass(frozen=True)
class Comparison:
    """One system in two runs: the ratio of the medians, after / before, and its interval.

    ``note`` says which rounds were compared, or why there is no verdict, where that needs saying.
    """

    label: str
    before_s: float
    after_s: float
    ratio: float
    interval: Interval
    verdict: Verdict
    note: str = ""

    def is_slower_than(self, factor: float) -> bool:
        """Whether it is surely slower at all, and by more than ``factor`` as measured."""
        return self.verdict == "slower" and self.ratio > factor


def verdict(interval: Interval, margin: float = MARGIN) -> Verdict:
    """Return what the interval of a ratio allows to say."""
    if interval.low > 1 + margin:
        return "slower"
    if interval.high < 1 / (1 + margin):
        return "faster"
    hidden = interval.high > 1 + TOO_WIDE or interval.low < 1 / (1 + TOO_WIDE)
    return "too noisy to say" if hidden or margin > TOO_WIDE else "no difference"


def margin_of(*reports: Report) -> float:
    """Return what equal runs may differ by: whoever has a share of the processors slows by it."""
    lost = max(report.environment.lost for report in reports)
    return (1 + MARGIN) / max(1 - lost, 1e-3) - 1


def compare(before: Report, after: Report) -> list[Comparison]:
    """Return the comparison of every system that both runs measured.

    Systems belong together that agree in model, backend, device, precision, batch and size.  What
    runs on several processors is compared over the rounds in which these exchanged data equally
    fast, where both runs have enough of them; where they have not there is no verdict.  Raises
    :class:`UsageError` for other scenarios than latency and where nothing belongs together.
    """
    for report in (before, after):
        if not isinstance(report.result, LatencyResult):
            raise UsageError(f"compare takes two latency runs, one is of {report.scenario}")
    first, second = _by_key(before), _by_key(after)
    margin = margin_of(before, after)
    shared = Shared.of(before, after)
    found = [
        _compared((system, second[key][0]), (old, second[key][1]), shared, margin)
        for key, (system, old) in first.items()
        if key in second
    ]
    if not found:
        raise UsageError(
            f"the runs have nothing in common: one measured {_labels(before)}, the other "
            f"{_labels(after)}"
        )
    return found


@dataclass(frozen=True)
class Shared:
    """The rounds of two runs in which the processors exchanged data equally fast.

    ``rounds`` are those of the state that both saw most of, ``None`` where they saw too little of
    any; ``slower`` is how many times as slow the exchange was, after / before.
    """

    rounds: tuple[Integers, Integers] | None
    slower: float

    @classmethod
    def of(cls, before: Report, after: Report) -> Shared | None:
        """Return them, ``None`` where one state was all there was or nothing is known.

        Two machines are not two states of one.
        """
        machines = [report.environment.machine for report in (before, after)]
        if any(machines[0].get(key) != machines[1].get(key) for key in SAME_MACHINE):
            return None
        seconds = [_latency(report).exchange for report in (before, after)]
        if not all(seconds):
            return None
        states = [levels(times, fastest(*seconds)) for times in seconds]
        present = set(np.concatenate(states).tolist())
        if len(present) == 1 and CHANGING not in present:
            return None
        slower = float(np.median(seconds[1]) / np.median(seconds[0]))

        def rounds_seen(state: int) -> int:
            return min(int((one == state).sum()) for one in states)

        best = max(present - {CHANGING}, key=rounds_seen, default=CHANGING)
        if best == CHANGING or rounds_seen(best) < FEWEST_BATCHES:
            return cls(None, slower)
        return cls((np.flatnonzero(states[0] == best), np.flatnonzero(states[1] == best)), slower)

    def describe(self, old: Series, new: Series) -> str:
        """Return which rounds are compared, or why none are."""
        if self.rounds is None:
            if self.slower > CHANGED:
                seen = f"{self.slower:.1f} times as slowly after"
            elif self.slower < 1 / CHANGED:
                seen = f"{1 / self.slower:.1f} times as slowly before"
            else:
                seen = "faster at times than at others"
            return (
                f"the processors exchanged data {seen}, as when the host of a virtual machine "
                f"moves them, and fewer than {FEWEST_BATCHES} rounds of both runs are alike: "
                "measure both again, or both with --threads 1, which does not depend on it"
            )
        before, after = (
            f"{len(chosen)} of {len(np.unique(series.rounds))} rounds"
            for chosen, series in zip(self.rounds, (old, new), strict=True)
        )
        return (
            f"compared where the processors exchanged data equally fast, in {before} before and "
            f"{after} after"
        )


def _compared(
    systems: tuple[SystemInfo, SystemInfo],
    series: tuple[Series, Series],
    shared: Shared | None,
    margin: float,
) -> Comparison:
    """Return one system's comparison."""
    system, (old, new) = systems[0], series
    note, comparable = "", True
    if shared and any(s.device == "cpu" and s.threads != 1 for s in systems):
        comparable = shared.rounds is not None
        note = shared.describe(old, new)
        if shared.rounds is not None:
            old, new = old.within(shared.rounds[0]), new.within(shared.rounds[1])
    ratio, interval = ratio_interval(_timed(old), _timed(new))
    return Comparison(
        system.label,
        float(np.median(old.total)),
        float(np.median(new.total)),
        ratio,
        interval,
        verdict(interval, margin) if comparable else "too noisy to say",
        note,
    )


def _timed(series: Series) -> tuple[Floats, Integers]:
    return series.total, series.rounds


def table(comparisons: Sequence[Comparison], margin: float = MARGIN) -> Table:
    """Return the comparisons as a table."""
    rows = [
        [
            c.label,
            f"{c.before_s * 1e3:.2f}",
            f"{c.after_s * 1e3:.2f}",
            f"{c.ratio:.3f}",
            f"{c.interval.low:.3f} .. {c.interval.high:.3f}",
            c.verdict,
        ]
        for c in comparisons
    ]
    headers = (
        *("end to end, median", "before ms", "after ms", "after / before"),
        *(f"{CONFIDENCE:.0%} interval", "verdict"),
    )
    note = (
        f"Slower or faster: the whole interval lies beyond {margin:.0%}, what equal runs may "
        f"differ by ({MARGIN:.0%}, and the share of the processors that others had). No "
        f"difference: it does not, and excludes {TOO_WIDE:.0%}."
    )
    return Table("Compared", headers, rows, note)


def remarks(before: Report, after: Report, comparisons: Sequence[Comparison]) -> list[str]:
    """Return what else differs between the runs, and what was compared."""
    old, new = before.environment.machine, after.environment.machine
    found = [
        f"{key}: {old.get(key, '-')} before, {new.get(key, '-')} after"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]
    first, second = _by_key(before), _by_key(after)
    for key, (system, _) in first.items():
        threads = system.threads, second[key][0].threads if key in second else system.threads
        if threads[0] != threads[1]:
            found.append(f"{system.label}: {threads[0]} threads before, {threads[1]} after")
    engines = [
        {(s.backend, s.engine_version) for s in report.systems} for report in (before, after)
    ]
    for name, version in sorted(engines[1] - engines[0]):
        found.append(f"{name} {version} is new")
    found += dict.fromkeys(c.note for c in comparisons if c.note)
    for word, report in (("before", before), ("after", after)):
        found += [f"the run {word} is doubtful, because {t}" for t in report.environment.doubts]
    return found


def _by_key(report: Report) -> dict[tuple[object, ...], tuple[SystemInfo, Series]]:
    result = _latency(report)
    return {_key(s): (s, series) for s, series in zip(report.systems, result.series, strict=True)}


def _latency(report: Report) -> LatencyResult:
    assert isinstance(report.result, LatencyResult)
    return report.result


def _labels(report: Report) -> str:
    return ", ".join(system.label for system in report.systems[:4])


def _key(s: SystemInfo) -> tuple[object, ...]:
    model = (s.model, s.random_weights, s.height, s.width, s.batch)
    return (*model, s.backend, s.device, s.precision)
