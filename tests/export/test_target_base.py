"""The table of targets, and what a target is given by its base."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy.cli.export import parser
from yolox_deploy.errors import DeviceError, ExtensionWarning, UsageError
from yolox_deploy.export import (
    TARGETS,
    ExportOptions,
    NotBuiltError,
    Setting,
    Target,
    export_model,
    targets,
)
from yolox_deploy.export.targets import all_settings
from yolox_deploy.export.targets.onnx import OnnxTarget
from yolox_deploy.registry import Registry
from yolox_deploy.spec import ModelSpec, SpecHints

SMALL = SpecHints(imgsz=(64, 64), names=("thing",))
HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "ncnn", "pnnx", "tensorrt", "tensorrt_rtx")


def test_the_table_is_read_where_no_converter_is_installed() -> None:
    code = (
        "import sys\n"
        f"for name in {HEAVY}: sys.modules[name] = None\n"
        "from yolox_deploy.export import TARGETS, ExportOptions, Setting, Target\n"
        "from yolox_deploy.export.targets import all_settings\n"
        "import yolox_deploy.export.cache\n"
        "print(*TARGETS, *all_settings(), *(row.description for row in TARGETS.values()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("onnx openvino ncnn trt trt-rtx workspace profile ")


class Elsewhere(OnnxTarget):
    """A target that another machine must build, and which tells it how."""

    name = "elsewhere"
    description = "nothing, here"
    suffix = ".elsewhere"
    settings = (Setting("speed", "--speed", "100 % is all", "PERCENT", int, 100),)
    given: tuple[Any, ...] = ()

    def why_not_built(self) -> DeviceError:
        return DeviceError("there is no such device", "buy one")

    def hand_over(self, source: Path, spec: ModelSpec, unexecuted: ModelSpec) -> str:
        type(self).given = (source, spec, unexecuted)
        return f"Build it from {source.name} at {self.values['speed']} %"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Target:
    row = Elsewhere()
    monkeypatch.setitem(TARGETS._rows, row.name, row)
    return row


def test_what_another_machine_must_build_is_handed_over_with_onnx(
    elsewhere: Target, checkpoint_of: Any, tmp_path: Path
) -> None:
    options = ExportOptions(hints=SMALL, verify=False, settings={"speed": 30})
    names = ["ncnn", elsewhere.name, "onnx", elsewhere.name]
    with pytest.raises(NotBuiltError, match="at 30 %") as caught:
        export_model(checkpoint_of(1), names, options, tmp_path)
    assert caught.value.exit_code == DeviceError.exit_code
    assert str(caught.value).startswith("there is no such device: buy one. Build it from nano_1.o")
    assert [result.target for result in caught.value.results] == ["ncnn", "onnx"]
    source, spec, unexecuted = Elsewhere.given
    assert source == tmp_path / "nano_1.onnx"
    assert source.is_file()
    assert spec == caught.value.results[1].spec
    assert (spec.verification["executed"], unexecuted.verification["executed"]) == (True, False)
    assert not (tmp_path / "nano_1.elsewhere").exists()


def test_a_setting_becomes_an_option_and_its_default_is_nothing_asked_for(
    elsewhere: Target, checkpoint_of: Any, tmp_path: Path
) -> None:
    assert "for elsewhere: 100 % is all" in parser().format_help()
    assert parser().parse_args(["--speed", "30"]).setting_speed == 30
    options = ExportOptions(hints=SMALL, verify=False, settings={"speed": 100})
    assert export_model(checkpoint_of(1), ["onnx"], options, tmp_path)[0].ok
    options = ExportOptions(hints=SMALL, verify=False, settings={"speed": 30})
    with pytest.raises(UsageError, match="--speed PERCENT is for --to elsewhere, not for onnx"):
        export_model(checkpoint_of(1), ["onnx"], options, tmp_path)


def test_an_option_that_is_taken_is_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Greedy(OnnxTarget):
        name = "greedy"
        settings = (Setting("model", "--model", "mine", "X"),)

    table: Registry[Target] = Registry("target", "no.such.group", [OnnxTarget(), Greedy()])
    monkeypatch.setattr(targets, "TARGETS", table)
    with pytest.warns(ExtensionWarning, match="'model' of target greedy has no option"):
        assert parser().parse_args(["--model", "x.pth"]).model == "x.pth"


def test_a_copy_with_settings_leaves_the_row_alone() -> None:
    row = TARGETS["trt-rtx"]
    copied = row.with_settings({"workspace": 64, "unknown": 1})
    assert copied.values == {"workspace": 64, "profile": None, "targets": ()}
    assert row.values == {"workspace": None, "profile": None, "targets": ()}
    assert copied.name == row.name


def test_targets_that_name_a_setting_alike_share_it() -> None:
    rows = [setting for row in TARGETS.values() for setting in row.settings]
    assert {setting.name: setting for setting in rows} == all_settings()
    options = [setting.option for setting in all_settings().values()]
    assert len(set(options)) == len(options)
