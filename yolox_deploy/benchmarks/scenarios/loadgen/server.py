"""MLPerf's server scenario: random arrivals, and the search for the highest rate that holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yolox_deploy.benchmarks.scenarios.loadgen.result import Trial
from yolox_deploy.benchmarks.scenarios.loadgen.runner import Runner, Tested, Traffic
from yolox_deploy.errors import UsageError

# Bisections of the search for the highest rate, and attempts to confirm the rate that it found.
SEARCH_STEPS = 6
CONFIRMATIONS = 5
STEP_DOWN = 0.95
# A rate this many times as high as the system's own is refused without a test.
HOPELESS = 1.5


class Server(Traffic):
    """Queries arrive at random (Poisson), at the asked rate or at the highest that holds."""

    name = "Server"
    percent = 99.0
    estimate_key = ""

    def bound(self, arguments: Any) -> float:
        return float(arguments.latency_bound) / 1e3

    def perform(self, runner: Runner) -> Tested:
        asked = runner.arguments.target_qps
        self._check(runner, asked)
        context, folder = runner.context, runner.logs / "performance"
        search: list[Trial] = []

        def trial(rate: float) -> bool:
            place = runner.logs / f"search_{len(search) + 1}"
            seconds = min(context.seconds, max(2.0, context.seconds / 4))
            log = runner.test(place, seconds, context.min_count, rate)
            held = bool(log.values["result_perf_constraints_met"])
            search.append(Trial(rate, log.percentile(runner.percent) or 0.0, held))
            return held

        if asked:
            log = runner.test(folder, context.seconds, runner.fewest, asked)
            return Tested(log, folder, asked)
        rate = highest_rate(trial, 1 / runner.picture_seconds)
        for attempt in range(CONFIRMATIONS):
            log = runner.test(folder, context.seconds, runner.fewest, rate)
            if log.valid or attempt == CONFIRMATIONS - 1:
                break
            search.append(Trial(rate, log.percentile(runner.percent) or 0.0, False))
            rate *= STEP_DOWN
        return Tested(log, folder, rate, search)

    def _check(self, runner: Runner, asked: float | None) -> None:
        """Refuse what no test needs to find out."""
        seconds, label = runner.picture_seconds, runner.system.info.label
        takes = f"one picture takes {seconds * 1e3:.1f} ms on {label}"
        bound = self.bound(runner.arguments)
        if seconds > bound:
            raise UsageError(
                f"--latency-bound {bound * 1e3:g} ms cannot be held at any rate: {takes}"
            )
        if asked and asked > HOPELESS / seconds:
            raise UsageError(
                f"--target-qps {asked:g} cannot be reached: {takes}, that is at most "
                f"{1 / seconds:.1f} per second; leave --target-qps out to search for the highest "
                "rate"
            )


def highest_rate(holds: Callable[[float], bool], most: float, steps: int = SEARCH_STEPS) -> float:
    """Return the highest rate below ``most`` that holds, by bisection.

    If no rate holds that was tried, return half of the lowest.
    """
    low, high = 0.0, most
    for _ in range(steps):
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low or high / 2
