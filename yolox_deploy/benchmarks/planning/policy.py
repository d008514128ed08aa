"""The policy of the race: what is measured next, what is dropped and why, and what is chosen.

Nothing is measured here, so every decision can be repeated from recorded numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from yolox_deploy.benchmarks.measure.loop import Series
from yolox_deploy.benchmarks.measure.statistics import Floats, of_rounds, paired_interval
from yolox_deploy.benchmarks.planning.candidates import Candidate, Demand
from yolox_deploy.benchmarks.report.compare import verdict
from yolox_deploy.data.matches import ends

# Rounds before the first candidate is dropped, between two subsets of the pictures, and in all.
FIRST_ROUNDS, MORE_ROUNDS, ALL_ROUNDS = 6, 3, 24
# From fewer calls a 99th percentile is no more than the slowest call.
FEWEST_CALLS = 100
# AP is measured on an eighth of the pictures first, but on no fewer than these; then on twice as
# many, and at last on all.
SHARE, FEWEST_PICTURES = 8, 24


class Step(NamedTuple):
    """What to measure: so many ``rounds`` of some candidates, or AP on the first ``pictures``."""

    kind: Literal["time", "detect"]
    candidates: tuple[int, ...]
    amount: int


class Score(NamedTuple):
    """AP on the first ``pictures``, and AP of each draw of them, see ``data/matches.py``."""

    pictures: int
    ap: float
    draws: Floats


class Scheduler:
    """Decides from what was measured; candidates are known by their place in the list.

    :meth:`steps` yields what to measure.  Whoever measures puts the results into ``series`` (all
    times of a candidate so far), ``scores`` (by ``Candidate.group``) and ``memory`` (bytes) before
    the next step is asked for.  ``dropped`` has the reason for each candidate that is out, and
    ``rejected`` for each that was measured to the end and then failed a test.
    """

    def __init__(self, candidates: Sequence[Candidate], pictures: int, demand: Demand) -> None:
        self.candidates = candidates
        self.pictures = pictures
        self.demand = demand
        self.series: dict[int, Series] = {}
        self.scores: dict[tuple[object, ...], Score] = {}
        self.memory: dict[int, int] = {}
        self.dropped: dict[int, str] = {}
        self.rejected: dict[int, str] = {}

    @property
    def alive(self) -> list[int]:
        """The candidates that are not dropped."""
        return [i for i in range(len(self.candidates)) if i not in self.dropped]

    def steps(self) -> Iterator[Step]:
        """Yield one step after another; candidates are dropped between them."""
        rounds = FIRST_ROUNDS
        yield Step("time", tuple(self.alive), rounds)
        self.drop()
        for count in subsets(self.pictures):
            for i in self.representatives():
                yield Step("detect", (i,), count)
            self.drop()
            if count < self.pictures and len(self.alive) > 1:
                yield Step("time", tuple(self.alive), MORE_ROUNDS)
                rounds += MORE_ROUNDS
                self.drop()
        calls = min(len(self.series[i].total) for i in self.alive)
        needed = math.ceil(rounds * FEWEST_CALLS / calls)
        yield Step("time", tuple(self.alive), max(max(ALL_ROUNDS, needed) - rounds, MORE_ROUNDS))
        self.drop()

    def representatives(self) -> list[int]:
        """Return the fastest candidate of each group whose AP can differ."""
        found: dict[tuple[object, ...], int] = {}
        for i in self.by_time(self.alive):
            found.setdefault(self.candidates[i].group, i)
        return list(found.values())

    def by_time(self, numbers: Sequence[int]) -> list[int]:
        """Return candidates from the fastest to the slowest, by their medians."""
        return sorted(numbers, key=lambda i: self.series[i].median)

    def score(self, i: int) -> Score | None:
        """Return the AP of a candidate's group, if it was measured."""
        return self.scores.get(self.candidates[i].group)

    def p99(self, i: int) -> float:
        """Return the 99th percentile of a candidate's seconds per picture."""
        return float(np.percentile(self.series[i].total, 99))

    # -- dropping ----------------------------------------------------------------------------------

    def drop(self) -> None:
        """Drop what is surely slower at no better AP, and what surely misses a demand."""
        limit, least = self.demand.seconds, self.demand.min_ap
        if limit is not None:
            self._drop_unless_all(lambda i: self._too_slow(i, limit))
        if least is not None:
            self._drop_unless_all(lambda i: self._too_inaccurate(i, least))
        for i in reversed(self.by_time(self.alive)):
            for j in self.by_time(self.alive):
                if i != j and self.no_better(i, j) and (ratio := self.surely_slower(i, j)):
                    self.dropped[i] = (
                        f"takes {ratio:.2f} times as long as {self.candidates[j]}, "
                        + self._words_of_ap(i, j)
                    )
                    break

    def _drop_unless_all(self, reason: Callable[[int], str]) -> None:
        """Drop candidates that have a reason; if all have one, the nearest is still looked for."""
        found = {i: text for i in self.alive if (text := reason(i))}
        if len(found) < len(self.alive):
            self.dropped |= found

    def _too_slow(self, i: int, limit: float) -> str:
        low = paired_interval([*self._medians(i).values()]).low
        return f"its median alone takes more than {limit * 1e3:.1f} ms" if low > limit else ""

    def _too_inaccurate(self, i: int, least: float) -> str:
        score = self.score(i)
        if score is None or (ends(score.draws)[1] if self._partial(score) else score.ap) >= least:
            return ""
        return f"AP {score.ap:.3f} on {score.pictures} pictures is below {least:g}"

    def _partial(self, score: Score) -> bool:
        return score.pictures < self.pictures

    def no_better(self, i: int, j: int) -> bool:
        """Whether the AP of ``i`` is not better than that of ``j``, as far as can be known.

        On a part of the pictures it must be surely lower; on all of them AP is what it is.
        """
        if self.candidates[i].group == self.candidates[j].group:
            return True
        a, b = self.score(i), self.score(j)
        if a is None or b is None or a.pictures != b.pictures:
            return False
        return ends(a.draws - b.draws)[1] < 0 if self._partial(a) else a.ap <= b.ap

    def surely_slower(self, i: int, j: int) -> float | None:
        """Return how many times as long ``i`` takes as ``j``, ``None`` if it is not surely more."""
        mine, other = self._medians(i), self._medians(j)
        ratios = [mine[number] / other[number] for number in mine.keys() & other.keys()]
        slower = verdict(paired_interval(ratios)) == "slower"
        return float(np.median(ratios)) if slower else None

    def _medians(self, i: int) -> dict[int, float]:
        return of_rounds(self.series[i].total, self.series[i].rounds)

    def _words_of_ap(self, i: int, j: int) -> str:
        a, b = self.score(i), self.score(j)
        if self.candidates[i].group == self.candidates[j].group or a is None or b is None:
            return "with the same AP"
        part = f" on {a.pictures} pictures" if self._partial(a) else ""
        return f"with AP {a.ap:.3f} instead of {b.ap:.3f}{part}"

    # -- choosing ----------------------------------------------------------------------------------

    def front(self) -> list[int]:
        """Return the candidates that no other one beats in both p99 and AP, fastest first."""
        found: list[int] = []
        for i in sorted(self.alive, key=lambda i: (self.p99(i), -self.ap(i))):
            if not found or self.ap(i) > self.ap(found[-1]):
                found.append(i)
        return found

    def ap(self, i: int) -> float:
        """Return the AP of a candidate, 0 if it is not known."""
        score = self.score(i)
        return score.ap if score else 0.0

    def misses(self, i: int) -> list[str]:
        """Return each demand that a candidate does not meet, and the test that it failed."""
        demand, limit = self.demand, self.demand.seconds
        found = [self.rejected[i]] if i in self.rejected else []
        if limit is not None and self.p99(i) > limit:
            found.append(f"p99 {self.p99(i) * 1e3:.1f} ms per picture, {limit * 1e3:.1f} demanded")
        if demand.min_ap is not None and self.ap(i) < demand.min_ap:
            found.append(f"AP {self.ap(i):.3f}, {demand.min_ap:g} demanded")
        if demand.memory_mb is not None and self.memory.get(i, 0) / 1e6 > demand.memory_mb:
            found.append(f"{self.memory[i] / 1e6:.0f} MB, {demand.memory_mb:g} demanded")
        return found

    def equal_ap(self, i: int, j: int) -> bool:
        """Whether the pictures cannot tell the AP of ``i`` from the higher one of ``j``."""
        a, b = self.score(i), self.score(j)
        if a is None or b is None:
            return False
        return self.no_better(j, i) or ends(a.draws - b.draws)[1] >= 0

    def ranking(self) -> list[int]:
        """Return the candidates that meet the demands, what to take first.

        If only AP is demanded, the fastest comes first.  Otherwise it is the fastest of those whose
        AP cannot be told from the highest, and then the others by their AP.
        """
        able = sorted((i for i in self.alive if not self.misses(i)), key=self.p99)
        if not able or (self.demand.min_ap is not None and self.demand.p99_ms is None):
            return able
        best = max(able, key=self.ap)
        first = [i for i in able if self.equal_ap(i, best)]
        rest = sorted((i for i in able if i not in first), key=self.ap, reverse=True)
        return [*first, *rest]

    def equals(self, i: int) -> list[int]:
        """Return the other candidates that are as good as ``i``, as far as can be told."""
        others = (j for j in self.alive if j != i and not self.misses(j))
        return [
            j
            for j in others
            if self.surely_slower(j, i) is None
            and (self.equal_ap(j, i) if self.ap(j) < self.ap(i) else True)
        ]

    def nearest(self) -> int:
        """Return the candidate that misses the demands by least, in proportion."""
        demand, limit = self.demand, self.demand.seconds

        def miss(i: int) -> float:
            shares = [self.p99(i) / limit if limit else 0.0]
            if demand.min_ap:
                shares.append(demand.min_ap / max(self.ap(i), 1e-6))
            if demand.memory_mb:
                shares.append(self.memory.get(i, 0) / 1e6 / demand.memory_mb)
            return max(shares)

        return min(self.alive, key=miss)

    def reason(self, i: int, order: Sequence[int]) -> str:
        """Return why ``i`` is recommended, ``order`` being the ranking."""
        best = max(order, key=self.ap)
        among = "" if self.demand == Demand() else " of those that meet the demands"
        if self.demand.min_ap is not None and self.demand.p99_ms is None:
            return f"it has the lowest p99{among}"
        if self.ap(best) <= self.ap(i) or not self.equal_ap(i, best):
            return f"it has the highest AP{among}"
        return (
            f"it has the lowest p99 of those whose AP {self.pictures} pictures cannot tell from "
            f"the highest ({self.ap(best):.3f}, {self.candidates[best]})"
        )


def subsets(pictures: int) -> list[int]:
    """Return on how many pictures AP is measured, one after the other.

    >>> subsets(206), subsets(12)
    ([25, 50, 100, 206], [12])
    """
    count, found = max(pictures // SHARE, FEWEST_PICTURES), []
    while 2 * count <= pictures:
        found.append(count)
        count *= 2
    return [*found, pictures]
