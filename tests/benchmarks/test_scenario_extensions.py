"""Scenarios of other packages: what they may not break, and what is refused before measuring."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from yolox_deploy.benchmarks.report import report
from yolox_deploy.benchmarks.scenarios import SCENARIOS
from yolox_deploy.benchmarks.scenarios.base import Result, Scenario
from yolox_deploy.cli import bench
from yolox_deploy.errors import ExtensionError, ExtensionWarning
from yolox_deploy.registry import Registry


@dataclass(frozen=True)
class Whole(Result):
    def tables(self, systems: Any) -> Any:
        return []

    def plot(self, systems: Any, path: Any) -> None:
        """Draw nothing."""


@dataclass(frozen=True)
class WithoutPlot(Result):
    def tables(self, systems: Any) -> Any:
        return []


def options(group: Any) -> None:
    group.add_argument("--seed", type=int, default=3, help="taken already")
    group.add_argument("--sprouts", type=int, default=3, help="free")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of a scenario called ``mine``, which stands in the table."""
    made: Any = ModuleType("my_scenario")
    made.RESULT, made.add_arguments = Whole, options
    made.check = made.measure = print
    monkeypatch.setitem(sys.modules, "my_scenario", made)
    rows = [SCENARIOS["latency"], Scenario("mine", "how long?", "my_scenario")]
    table: Registry[Scenario] = Registry("scenario", "no.such.group", rows)
    monkeypatch.setattr(bench, "SCENARIOS", table)
    monkeypatch.setattr(report, "SCENARIOS", table)
    return made


def test_a_module_that_cannot_be_imported_stops_no_other_scenario(
    module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_scenario.py").write_text("import no_such_\nengine")
    monkeypatch.delitem(sys.modules, "my_scenario")
    monkeypatch.syspath_prepend(tmp_path)
    assert bench.main(["--scenario", "mine", "--model", "no such file"]) == 1
    note, error = capsys.readouterr().err.splitlines()
    message = "its module my_scenario cannot be imported (ModuleNotFoundError: No module named"
    assert note.startswith("note: the scenario mine cannot be used: ")
    assert message in note
    assert message in error
    assert bench.main(["--model", "no such file"]) == 3


def test_an_option_that_is_taken_is_left_out_with_a_warning(module: Any) -> None:
    with pytest.warns(ExtensionWarning, match="the scenario mine has no option: .*--seed"):
        arguments = bench.parser().parse_args(["--seed", "7", "--sprouts", "5"])
    assert (arguments.seed, arguments.sprouts) == (7, 5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RESULT", WithoutPlot, "its class WithoutPlot lacks plot"),
        ("RESULT", Result, "must be a dataclass and subclass of Result"),
        ("RESULT", None, "must be a dataclass and subclass of Result"),
        ("measure", ..., "its module my_scenario lacks measure"),
    ],
)
def test_what_lacks_something_is_refused_before_measuring(
    name: str, value: Any, message: str, module: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    if value is ...:
        delattr(module, name)
    else:
        setattr(module, name, value)
    with pytest.raises(ExtensionError, match=message):
        bench.SCENARIOS["mine"].load()
    assert bench.main(["--scenario", "mine", "--model", "no such file"]) == 1
    printed = capsys.readouterr().err
    note, error = printed.splitlines()
    assert note.startswith("note: the scenario mine cannot be used: ")
    assert message in error
    # The other scenarios go on.
    assert len(report.Report.schema()["allOf"]) == 1


# The tests that send each scenario through the command; a new scenario gets one, and a row here.
TESTED = {
    "latency": "test_bench_command.py",
    "single-stream": "test_scenario_commands.py",
    "multi-stream": "test_loadgen.py",
    "server": "test_loadgen.py",
    "offline": "test_loadgen.py",
    "streaming": "test_scenario_commands.py",
}


def test_every_scenario_has_its_tests() -> None:
    assert set(TESTED) == set(SCENARIOS), "add a row to TESTED in this file"
    for name, file in TESTED.items():
        assert name in Path(__file__).with_name(file).read_text(), name


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_can_be_chosen(name: str) -> None:
    module = SCENARIOS[name].load()
    assert module.RESULT.__module__.startswith("yolox_deploy.benchmarks.scenarios")


@pytest.mark.parametrize("value", ["-1", "1001", "many"])
def test_a_whole_number_out_of_range_is_refused_by_the_parser(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(["--cold-starts", value, "--model", "no such file"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("yolox-bench: --cold-starts: ")
    assert value in line
