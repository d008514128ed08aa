"""Two stored runs of ``yolox-bench`` compared, with a verdict only if the numbers allow one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from yolox_deploy.benchmarks.machine.exchange import changes
from yolox_deploy.benchmarks.measure.loop import Series
from yolox_deploy.benchmarks.measure.statistics import (
    CONFIDENCE,
    FEWEST_BATCHES,
    Interval,
    batches,
    ratio_interval,
)
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.report.report import Report
from yolox_deploy.benchmarks.scenarios.base import Table
from yolox_deploy.benchmarks.scenarios.latency.scenario import LatencyResult
from yolox_deploy.errors import UsageError

# Two processes of the same program differ by this much (memory layout, neighbours on the machine),
# which the scatter within one run does not show.
MARGIN = 0.05
# An interval that begins within the margin and reaches this far may hide a real slowdown.
TOO_WIDE = 0.15
SAME_MACHINE = ("CPU", "cores")

Verdict = Literal["slower", "faster", "no difference", "cannot say"]
NO_VERDICT: Verdict = "cannot say"
Measured = tuple[SystemInfo, Series]


@dataclass(frozen=True)
class SpeedChange:
    """One system in two runs: the ratio of the medians, after / before, and its interval.

    ``note`` says why there is no verdict, if there is none.
    """

    label: str
    before_s: float
    after_s: float
    ratio: float
    interval: Interval
    verdict: Verdict
    note: str = ""

    def is_slower_than(self, factor: float) -> bool:
        """Whether it is surely slower, and by more than ``factor`` as measured."""
        return self.verdict == "slower" and self.ratio > factor


def verdict(interval: Interval, margin: float = MARGIN) -> Verdict:
    """Return the verdict that the interval of a ratio allows."""
    if interval.low > 1 + margin:
        return "slower"
    if interval.high < 1 / (1 + margin):
        return "faster"
    hidden = interval.high > 1 + TOO_WIDE or interval.low < 1 / (1 + TOO_WIDE)
    return NO_VERDICT if hidden or margin > TOO_WIDE else "no difference"


def margin_of(*reports: Report) -> float:
    """Return what equal runs may differ by, which grows with the processor time of others."""
    lost = max(report.environment.lost for report in reports)
    return (1 + MARGIN) / max(1 - lost, 1e-3) - 1


def compare(before: Report, after: Report) -> list[SpeedChange]:
    """Return the comparison of every system that both runs measured.

    Two systems are the same if they agree in model, backend, device, precision, batch and size.
    Raises :class:`UsageError` for other scenarios than latency, and if no system is in both runs.
    """
    first, second = _by_key(before), _by_key(after)
    margin, moved = margin_of(before, after), _moved(before, after)
    found = [_compared(first[key], second[key], margin, moved) for key in first if key in second]
    if not found:
        labels = [", ".join(s.label for s in report.systems[:4]) for report in (before, after)]
        raise UsageError(
            f"the runs have nothing in common: one measured {labels[0]}, the other {labels[1]}"
        )
    return found


def _moved(before: Report, after: Report) -> str:
    """Return how differently the processors exchanged data, nothing if alike or unknown."""
    first, second = (report.environment for report in (before, after))
    if any(first.machine.get(key) != second.machine.get(key) for key in SAME_MACHINE):
        return ""
    return changes((*first.exchange, *second.exchange))


def _compared(before: Measured, after: Measured, margin: float, moved: str) -> SpeedChange:
    """Return one system's comparison."""
    (system, old), (_, new) = before, after
    ratio, interval = ratio_interval((old.total, old.rounds), (new.total, new.rounds))
    found, note = verdict(interval, margin), ""
    if moved and any(s.device == "cpu" and s.threads != 1 for s, _ in (before, after)):
        note = f"{moved}: measure both again, or both with --threads 1, which does not depend on it"
    elif min(len(batches(s.total, s.rounds)) for s in (old, new)) < FEWEST_BATCHES:
        note = (
            f"a run has fewer than {FEWEST_BATCHES} independent rounds: measure it again with a "
            "longer --duration"
        )
    elif found == NO_VERDICT and margin > TOO_WIDE:
        note = (
            "other programs or machines had too much of the processors' time: measure again on a "
            "quiet machine"
        )
    elif found == NO_VERDICT:
        note = "the times scatter too much: measure both again with a longer --duration"
    word = NO_VERDICT if note else found
    return SpeedChange(system.label, old.median, new.median, ratio, interval, word, note)


def table(found: Sequence[SpeedChange], margin: float = MARGIN, *, full: bool = False) -> Table:
    """Return the comparisons as a table, the ``full`` one with the intervals."""
    cells = [
        {
            "end to end, median": c.label,
            "before ms": f"{c.before_s * 1e3:.2f}",
            "after ms": f"{c.after_s * 1e3:.2f}",
            "ratio": f"{c.ratio:.3f}",
            **({f"{CONFIDENCE:.0%} interval": _interval(c)} if full else {}),
            "verdict": c.verdict,
        }
        for c in found
    ]
    note = (
        f"Slower, faster: the ratio and its whole {CONFIDENCE:.0%} interval differ from 1 by more "
        f"than {margin:.0%}. Two runs of the same program may differ by that much "
        f"({MARGIN:.0%} on a quiet machine). No difference: the whole interval is within "
        f"{TOO_WIDE:.0%}."
    )
    if margin > TOO_WIDE:
        note = "Two such runs of the same program may differ by more than any verdict allows."
    return Table.of("Compared", cells, note)


def _interval(c: SpeedChange) -> str:
    return f"{c.interval.low:.3f} .. {c.interval.high:.3f}"


def without_verdict(found: Sequence[SpeedChange]) -> list[str]:
    """Return which systems have no verdict, one sentence for each reason."""
    labels: dict[str, list[str]] = {}
    for c in found:
        if c.note:
            labels.setdefault(c.note, []).append(c.label)
    return [f"no verdict on {', '.join(names)}: {reason}" for reason, names in labels.items()]


def remarks(before: Report, after: Report) -> list[str]:
    """Return what else differs between the runs, and why one of them is doubtful."""
    old, new = before.environment.machine, after.environment.machine
    lines = [
        f"{key}: {old.get(key, '-')} before, {new.get(key, '-')} after"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]
    second = _by_key(after)
    for key, (system, _) in _by_key(before).items():
        threads = second[key][0].threads if key in second else system.threads
        if system.threads != threads:
            lines.append(f"{system.label}: {system.threads} threads before, {threads} after")
    engines = [{(s.backend, s.engine_version) for s in r.systems} for r in (before, after)]
    for name, version in sorted(engines[1] - engines[0]):
        lines.append(f"{name} {version} was not in the run before")
    doubts = [report.environment.doubts for report in (before, after)]
    for text in dict.fromkeys((*doubts[0], *doubts[1])):
        which = [word for word, own in zip(("before", "after"), doubts, strict=True) if text in own]
        runs = "both runs are" if len(which) == 2 else f"the run {which[0]} is"
        lines.append(f"{runs} doubtful, because {text}")
    return lines


def _by_key(report: Report) -> dict[tuple[object, ...], Measured]:
    """Return systems and their times by what must agree; raises :class:`UsageError`."""
    result = report.result
    if not isinstance(result, LatencyResult):
        raise UsageError(f"compare takes two latency runs, one is of {report.scenario}")
    return {_key(s): (s, series) for s, series in result.each(report.systems)}


def _key(s: SystemInfo) -> tuple[object, ...]:
    model = (s.model, s.random_weights, s.height, s.width, s.batch)
    return (*model, s.backend, s.device, s.precision)
