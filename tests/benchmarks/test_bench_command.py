"""``yolox-bench`` as a person uses it: its report and files, comparing them, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tools import run_all
from yolox_deploy.benchmarks.measure.opening import open_systems, requests
from yolox_deploy.benchmarks.report.report import VERSION, Report, to_markdown
from yolox_deploy.benchmarks.scenarios.latency.scenario import LatencyResult
from yolox_deploy.benchmarks.scenarios.latency.tables import milliseconds
from yolox_deploy.cli import bench
from yolox_deploy.errors import InputFileError, UsageError

jsonschema = pytest.importorskip("jsonschema")
pytest.importorskip("scipy")

SHORT = ("--duration", "0.1", "--min-count", "20", "--threads", "1")


class Ran(NamedTuple):
    """What the command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        try:
            code = bench.main([str(a) for a in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, every_processor: None) -> Path:
    """The files of one run on two engines, with everything that is measured."""
    folder = tmp_path_factory.mktemp("bench")
    wanted = [f"--{kind}={folder / name}" for kind, name in NAMES]
    given = ["--backend", "onnxruntime,openvino", "--cold-starts", "1", *SHORT, *wanted]
    assert bench.main(given) == 0
    return folder


NAMES = (("json", "run.json"), ("markdown", "run.md"), ("plot", "run.png"))


@pytest.fixture
def content(files: Path) -> Any:
    return json.loads((files / "run.json").read_text())


def test_the_report_says_what_where_and_how_long(files: Path) -> None:
    text = (files / "run.md").read_text()
    for words in (
        *("digits_nano onnxruntime fp32", "digits_nano openvino fp32", "letterbox", "end to end"),
        *("p99", "95% interval", "cold start", "peak memory", "GFLOP/s", "instruction sets"),
        *("cores", "governor", "other programs", "What measuring costs", "yolox-bench --backend"),
    ):
        assert words in text, words
    assert (files / "run.png").read_bytes().startswith(b"\x89PNG")


def test_a_result_read_back_gives_the_same_report(
    files: Path, command: Any, tmp_path: Path
) -> None:
    again = tmp_path / "again.md"
    shown = command("show", files / "run.json", "--markdown", again, "--json", tmp_path / "2.json")
    assert shown.code == 0, shown.err
    assert again.read_text() == (files / "run.md").read_text()
    assert json.loads((tmp_path / "2.json").read_text()) == json.loads(
        (files / "run.json").read_text()
    )


def test_the_numbers_of_the_report_are_those_of_the_file(files: Path, content: Any) -> None:
    report = Report.read(files / "run.json")
    assert isinstance(report.result, LatencyResult)
    for series, raw in zip(report.result.series, content["result"]["series"], strict=True):
        total = np.array(raw["total"]) / 1e9
        assert len(total) >= 20
        for figure in (total.min(), np.median(total), total.max(), total.mean()):
            # On a busy machine a call may take seconds, which are shown with fewer decimals.
            assert f"| {milliseconds(figure)} |" in to_markdown(report)
        assert (series.total >= np.nansum(series.stages, 1) - 1e-8).all()
        assert raw["copy_in"] is None
    # OpenVINO puts a thread back onto the processors that it had when an earlier test began.
    assert len(content["environment"]["exchange"]) <= 2
    for starts in report.result.cold_starts:
        (start,) = starts
        assert start.peak_bytes > 50 << 20
        assert min(start.import_s, start.load_s, start.first_s) > 0


def test_the_schema_is_one_and_holds(content: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(Report.schema())
    jsonschema.validate(content, Report.schema())
    assert content["version"] == VERSION == 1


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["format"], "x", "not a report of yolox-bench"),
        (["version"], 2, "version 2"),
        (["scenario"], "sleep", "damaged at scenario"),
        (["systems"], [], "damaged at systems"),
        (["systems", 0, "batch"], "many", "damaged at systems/0/batch"),
        (["environment", "doubts"], 3, "damaged at environment/doubts"),
        (["result", "series", 0, "total", 0], -1, "damaged at result/series/0/total/0"),
        (["result", "series", 0, "nms"], [1], "differ in length"),
        (["result", "series"], [], "damaged at result/series: 0 entries"),
        (["result", "costs"], [None], "damaged at result/costs: 1 entries"),
        (["environment", "exchange"], ["x"], "damaged at environment/exchange/0"),
        (["result", "costs", 0], {"gflops": "1"}, "damaged at result/costs/0"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_damaged_report_is_refused(place: Any, value: Any, message: str, content: Any) -> None:
    inner = content
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    with pytest.raises(InputFileError, match=message):
        Report.from_json(content)


NO_REPORTS = {"": "", "{": "", "[]": "not a report", "5": "", "\x00": "", "[" * 100_000: ""}
NO_NUMBERS = {"[18446744073709551616]": "too large", "[1e999]": "finite", "[NaN]": "finite"}


@pytest.mark.parametrize(("text", "words"), (NO_REPORTS | NO_NUMBERS).items())
def test_what_is_no_report_is_refused(text: str, words: str, command: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    found = command("show", path)
    assert found.code == 3
    assert len(found.err.splitlines()) == 1
    assert all(word in found.err for word in ("run.json", words))


def slowed(content: Any, factor: float, path: Path) -> Path:
    for series in content["result"]["series"]:
        series["total"] = [round(value * factor) for value in series["total"]]
    path.write_text(json.dumps(content))
    return path


def steady(content: Any, path: Path) -> Path:
    """The same report as of a quiet machine: times that scatter little, and nobody else there."""
    random = np.random.default_rng(0)
    content["environment"] |= {"lost": 0, "doubts": []}
    for series in content["result"]["series"]:
        series["total"] = [
            int(value) for value in 5e6 * random.lognormal(0, 0.02, len(series["total"]))
        ]
    path.write_text(json.dumps(content))
    return path


def test_two_runs_are_compared_and_a_slowdown_fails(
    content: Any, command: Any, tmp_path: Path
) -> None:
    before = steady(content, tmp_path / "a.json")
    same = command("compare", before, before, "--fail-if-slower", "1.10")
    assert same.code == 0, same.err
    assert same.out.count("no difference") >= 2
    after = slowed(content, 1.15, tmp_path / "b.json")
    found = command("compare", before, after, "--fail-if-slower", "1.10")
    assert found.code == 10
    assert found.err.count("1.15 times as long") == 2
    assert found.out.count("slower") >= 2
    assert command("compare", before, after).code == 0
    assert command("compare", before, after, "--fail-if-slower", "1.2").code == 0
    assert command("compare", after, before, "--fail-if-slower", "1.1").code == 0
    content["environment"]["lost"] = 0.3
    busy = slowed(content, 1, tmp_path / "busy.json")
    found = command("compare", before, busy, "--fail-if-slower", "1.10")
    assert found.code == 11
    assert command("compare", before, busy).code == 11
    assert found.out.count("cannot say") >= 2


SLOW, FAST = 35e-6, 17e-6


def moved(content: Any, exchange: list[float], factor: float, path: Path) -> Path:
    """A run on two threads on processors that exchanged data so fast at its start and end."""
    content["environment"]["exchange"] = exchange
    for system in content["systems"]:
        system["threads"] = 2
    steady(content, path)
    return slowed(content, factor, path)


def test_another_number_of_threads_is_said(content: Any, command: Any, tmp_path: Path) -> None:
    before = moved(content, [FAST, FAST], 1.0, tmp_path / "a.json")
    for system in content["systems"]:
        system["threads"] = 1
    after = tmp_path / "b.json"
    after.write_text(json.dumps(content))
    found = command("compare", before, after)
    assert "note: digits_nano openvino fp32: 2 threads before, 1 after" in found.out


def test_two_machines_are_not_two_states_of_one(content: Any, command: Any, tmp_path: Path) -> None:
    before = moved(content, [SLOW, SLOW], 1.5, tmp_path / "a.json")
    content["environment"]["machine"]["CPU"] = "a faster one"
    after = moved(content, [FAST, FAST], 1.0, tmp_path / "b.json")
    found = command("compare", before, after)
    rows = [line for line in found.out.splitlines() if line.startswith("digits_nano ")]
    assert len(rows) == 2
    assert all(row.rstrip().endswith("faster") for row in rows)
    assert "passed data" not in found.out
    assert "CPU: " in found.out


@pytest.mark.parametrize(
    ("before", "after", "factor", "expected"),
    [
        ([FAST, FAST], [FAST, FAST], 1.0, "no difference"),
        ([FAST, FAST], [FAST, FAST], 1.15, "slower"),
        ([SLOW, SLOW], [SLOW, SLOW], 1.15, "slower"),
        ([], [], 1.15, "slower"),
        ([FAST, FAST], [SLOW, SLOW], 1.5, "cannot say"),
        ([SLOW, SLOW], [FAST, FAST], 1.0, "cannot say"),
        ([FAST, SLOW], [FAST, FAST], 1.0, "cannot say"),
    ],
)
def test_runs_on_processors_that_were_moved_get_no_verdict(
    before: list[float],
    after: list[float],
    factor: float,
    expected: str,
    content: Any,
    command: Any,
    tmp_path: Path,
) -> None:
    paths = (
        moved(content, before, 1.0, tmp_path / "a.json"),
        moved(content, after, factor, tmp_path / "b.json"),
    )
    found = command("compare", *paths, "--fail-if-slower", "1.10")
    assert found.code == {"slower": 10, "cannot say": 11}.get(expected, 0)
    rows = [line for line in found.out.splitlines() if line.startswith("digits_nano ")]
    assert len(rows) == 2
    assert all(row.rstrip().endswith(expected) for row in rows)
    # Once, whatever the number of systems.
    said = found.err.count("measure both again, or both with --threads 1")
    assert said == (expected == "cannot say")
    assert said == found.err.count("up to 2.1 times as slowly")


def test_one_thread_does_not_depend_on_the_exchange(
    content: Any, command: Any, tmp_path: Path
) -> None:
    for name, exchange, factor in (("a", [FAST] * 2, 1.0), ("b", [SLOW] * 2, 1.15)):
        moved(content, exchange, 1.0, tmp_path / f"{name}.json")
        for system in content["systems"]:
            system["threads"] = 1
        slowed(content, factor, tmp_path / f"{name}.json")
    found = command("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert found.out.count("slower") >= 2
    assert "passed data" not in found.out


def test_a_missing_verdict_has_its_reason(content: Any, command: Any, tmp_path: Path) -> None:
    before = steady(content, tmp_path / "a.json")
    content["environment"]["lost"] = 0.3
    found = command("compare", before, slowed(content, 1, tmp_path / "b.json"))
    assert "no verdict on digits_nano onnxruntime fp32, digits_nano openvino fp32: " in found.err
    assert "measure again on a quiet machine" in found.err
    assert (found.out + found.err).count("no verdict") == 1
    assert "may differ by more than any verdict allows" in found.out
    content["environment"]["lost"] = 0
    for series in content["result"]["series"]:
        series["rounds"] = [number // 5 * 5 for number in series["rounds"]]
    found = command("compare", before, slowed(content, 1, tmp_path / "b.json"))
    assert "10 independent rounds: measure it again with a longer --duration" in found.err
    random = np.random.default_rng(1)
    content = json.loads(before.read_text())
    for series in content["result"]["series"]:
        series["total"] = [int(x * random.lognormal(0, 0.6)) for x in series["total"]]
    found = command("compare", before, slowed(content, 1, tmp_path / "b.json"))
    assert "the times scatter too much: measure both again" in found.err


def test_reports_of_an_older_version_are_shown(command: Any) -> None:
    folder = Path(__file__).parents[2] / "yolox_deploy" / "benchmarks" / "results"
    stored = [path for path in sorted(folder.glob("*.json")) if not path.name.startswith("plan_")]
    assert len(stored) >= 8
    for path in stored:
        found = command("show", path)
        assert found.code == 0, found.err


def test_runs_without_anything_in_common_are_not_compared(
    content: Any, command: Any, files: Path, tmp_path: Path
) -> None:
    for system in content["systems"]:
        system["precision"] = "bf16"
    (tmp_path / "b.json").write_text(json.dumps(content))
    found = command("compare", files / "run.json", tmp_path / "b.json")
    assert found.code == 2
    assert "nothing in common" in found.err
    found = command("compare", files / "run.json", files / "run.json", "--fail-if-slower", "0.5")
    assert (found.code, "factor of 1 or more" in found.err) == (2, True)


def test_a_place_that_cannot_be_written_is_found_before_measuring(
    command: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    found = command("--json", tmp_path / "file" / "x.json")
    assert found.code == 7
    assert len(found.err.splitlines()) == 1
    assert str(tmp_path / "file") in found.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--backend", "opnvino"), ["unknown backend 'opnvino'", "did you mean 'openvino'?"]),
        (("--backend", ","), ["--backend", "names nothing"]),
        (("--duration", "0"), ["--duration", "more than 0"]),
        (("--duration", "nan"), ["--duration"]),
        (("--min-count", "0"), ["--min-count", "at least 1"]),
        (("--batch", "0"), ["--batch", "at least 1"]),
        (("--backend", "ncnn", "--batch", "4"), ["takes 1 picture at once", "--batch 4"]),
        (("--backend", "torch", "--batch", "99"), ["--batch 99", "at most 16"]),
        (("--backend", "onnxruntime", "--precision", "int3"), ["no precision 'int3'"]),
        (("--threads", "0"), ["threads", "1.."]),
        (("--cold-starts", "-1"), ["--cold-starts"]),
        (("--random-weights",), ["--model yolox_l"]),
        (("--random-weights", "--model", "yolox_q"), ["unknown architecture 'yolox_q'"]),
        (("--plot", "chart.txt"), ["chart.txt", "png"]),
        (("--scenario", "lattency"), ["lattency"]),
        (("--data", "x.json"), ["yolox-eval"]),
    ],
    ids=str,
)
def test_wrong_use_gets_one_clear_message(arguments: Any, words: list[str], command: Any) -> None:
    found = command(*arguments)
    assert found.code == 2
    last = found.err.splitlines()[-1]
    assert last.startswith("yolox-bench: ")
    for word in words:
        assert word in last
    assert "Traceback" not in found.err
    assert found.out == ""


def test_all_stands_for_what_opens_the_file(nano_onnx: Path) -> None:
    found = requests([str(nano_onnx)], ["all"], [None])
    assert [request.backend for request in found] == ["onnxruntime", "openvino"]
    found = requests([None], ["all"], [None])
    assert {"onnxruntime", "openvino", "ncnn", "torch"} <= {request.backend for request in found}
    with pytest.raises(UsageError, match=r"opens \.param files"):
        open_systems(requests([str(nano_onnx)], ["ncnn"], [None]), [np.zeros((9, 9, 3), np.uint8)])


def test_the_overview_is_made_from_the_reports(files: Path, tmp_path: Path) -> None:
    (tmp_path / "yolox_nano.json").write_bytes((files / "run.json").read_bytes())
    (tmp_path / "yolox_nano.md").write_text("the report above")
    (tmp_path / "streaming_nano.md").write_text("another scenario")
    run_all.main(["--overview-only", "--output", str(tmp_path)])
    text = (tmp_path / "README.md").read_text()
    assert "| nano 320 | onnxruntime fp32 |" in text
    assert "| nano 320 | openvino fp32 |" in text
    assert "yolox-bench --backend onnxruntime,openvino" in text
    assert "[streaming_nano](streaming_nano.md)" in text
    assert "(yolox_nano.md)" not in text
    assert (tmp_path / "ap_against_latency.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="no report"):
        run_all.main(["--overview-only", "--output", str(tmp_path / "none")])


def test_what_cannot_be_served_is_noted_where_something_else_can(
    command: Any, nano_onnx: Path
) -> None:
    found = command(
        *("--model", nano_onnx, "--backend", "onnxruntime,openvino", "--precision", "bf16"),
        *("--duration", "0.05", "--min-count", "1", "--cold-starts", "0", "--no-limit"),
    )
    assert found.code == 0, found.err
    assert "note: yolox_nano_official onnxruntime bf16 was left out" in found.out
    assert "yolox_nano_official openvino" in found.out
