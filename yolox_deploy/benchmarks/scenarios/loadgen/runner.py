"""One system in one of MLPerf's scenarios: its traffic, LoadGen's settings, the tests, and AP."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, ClassVar, NamedTuple

from yolox_deploy.benchmarks.measure.systems import System
from yolox_deploy.benchmarks.scenarios.base import Context
from yolox_deploy.benchmarks.scenarios.loadgen.logs import (
    Log,
    queries_needed,
    read_accuracy,
    read_log,
)
from yolox_deploy.benchmarks.scenarios.loadgen.result import PERCENTS, LoadgenTest, Trial
from yolox_deploy.benchmarks.scenarios.loadgen.under_test import (
    Library,
    LibraryOnDisk,
    SystemUnderTest,
    require_loadgen,
    run_test,
)
from yolox_deploy.data.ap import AveragePrecision, CocoDataset
from yolox_deploy.tasks import Detections

# Calls to warm up with, and calls or seconds to look at before a test.
WARM_UP = 4
LOOK_AT = 32
LOOK_SECONDS = 2.0

Data = CocoDataset | None


class Tested(NamedTuple):
    """The log of the test that counts, in ``folder``, at ``rate`` queries per second (0: any)."""

    log: Log
    folder: Path
    rate: float = 0.0
    search: Sequence[Trial] = ()


class Traffic:
    """How queries come in a scenario; this class sends one picture after the other.

    ``name`` and ``estimate_key`` are LoadGen's, ``percent`` is the percentile of MLPerf Inference's
    rules for edge and data centre, ``latency`` tells which of LoadGen's latencies count.
    """

    name: ClassVar[str] = "SingleStream"
    percent: ClassVar[float] = 90.0
    estimate_key: ClassVar[str] = "early_stopping_latency_ss"
    latency: ClassVar[str] = "latency"

    def pictures_per_query(self, arguments: Any) -> int:
        """Return how many pictures a query has."""
        return 1

    def bound(self, arguments: Any) -> float | None:
        """Return the bound of latency in seconds, if the scenario has one."""
        return None

    def fewest(self, min_count: int, percent: float) -> int:
        """Return the fewest queries that give a verdict."""
        return max(min_count, queries_needed(percent))

    def perform(self, runner: Runner) -> Tested:
        """Run the tests; return the one that counts."""
        folder = runner.logs / "performance"
        return Tested(runner.test(folder, runner.context.seconds, runner.fewest), folder)


class MultiStream(Traffic):
    """Queries of several pictures, one query after the other."""

    name = "MultiStream"
    percent = 99.0
    estimate_key = "early_stopping_latency_ms"
    latency = "query_latency"

    def pictures_per_query(self, arguments: Any) -> int:
        return int(arguments.pictures_per_query)


class Offline(Traffic):
    """All pictures in one query: here the number counts pictures."""

    name = "Offline"
    percent = 99.0
    estimate_key = ""

    def fewest(self, min_count: int, percent: float) -> int:
        return min_count


class Runner:
    """Tests one system."""

    def __init__(
        self, context: Context, system: System, traffic: Traffic, data: Data, logs: Path
    ) -> None:
        self.context, self.arguments = context, context.arguments
        self.system, self.traffic, self.dataset, self.logs = system, traffic, data, logs
        self.percent: float = context.arguments.percentile or traffic.percent
        self.fewest = traffic.fewest(context.min_count, self.percent)
        self.numbers = list(data.pictures) if data else []
        # Now, not after the test: the classes may have nothing in common.
        self.category_ids = data.category_ids(system.detector.names) if data else []
        paths = [data.pictures[number] for number in self.numbers] if data else []
        self.library = Library(system.pictures)
        if data:
            self.library = LibraryOnDisk(paths, self.arguments.max_pixels)
        self.thresholds = system.thresholds(for_ap=data is not None)
        self.per_query = traffic.pictures_per_query(context.arguments)
        self.picture_seconds = 0.0

    def run(self) -> LoadgenTest:
        """Run everything that the scenario asks for."""
        self.picture_seconds = self._seconds_per_picture()
        tested = self.traffic.perform(self)
        ap = self._accuracy(tested.rate, self.dataset) if self.dataset else None
        return self._as_result(tested, ap)

    def _detect(self, pictures: Sequence[Any]) -> list[Any]:
        return self.system.detect(pictures, self.thresholds)

    def _seconds_per_picture(self) -> float:
        """Return the median of some calls, after some to warm up; errors come up here."""
        batch, numbers = self.system.batch, range(min(self.library.count, LOOK_AT))
        self.library.load(numbers)
        seconds: list[float] = []
        self.context.begin(f"warming up {self.system.info.label}")
        end = perf_counter() + LOOK_SECONDS
        while len(seconds) < WARM_UP or (len(seconds) < LOOK_AT and perf_counter() < end):
            first = len(seconds) * batch
            pictures = [self.library[(first + i) % len(numbers)] for i in range(batch)]
            start = perf_counter()
            self._detect(pictures)
            seconds.append((perf_counter() - start) / batch)
        self.library.unload(numbers)
        return median(seconds[WARM_UP // 2 :])

    def test(
        self, folder: Path, seconds: float, count: int, rate: float = 0, *, accuracy: bool = False
    ) -> Log:
        """Let LoadGen run one test and return its log."""
        pictures = max(count * self.per_query, seconds / self.picture_seconds)
        expected = count / rate if rate else pictures * self.picture_seconds
        about = "accuracy" if accuracy else f"about {max(expected, seconds):.0f} s"
        at = f" at {rate:.1f} queries/s" if rate else ""
        self.context.begin(f"{self.context.scenario} {self.system.info.label}{at}: {about}")
        encode = self._encode if accuracy else None
        sut = SystemUnderTest(self._detect, self.library, self.system.batch, encode)
        run_test(sut, self._settings(seconds, count, rate, accuracy=accuracy), folder)
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
        share, expected_ns = self.percent / 100, self.picture_seconds * 1e9
        # LoadGen makes the queries before the test: half of the expected latency, so that a run
        # that turns out faster does not run out of queries.
        settings.single_stream_expected_latency_ns = round(expected_ns / 2)
        settings.single_stream_target_latency_percentile = share
        settings.multi_stream_samples_per_query = self.per_query
        settings.multi_stream_expected_latency_ns = round(self.per_query * expected_ns / 2)
        settings.multi_stream_target_latency_percentile = share
        settings.offline_expected_qps = 1.2 / self.picture_seconds
        settings.server_target_latency_ns = round(self.arguments.latency_bound * 1e6)
        settings.server_target_latency_percentile = share
        settings.server_target_qps = rate or 1.0
        return settings

    def _accuracy(self, rate: float, dataset: CocoDataset) -> AveragePrecision:
        """Return AP of what the system answers in LoadGen's accuracy mode."""
        folder = self.logs / "accuracy"
        self.test(folder, self.context.seconds, 1, rate, accuracy=True)
        return dataset.evaluate([e for _, data in read_accuracy(folder) for e in json.loads(data)])

    def _encode(self, number: int, found: Detections) -> bytes:
        return json.dumps(found.to_coco(self.numbers[number], self.category_ids)).encode()

    def _as_result(self, tested: Tested, ap: AveragePrecision | None) -> LoadgenTest:
        log, kind = tested.log, self.traffic.latency
        seconds = {
            name: log.seconds(f"result_{name}_{kind}_ns") or 0.0 for name in ("min", "mean", "max")
        }
        seconds |= {str(p): log.percentile(p, kind) or 0.0 for p in PERCENTS}
        fallback = self.per_query / seconds["mean"] if seconds["mean"] else 0.0
        return LoadgenTest(
            label=self.system.info.label,
            valid=log.valid,
            why_not=log.why_not,
            queries=int(log.values["result_query_count"]),
            pictures_per_query=self.per_query,
            percent=self.percent,
            seconds=seconds,
            rate=tested.rate or float(log.values.get("result_samples_per_second", fallback)),
            estimate=log.seconds(self.traffic.estimate_key),
            bound=self.traffic.bound(self.arguments),
            logs=str(tested.folder),
            search=tuple(tested.search),
            ap=ap.as_dict() if ap else None,
        )
