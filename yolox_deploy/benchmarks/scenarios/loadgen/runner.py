"""One system in one of MLPerf's scenarios: settings, the search for the highest rate, AP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from yolox_deploy.benchmarks.accuracy import AveragePrecision, CocoDataset
from yolox_deploy.benchmarks.scenarios.loadgen.logs import Log, queries_needed, read_accuracy, read_log
from yolox_deploy.benchmarks.scenarios.loadgen.result import PERCENTS, Trial, Verdict
from yolox_deploy.benchmarks.scenarios.loadgen.run import (
    Library,
    PicturesInMemory,
    PicturesOnDisk,
    SystemUnderTest,
    from_rows,
    require_loadgen,
    run_test,
)
from yolox_deploy.benchmarks.scenarios.base import Context
from yolox_deploy.benchmarks.measure.systems import System
from yolox_deploy.errors import UsageError


@dataclass(frozen=True)
class Traffic:
    """A scenario: LoadGen's name, the percentile it reports, and whether it bounds queries."""

    name: str
    percent: float
    is_server: bool = False
    is_offline: bool = False
    is_multi: bool = False


# The percentiles are those of MLPerf Inference's rules for edge and data centre.
TRAFFIC = {
    "single-stream": Traffic("SingleStream", 90.0),
    "multi-stream": Traffic("MultiStream", 99.0, is_multi=True),
    "server": Traffic("Server", 99.0, is_server=True),
    "offline": Traffic("Offline", 99.0, is_offline=True),
}
# Bisections of the search for the highest rate, and attempts to confirm what it found.
SEARCH_STEPS = 6
CONFIRMATIONS = 5
STEP_DOWN = 0.95
# A rate this much above what the system can do is refused without trying.
HOPELESS = 1.5
# Calls to warm up with, and calls or seconds to look at before a test.
WARM_UP = 4
LOOK_AT = 32
LOOK_SECONDS = 2.0


class Runner:
    """Tests one system."""

    def __init__(
        self, context: Context, system: System, dataset: CocoDataset | None, logs: Path
    ) -> None:
        self.context = context
        self.arguments = context.arguments
        self.traffic = TRAFFIC[context.scenario]
        self.percent: float = context.arguments.percentile or self.traffic.percent
        self.system = system
        self.dataset = dataset
        self.logs = logs
        self.numbers = list(dataset.pictures) if dataset else []
        # Now, not after the test: the classes may have nothing in common.
        self.category_ids = dataset.category_ids(system.detector.names) if dataset else []
        self.library: Library = (
            PicturesOnDisk([dataset.pictures[number] for number in self.numbers])
            if dataset
            else PicturesInMemory(system.pictures)
        )
        self.per_query = self.arguments.pictures_per_query if self.traffic.is_multi else 1

    def verdict(self) -> Verdict:
        """Run everything that the scenario asks for."""
        self.picture_seconds = self._seconds_a_picture()
        search: list[Trial] = []
        if self.traffic.is_server:
            rate, log, folder = self._server(search)
        else:
            rate, folder = 0.0, self.logs / "performance"
            log = self._test(folder, self.context.seconds, self._count())
        ap = self._accuracy(rate) if self.dataset else None
        return self._as_verdict(log, folder, rate, search, ap)

    def _seconds_a_picture(self) -> float:
        """Return the median of some calls, after some to warm up; errors come up here."""
        batch, numbers = self.system.batch, range(min(self.library.count, LOOK_AT))
        self.library.load(numbers)
        seconds: list[float] = []
        self.context.begin(f"warming up {self.system.info.label}")
        begin = perf_counter()
        while len(seconds) < WARM_UP or (
            len(seconds) < LOOK_AT and perf_counter() - begin < LOOK_SECONDS
        ):
            first = len(seconds) * batch
            pictures = [self.library[(first + i) % len(numbers)] for i in range(batch)]
            start = perf_counter()
            self.system.detector.batch(pictures)
            seconds.append((perf_counter() - start) / batch)
        self.library.unload(numbers)
        return median(seconds[WARM_UP // 2 :])

    def _count(self) -> int:
        """Return the fewest queries (offline: pictures) that give a verdict."""
        if self.traffic.is_offline:
            return self.context.min_count
        return max(self.context.min_count, queries_needed(self.percent))

    def _test(
        self, folder: Path, seconds: float, count: int, rate: float = 0, *, accuracy: bool = False
    ) -> Log:
        """Let LoadGen run one test and return its log."""
        pictures = max(count * self.per_query, seconds / self.picture_seconds)
        expected = count / rate if rate else pictures * self.picture_seconds
        about = "accuracy" if accuracy else f"about {max(expected, seconds):.0f} s"
        at = f" at {rate:.1f} queries/s" if rate else ""
        self.context.begin(f"{self.context.scenario} {self.system.info.label}{at}: {about}")
        sut = SystemUnderTest(
            self.system.detector, self.library, self.system.batch, with_data=accuracy
        )
        settings = self._settings(seconds, count, rate, accuracy=accuracy)
        run_test(sut, settings, folder)
        return read_log(folder)

    def _settings(self, seconds: float, count: int, rate: float, *, accuracy: bool) -> Any:
        """Return LoadGen's settings; it writes all of them into its logs."""
        loadgen = require_loadgen()
        settings = loadgen.TestSettings()
        settings.scenario = getattr(loadgen.TestScenario, self.traffic.name)
        modes = loadgen.TestMode
        settings.mode = modes.AccuracyOnly if accuracy else modes.PerformanceOnly
        settings.min_duration_ms = round(seconds * 1e3)
        settings.min_query_count = count
        seed = self.arguments.seed
        settings.qsl_rng_seed = settings.sample_index_rng_seed = seed
        settings.schedule_rng_seed = seed
        share = self.percent / 100
        # Queries are made before the test: these hints are on the fast side, so that a run that
        # turns out faster does not run out of them.
        settings.single_stream_expected_latency_ns = round(self.picture_seconds * 1e9 / 2)
        settings.single_stream_target_latency_percentile = share
        settings.multi_stream_samples_per_query = self.per_query
        settings.multi_stream_expected_latency_ns = round(
            self.per_query * self.picture_seconds * 1e9 / 2
        )
        settings.multi_stream_target_latency_percentile = share
        settings.offline_expected_qps = 1.2 / self.picture_seconds
        settings.server_target_latency_ns = round(self.arguments.latency_bound * 1e6)
        settings.server_target_latency_percentile = share
        settings.server_target_qps = rate or 1.0
        return settings

    def _server(self, search: list[Trial]) -> tuple[float, Log, Path]:
        """Return rate, log and folder of the asked or the highest rate."""
        most = 1 / self.picture_seconds
        bound = self.arguments.latency_bound / 1e3
        asked = self.arguments.target_qps
        if self.picture_seconds > bound:
            raise UsageError(
                f"--latency-bound {bound * 1e3:g} ms cannot be held at any rate: one picture takes "
                f"{self.picture_seconds * 1e3:.1f} ms on {self.system.info.label}"
            )
        if asked and asked > HOPELESS * most:
            raise UsageError(
                f"--target-qps {asked:g} cannot be reached: one picture takes "
                f"{self.picture_seconds * 1e3:.1f} ms on {self.system.info.label}, that is at most "
                f"{most:.1f} a second; leave --target-qps out to search for the highest rate"
            )

        def trial(rate: float) -> bool:
            folder = self.logs / f"search_{len(search) + 1}"
            seconds = min(self.context.seconds, max(2.0, self.context.seconds / 4))
            log = self._test(folder, seconds, self.context.min_count, rate)
            held = bool(log.values["result_perf_constraints_met"])
            search.append(Trial(rate, log.percentile(self.percent) or 0.0, held))
            return held

        folder = self.logs / "performance"

        def confirm(rate: float) -> Log:
            return self._test(folder, self.context.seconds, self._count(), rate)

        if asked:
            return asked, confirm(asked), folder
        rate = highest_rate(trial, most)
        for attempt in range(CONFIRMATIONS):
            log = confirm(rate)
            if log.valid or attempt == CONFIRMATIONS - 1:
                break
            search.append(Trial(rate, log.percentile(self.percent) or 0.0, False))
            rate *= STEP_DOWN
        return rate, log, folder

    def _accuracy(self, rate: float) -> AveragePrecision:
        """Return AP of what the system answers in LoadGen's accuracy mode."""
        assert self.dataset is not None
        folder = self.logs / "accuracy"
        self._test(folder, self.context.seconds, 1, rate, accuracy=True)
        names = self.system.detector.names
        entries: list[dict[str, Any]] = []
        for number, data in read_accuracy(folder):
            entries += from_rows(data, names).to_coco(self.numbers[number], self.category_ids)
        return self.dataset.evaluate(entries)

    def _as_verdict(
        self,
        log: Log,
        folder: Path,
        rate: float,
        search: Sequence[Trial],
        ap: AveragePrecision | None,
    ) -> Verdict:
        multi = self.traffic.is_multi
        kind = "query_latency" if multi else "latency"
        seconds = {
            name: log.seconds(f"result_{name}_{kind}_ns") or 0.0 for name in ("min", "mean", "max")
        }
        seconds |= {str(p): log.percentile(p, queries=multi) or 0.0 for p in PERCENTS}
        keys = {
            "SingleStream": "early_stopping_latency_ss",
            "MultiStream": "early_stopping_latency_ms",
        }
        fallback = self.per_query / seconds["mean"] if seconds["mean"] else 0.0
        return Verdict(
            self.system.info.label,
            log.valid,
            log.why_not,
            " ".join(str(log.values.get("early_stopping_result", "")).split()),
            int(log.values["result_query_count"]),
            self.per_query,
            self.percent,
            seconds,
            rate or float(log.values.get("result_samples_per_second", fallback)),
            log.seconds(keys.get(self.traffic.name, "")),
            self.arguments.latency_bound / 1e3 if self.traffic.is_server else None,
            str(folder),
            tuple(search),
            ap.as_dict() if ap else None,
        )


def highest_rate(holds: Callable[[float], bool], most: float, steps: int = SEARCH_STEPS) -> float:
    """Return the highest rate below ``most`` that holds, by bisection.

    Where none of those tried holds, half of the lowest.
    """
    low, high = 0.0, most
    for _ in range(steps):
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low or high / 2
