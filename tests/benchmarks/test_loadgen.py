"""MLPerf's scenarios: LoadGen itself over fake detectors of known latency, and over a real one."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from yolox_deploy import Detections
from yolox_deploy.benchmarks.accuracy import detect_dataset, evaluation_detector
from yolox_deploy.benchmarks.measure.opening import requests
from yolox_deploy.benchmarks.measure.systems import System, TimedDetector
from yolox_deploy.benchmarks.scenarios.base import Context
from yolox_deploy.benchmarks.scenarios.loadgen import scenario as loadgen
from yolox_deploy.benchmarks.scenarios.loadgen.logs import queries_needed, read_accuracy, read_log
from yolox_deploy.benchmarks.scenarios.loadgen.server import (
    CONFIRMATIONS,
    SEARCH_STEPS,
    highest_rate,
)
from yolox_deploy.benchmarks.scenarios.loadgen.under_test import (
    Library,
    LibraryOnDisk,
    SystemUnderTest,
    run_test,
)
from yolox_deploy.cli.parser import Parser
from yolox_deploy.data.ap import CocoDataset
from yolox_deploy.errors import ImageError, InputFileError, UsageError, YoloxDeployError
from yolox_deploy.postprocess import Thresholds

lg = pytest.importorskip("mlperf_loadgen")
jsonschema = pytest.importorskip("jsonschema")

PICTURES = [np.full((8, 8, 3), value, np.uint8) for value in range(5)]
NAMES = ("a", "b")


class FakeDetector:
    """Takes ``seconds`` a picture and finds one object, whose place tells the picture."""

    thresholds = Thresholds()
    spec = SimpleNamespace(output="raw")
    names = NAMES

    def __init__(self, seconds: float = 0.001, fail: Callable[[int], None] | None = None) -> None:
        self.seconds, self.fail = seconds, fail
        self.calls = 0

    def __call__(self, picture: Any, thresholds: Any = None) -> Detections:
        self.calls += 1
        if self.fail:
            self.fail(self.calls)
        time.sleep(self.seconds)
        value = float(picture[0, 0, 0])
        return Detections([[value, 1 / 3, 5, 6]], [0.7], [1], NAMES)  # type: ignore[arg-type]

    def batch(self, pictures: Sequence[Any], thresholds: Any = None) -> list[Detections]:
        return [self(picture) for picture in pictures]


def settings(scenario: str = "SingleStream", **changes: Any) -> Any:
    result = lg.TestSettings()
    result.scenario = getattr(lg.TestScenario, scenario)
    result.min_duration_ms = 100
    result.min_query_count = 64
    result.single_stream_expected_latency_ns = 500_000
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def under_test(detector: Any, library: Library | None = None, **options: Any) -> SystemUnderTest:
    detect = TimedDetector(detector, PICTURES).detect
    return SystemUnderTest(detect, library or Library(PICTURES), **options)


# --- one test ------------------------------------------------------------------------------------


def test_a_valid_run_and_its_log(tmp_path: Path) -> None:
    run_test(under_test(FakeDetector()), settings(), tmp_path / "new" / "logs")
    log = read_log(tmp_path / "new" / "logs")
    assert log.valid
    assert log.why_not == ""
    assert log.errors == ()
    assert log.values["result_query_count"] >= 64
    median, high = log.percentile(50), log.percentile(90)
    assert median is not None
    assert high is not None
    assert 0.001 <= median <= high
    assert log.percentile(42) is None
    assert (tmp_path / "new" / "logs" / "mlperf_log_summary.txt").is_file()


def test_too_few_queries_are_invalid_and_the_reason_says_how_many(tmp_path: Path) -> None:
    run_test(under_test(FakeDetector()), settings(min_query_count=9, min_duration_ms=1), tmp_path)
    log = read_log(tmp_path)
    assert not log.valid
    assert f"at least {queries_needed(90)} queries" in log.why_not


@pytest.mark.parametrize(("percent", "over", "count"), [(90, 1, 64), (99, 1, 662), (99, 0, 459)])
def test_queries_needed_are_those_of_loadgen(percent: float, over: int, count: int) -> None:
    assert queries_needed(percent, over) == count


def fail_at(call: int, error: BaseException) -> Callable[[int], None]:
    def fail(number: int) -> None:
        if number == call:
            raise error

    return fail


@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream", "Server", "Offline"])
def test_an_error_in_the_system_comes_out_after_the_test(scenario: str, tmp_path: Path) -> None:
    broken = FakeDetector(fail=fail_at(3, ZeroDivisionError("no such\nluck")))
    with pytest.raises(YoloxDeployError, match="ZeroDivisionError: no such luck"):
        run_test(under_test(broken), settings(scenario, server_target_qps=500), tmp_path)
    assert broken.calls == 3
    # Nothing is left behind that would keep the next test from running.
    run_test(under_test(FakeDetector()), settings(), tmp_path)
    assert read_log(tmp_path).valid


def test_an_error_of_ours_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="gone"):
        run_test(
            under_test(FakeDetector(fail=fail_at(1, InputFileError("gone")))), settings(), tmp_path
        )
    (tmp_path / "bad.png").write_bytes(b"no picture")
    library = LibraryOnDisk([tmp_path / "bad.png"])
    with pytest.raises(ImageError, match=r"bad\.png"):
        run_test(under_test(FakeDetector(), library=library), settings(), tmp_path)


def test_a_second_test_at_the_same_time_is_refused(tmp_path: Path) -> None:
    def again(number: int) -> None:
        run_test(under_test(FakeDetector()), settings(), tmp_path / "inner")

    with pytest.raises(UsageError, match="one test at a time"):
        run_test(under_test(FakeDetector(fail=again)), settings(), tmp_path)


@pytest.mark.parametrize(
    ("scenario", "batch"), [("Offline", 2), ("SingleStream", 1), ("MultiStream", 3), ("Server", 1)]
)
def test_accuracy_mode_returns_every_picture_bit_for_bit(
    scenario: str, batch: int, tmp_path: Path
) -> None:
    mode = settings(scenario, mode=lg.TestMode.AccuracyOnly, server_target_qps=500)
    run_test(under_test(FakeDetector(0), batch=batch, encode=encoded), mode, tmp_path)
    answers = dict(read_accuracy(tmp_path))
    assert sorted(answers) == list(range(len(PICTURES)))
    for number, data in answers.items():
        assert data == encoded(number, FakeDetector(0)(PICTURES[number]))


def encoded(number: int, found: Detections) -> bytes:
    return bytes([number]) + found.xyxy.tobytes() + found.scores.tobytes()


@pytest.mark.parametrize("text", [":::MLLOG {", ':::MLLOG {"key": 1}', ":::MLLOG 5"])
def test_logs_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="mlperf_log_detail"):
        read_log(tmp_path)
    (tmp_path / "mlperf_log_detail.txt").write_text(text)
    with pytest.raises(InputFileError, match="no log of LoadGen"):
        read_log(tmp_path)


# --- scenarios -----------------------------------------------------------------------------------


def context(scenario: str, systems: Sequence[Any], tmp_path: Path, *words: object) -> Context:
    parser = Parser()
    loadgen.add_arguments(parser)
    parser.set_defaults(data=None, images=None, json=None, seed=0, max_pixels=None)
    arguments = parser.parse_args(["--logs", str(tmp_path / "logs"), *map(str, words)])
    return Context(scenario, systems, 0.2, 20, arguments)


class FakeSystem(TimedDetector):
    info = SimpleNamespace(label="fake fp32")


def fake_system(detector: Any) -> Any:
    return FakeSystem(detector, PICTURES)


def measure(given: Context) -> Any:
    """As the command does."""
    loadgen.check(given.arguments)
    return loadgen.measure(given)


def test_the_search_ends_at_a_rate_that_holds(tmp_path: Path) -> None:
    # A bound of many times the latency, so that a busy machine keeps it as well.
    given = context(
        *("server", [fake_system(FakeDetector(0.01))], tmp_path),
        *("--percentile", 90, "--latency-bound", 2000),
    )
    (found,) = measure(given).tests
    assert 1 <= len(found.search) <= SEARCH_STEPS + CONFIRMATIONS
    assert 0 < found.rate < 100
    assert (found.bound, found.percent) == (2, 90)
    assert found.valid == (found.why_not == "")
    assert not found.valid or found.at_percent <= 2
    assert read_log(Path(found.logs)).values["effective_target_qps"] == pytest.approx(
        found.rate, rel=1e-4
    )


@pytest.mark.parametrize("limit", [3, 37.5, 61, 99.9])
def test_bisection_comes_within_a_step_from_below(limit: float) -> None:
    tried: list[float] = []

    def holds(rate: float) -> bool:
        tried.append(rate)
        return rate <= limit

    rate = highest_rate(holds, 100, steps=6)
    assert limit - 100 / 2**6 <= rate <= limit
    assert len(tried) == 6


def test_where_nothing_holds_the_search_goes_low() -> None:
    assert highest_rate(lambda rate: False, 64, steps=6) == 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--target-qps", 1e6, "--latency-bound", 1e6),
            "cannot be reached: one picture takes",
        ),
        (("--latency-bound", 0.5), "cannot be held at any rate"),
        (("--target-qps", 0), "--target-qps must be more than 0"),
        (("--target-qps", math.nan), "--target-qps must be more than 0"),
        (("--latency-bound", -1), "--latency-bound must be more than 0"),
        (("--pictures-per-query", 0), "--pictures-per-query: must lie in"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_at_once(
    words: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        measure(context("server", [fake_system(FakeDetector(0.002))], tmp_path, *words))
    assert not (tmp_path / "logs").exists()


@pytest.fixture(scope="module")
def nano(nano_onnx: Path) -> Any:
    (request,) = requests([str(nano_onnx)], ["onnxruntime"], [None], threads=1)
    pictures = [np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)]
    system = System(request, pictures)
    yield system
    system.close()


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("single-stream", ()),
        ("multi-stream", ("--percentile", 90, "--pictures-per-query", 2)),
        ("offline", ()),
    ],
)
def test_a_real_detector_is_valid_and_the_result_reads_back(
    scenario: str, words: tuple[object, ...], nano: System, tmp_path: Path
) -> None:
    result = measure(context(scenario, [nano], tmp_path, *words))
    (found,) = result.tests
    assert found.valid, found.why_not
    assert found.seconds["min"] <= found.seconds["50.0"] <= found.seconds["max"]
    assert found.rate > 0
    assert (found.estimate is None) == (scenario == "offline")
    stored = json.loads(json.dumps(result.to_json(), allow_nan=False))
    jsonschema.validate(stored, loadgen.RESULT.schema())
    again = loadgen.RESULT.from_json(stored)
    assert again.tables([nano.info]) == result.tables([nano.info])
    table, _ = again.tables([nano.info])
    assert table.rows[0][1] == "VALID"
    assert str(tmp_path / "logs") in table.note


def test_accuracy_through_loadgen_is_the_ap_of_yolox_eval(
    nano: System, nano_onnx: Path, few_pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    given = context("offline", [nano], tmp_path)
    given.arguments.data, given.arguments.images = few_pictures[0], [str(few_pictures[1])]
    (found,) = measure(given).tests
    dataset = CocoDataset(*few_pictures)
    with evaluation_detector(nano_onnx, "onnxruntime", threads=1) as detector:
        expected = dataset.evaluate(detect_dataset(detector, dataset))
    assert found.ap == expected.as_dict()
    assert found.ap["ap"] > 0.1
    assert nano.detector.thresholds == Thresholds()
    given.arguments.images = None
    with pytest.raises(UsageError, match="needs --images"):
        measure(given)


def test_a_data_set_of_other_things_is_refused_before_the_test(
    few_pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    detector = FakeDetector()
    given = context("offline", [fake_system(detector)], tmp_path)
    given.arguments.data, given.arguments.images = few_pictures[0], [str(few_pictures[1])]
    with pytest.raises(UsageError, match="no name in common"):
        measure(given)
    assert detector.calls == 0


def test_without_loadgen_the_pip_line_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(ImportError, match=r"pip install .*\[bench\]"):
        measure(context("offline", [], tmp_path))
