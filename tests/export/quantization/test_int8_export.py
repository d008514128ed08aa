"""``--int8`` from pictures to artifacts: searched, repeated, and gone on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy.errors import ModelWarning, OutputError, UsageError, YoloxDeployError
from yolox_deploy.export import TARGETS, ExportOptions, ExportResult, export_model
from yolox_deploy.export.options import Int8Options
from yolox_deploy.export.quantization.speed import ROUNDS, ratio_of
from yolox_deploy.export.results import NotFasterError
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.spec import SpecHints
from yolox_deploy.verification.verify import Verification

pytestmark = pytest.mark.filterwarnings("ignore:.*pictures.*are few for INT8")
PLAN = "yolox_nano_int8.quantization.json"


@pytest.fixture(scope="module", autouse=True)
def _short_rounds() -> Iterator[None]:
    """One call per round: no test looks at the times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolox_deploy.export.quantization.speed.ROUND_S", 0)
        yield


@pytest.fixture(scope="module")
def options(dog_path: Path, tmp_path_factory: Any) -> ExportOptions:
    """INT8 of everything, searched on few pictures."""
    folder = tmp_path_factory.mktemp("calibration")
    for number in range(8):
        shutil.copy(dog_path, folder / f"{number}.jpg")
    int8 = Int8Options(calibration=folder, max_drop=100, keep_anyway=True)
    return ExportOptions(hints=SpecHints(imgsz=(128, 160)), int8=int8, verify=False)


Made = tuple[Path, ExportResult]


@pytest.fixture(scope="module")
def made(nano_pth: Path, options: ExportOptions, tmp_path_factory: Any) -> Made:
    folder = tmp_path_factory.mktemp("int8")
    (result,) = export_model(nano_pth, ["onnx"], options, folder)
    return folder, result


def repeated(options: ExportOptions, folder: Path, **changes: Any) -> ExportOptions:
    """The options that repeat what was found in ``folder``, without pictures."""
    return replace(options, int8=Int8Options(plan=folder / PLAN, keep_anyway=True), **changes)


def test_the_artifact_says_what_was_found_and_how(made: Made) -> None:
    folder, result = made
    with BACKENDS["onnxruntime"].runtime_class()(folder / "yolox_nano_int8.onnx") as opened:
        spec = opened.spec
        assert opened.facts().precision == "int8"
    assert spec.precision == "int8"
    assert spec.quantization is not None
    assert spec.quantization["floating"] == []
    assert "of 8 calibration pictures" in spec.quantization["how"]
    assert result.search is not None
    assert {row.kept for row in result.search.rows} == {"INT8"}
    assert [ratio.precision for ratio in result.speed] == ["fp32"]


def test_a_repeat_gives_the_same_file(
    made: Made, nano_pth: Path, options: ExportOptions, tmp_path: Path
) -> None:
    folder, _ = made
    export_model(nano_pth, ["onnx"], repeated(options, folder), tmp_path)
    names = [path.name for path in tmp_path.iterdir()]
    assert names == ["yolox_nano_int8.onnx"]
    assert (tmp_path / names[0]).read_bytes() == (folder / names[0]).read_bytes()


def test_a_search_goes_on_where_it_was_interrupted(
    made: Made, nano_pth: Path, options: ExportOptions, tmp_path: Path
) -> None:
    folder, _ = made
    whole = json.loads((folder / PLAN).read_text())
    search = whole["searches"]["onnxruntime"]
    trials = search["trials"]
    begun = {**search, "floating": None, "rows": [], "trials": trials[:-1]}
    text = json.dumps({**whole, "searches": {"onnxruntime": begun}})
    (tmp_path / PLAN).write_text(text)
    export_model(nano_pth, ["onnx"], options, tmp_path)
    after = json.loads((tmp_path / PLAN).read_text())["searches"]["onnxruntime"]
    # Trials are never timed twice.
    assert after["trials"][:-1] == trials[:-1]
    assert after["trials"][-1]["ap"] == trials[-1]["ap"]
    assert (after["floating"], after["judged_drop"]) == ([], search["judged_drop"])


def test_openvino_computes_in_int8_what_is_verified_and_writes_the_same_file_again(
    made: Made, nano_pth: Path, options: ExportOptions, tmp_path: Path
) -> None:
    """All of nano in INT8 loses most of its AP, so the verification refuses it."""
    folder, _ = made
    plan = json.loads((folder / PLAN).read_text())
    plan["searches"]["openvino"] = plan["searches"]["onnxruntime"]
    (tmp_path / PLAN).write_text(json.dumps(plan))
    again = repeated(options, tmp_path, verify=True, allow_unverified=True)
    (result,) = export_model(nano_pth, ["openvino"], again, tmp_path)
    assert result.verification.precision == "int8"
    assert result.verification.status == "failed"
    assert result.verification.tolerance is not None
    export_model(nano_pth, ["openvino"], again, tmp_path / "again")
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_what_is_not_surely_faster_is_not_kept(
    made: Made,
    nano_pth: Path,
    options: ExportOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _ = made
    same = ratio_of("fp32", [7.0] * ROUNDS, [7.0] * ROUNDS)
    monkeypatch.setattr("yolox_deploy.export.exporter.compare_speed", lambda *_: [same])
    refusing = replace(options, int8=Int8Options(plan=folder / PLAN))
    with pytest.raises(NotFasterError, match=r"not kept: onnx: INT8 takes 1\.00 times") as refused:
        export_model(nano_pth, ["onnx"], refusing, tmp_path)
    assert refused.value.exit_code == 10
    assert list(tmp_path.iterdir()) == []


def test_a_drop_on_other_pictures_fails_the_verification(made: Made) -> None:
    search = made[1].search
    assert search is not None
    assert search.problem() == ""
    problem = replace(search, limit=0.01, judged_drop=0.03).problem()
    failed = Verification("passed").failed_by(problem)
    assert failed.status == "failed"
    assert "AP drops by 3.00 points" in failed.summary


REFUSED: list[tuple[dict[str, Any], dict[str, Any], type[YoloxDeployError], str]] = [
    ({"calibration": None}, {}, UsageError, "needs --calib FOLDER"),
    ({"max_drop": -1}, {}, UsageError, "must lie in 0..100"),
    ({"annotations": Path("a.json")}, {}, UsageError, "belong together"),
    ({}, {"fp16": True}, UsageError, "exclude each other"),
    ({}, {"opset": 11}, UsageError, "--opset 13 or newer"),
]


@pytest.mark.parametrize(("asked", "more", "error", "words"), REFUSED, ids=lambda v: str(v)[:30])
def test_what_makes_no_sense_is_refused(
    asked: Any, more: Any, error: Any, words: str, nano_pth: Path, options: Any, tmp_path: Path
) -> None:
    wanted = replace(options, int8=replace(options.int8, **asked), **more)
    with pytest.raises(error, match=words):
        export_model(nano_pth, ["onnx"], wanted, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_formats_without_int8_say_so(nano_pth: Path, options: Any, tmp_path: Path) -> None:
    for name, row in TARGETS.items():
        if row.int8 is None:
            with pytest.raises(UsageError, match=f"target {name} has no INT8"):
                export_model(nano_pth, [name], options, tmp_path)


def test_a_plan_of_another_model_is_refused(
    made: Made, nano_pth: Path, legacy_pth: Path, options: ExportOptions, tmp_path: Path
) -> None:
    folder, _ = made
    again = repeated(options, folder)
    with pytest.raises(UsageError, match="of another checkpoint"):
        export_model(legacy_pth, ["onnx"], again, tmp_path)
    larger = replace(again, hints=SpecHints(imgsz=(160, 160)))
    with pytest.raises(UsageError, match="input of 128x160, not 160x160"):
        export_model(nano_pth, ["onnx"], larger, tmp_path)
    with pytest.raises(UsageError, match="no finished search for openvino"):
        export_model(nano_pth, ["openvino"], again, tmp_path)
    (tmp_path / PLAN).write_text("notes of mine")
    with pytest.raises(OutputError, match="is there already"):
        export_model(nano_pth, ["onnx"], options, tmp_path)


def test_unreadable_pictures_are_noted(
    nano_pth: Path, options: Any, tmp_path: Path, data_file: Any
) -> None:
    folder = tmp_path / "calibration"
    shutil.copytree(options.int8.calibration, folder)
    (folder / "broken.jpg").write_bytes(b"no picture")
    annotations = data_file("coco_val/instances_val2017_subset206.json")
    other = replace(options.int8, calibration=folder, annotations=annotations, images=folder)
    with (
        pytest.warns(ModelWarning, match=r"8 pictures \(1 cannot be read\)"),
        pytest.raises(YoloxDeployError, match="lacks 206 of the 206 pictures"),
    ):
        export_model(nano_pth, ["onnx"], replace(options, int8=other), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
