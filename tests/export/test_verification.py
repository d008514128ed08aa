"""Verification must notice whatever makes an artifact detect something else.

Every artifact here is real and run by its engine.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from yolox_deploy import Detector
from yolox_deploy.errors import ImageError, ModelWarning
from yolox_deploy.export import (
    ExportOptions,
    ExportResult,
    UnverifiedError,
    Verification,
    export_model,
)
from yolox_deploy.export.reference import Reference
from yolox_deploy.files import ASSETS
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.spec import SPEC_KEY, ModelSpec, SpecHints
from yolox_deploy.tasks.describe import describe
from yolox_deploy.verification.verify import load_pictures, verify

NMS = ExportOptions(nms=True)
Edited = Callable[[dict[str, Callable[[Any], Any]]], Any]


# The pictures in the package, on which verification runs by default.
SHIPPED = len(list(ASSETS.glob("*.jpg")))


def result_of(runtime: Any, reference: Reference) -> Verification:
    with runtime as opened:
        return verify(opened, reference.inputs, reference.outputs)


def weights_of(result: ExportResult) -> dict[str, Any]:
    """The convolutions' weights in the graph's order, by initializer name."""
    model = onnx.load(result.path)
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    convolutions = (node for node in model.graph.node if node.op_type == "Conv")
    return {node.input[1]: arrays[node.input[1]] for node in convolutions}


def refused(checkpoint: Path, targets: list[str], folder: Path, **options: Any) -> UnverifiedError:
    with pytest.raises(UnverifiedError) as caught:
        export_model(checkpoint, targets, ExportOptions(**options), folder)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 5
    return caught.value


# -- what passes ---------------------------------------------------------------------------------


def test_an_untouched_artifact_passes_and_says_what_was_compared(
    edited: Edited, reference: Reference
) -> None:
    found = result_of(edited({}), reference)
    assert found.status == "passed"
    assert not found.problems
    assert found.comparison is not None
    assert found.comparison["detections"] > 10
    assert 0 < found.comparison["score_difference"] < 1e-3
    assert f"detections agree on {SHIPPED} pictures" in found.summary


def test_an_export_by_the_original_code_passes(nano_onnx: Path, reference: Reference) -> None:
    runtime = BACKENDS["onnxruntime"].runtime_class()
    assert result_of(runtime(nano_onnx), reference).status == "passed"


# -- FP16 ----------------------------------------------------------------------------------------


def test_ncnn_fp16_without_the_scaled_stem_is_held_back_with_the_difference(
    nano_pth: Path, tmp_path: Path
) -> None:
    options = {"fp16": True, "scale_stem": False, "overwrite": True}
    error = refused(nano_pth, ["ncnn"], tmp_path, **options)
    assert re.search(r"scores (of detections )?differ by .*\(tolerated 0\.\d+\)", str(error))
    comparison = error.results[0].verification.comparison
    assert comparison is not None
    assert comparison["score_difference"] > 0.06


def test_the_others_keep_the_small_weights_in_fp16(made_once: Any, nano_pth: Path) -> None:
    options = ExportOptions(fp16=True, scale_stem=False)
    for result in made_once(nano_pth, ["onnx", "openvino"], options).values():
        assert result.verification.status == "passed"


# -- wrong weights -------------------------------------------------------------------------------


def flipped(array: Any, index: int) -> Any:
    array.ravel()[index] *= -1
    return array


@pytest.mark.parametrize("layer", [0, 1, 2, 5, 10, 20, 40, 80, -30, -3, -2, -1])
def test_a_weight_of_ordinary_magnitude_with_its_sign_flipped_is_noticed(
    layer: int, edited: Edited, nano_hub: ExportResult, reference: Reference
) -> None:
    name, weight = list(weights_of(nano_hub).items())[layer]
    order = np.abs(weight).ravel().argsort()
    ordinary = int(order[int(0.9 * len(order))])
    found = result_of(edited({name: lambda array: flipped(array, ordinary)}), reference)
    assert found.status == "failed", f"{name} {weight.shape}: {found.summary}"


def test_an_artifact_of_another_checkpoint_is_noticed(
    made_once: Any, checkpoint_of: Any, legacy_pth: Path, reference: Reference
) -> None:
    result = made_once(legacy_pth, ["onnx"], ExportOptions(hints=SpecHints(legacy=True)))["onnx"]
    runtime = BACKENDS["onnxruntime"].runtime_class()
    assert result_of(runtime(result.path), reference).status == "failed"


def test_one_more_epoch_is_another_checkpoint(nano_pth: Path, reference: Reference) -> None:
    """The change of one epoch late in a training run: half a percent of every weight."""
    later = load_checkpoint(nano_pth).network
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in later.parameters():
            weight += (
                5e-3 * weight.std(correction=0) * torch.randn(weight.shape, generator=generator)
            )
    other = Reference(later, reference.spec, reference.pictures)
    runtime = BACKENDS["torch"].runtime_class()(nano_pth)
    found = result_of(runtime, other)
    assert found.status == "failed", found.summary


@pytest.mark.parametrize("order", [(2, 1, 0), (0, 2, 1), (1, 0, 2)], ids=str)
def test_a_swapped_channel_order_is_noticed(
    order: tuple[int, ...], edited: Edited, nano_hub: ExportResult, reference: Reference
) -> None:
    stem = next(iter(weights_of(nano_hub)))
    found = result_of(edited({stem: lambda array: array[:, list(order)].copy()}), reference)
    assert found.status == "failed"
    assert found.comparison is not None
    assert found.comparison["score_difference"] > 0.05


@pytest.mark.parametrize("layer", [0, 30, -1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_are_noticed(
    layer: int, value: float, edited: Edited, nano_hub: ExportResult, reference: Reference
) -> None:
    name = list(weights_of(nano_hub))[layer]

    def broken(array: Any) -> Any:
        array.ravel()[0] = value
        return array

    assert result_of(edited({name: broken}), reference).status == "failed"


# -- NMS in the graph ----------------------------------------------------------------------------


def test_nothing_is_proven_where_nothing_is_detected(checkpoint_of: Any, tmp_path: Path) -> None:
    network = load_checkpoint(checkpoint_of(1))
    with torch.no_grad():
        for layer in network.network.head.obj_preds:
            layer.bias.fill_(-8)
    silent = tmp_path / "silent.pth"
    torch.save({"model": network.network.state_dict()}, silent)
    hints = SpecHints(names=("thing",))
    given = replace(NMS, pictures=ASSETS)
    for options, compared, advice in (
        (ExportOptions(), "only raw rows were", "--verify FOLDER"),
        (given, "nothing was", f"detects nothing in the pictures of {ASSETS}"),
    ):
        (result,) = export_model(
            silent, ["onnx"], replace(options, hints=hints, overwrite=True), tmp_path
        )
        found = result.verification
        assert (found.status, result.ok) == ("not proven on detections", True)
        assert f"detects nothing in these {SHIPPED} pictures: {compared} compared" in found.summary
        assert any(advice in note for note in found.notes)


def test_a_suppression_that_drops_or_doubles_boxes_is_noticed(
    made_once: Any, nano_pth: Path, reference: Reference, tmp_path: Path
) -> None:
    result = made_once(nano_pth, ["onnx", "openvino"], ExportOptions(nms=True))["onnx"]
    for name, threshold in (("iou_threshold", 0.95), ("score_threshold", 0.6)):
        model = onnx.load(result.path)
        (constant,) = (t for t in model.graph.initializer if t.name.endswith(name))
        constant.CopyFrom(numpy_helper.from_array(np.float32([threshold]), constant.name))
        path = tmp_path / "edited.onnx"
        onnx.save(model, path)
        edited = BACKENDS["onnxruntime"].runtime_class()(path, check_files=False)
        assert result_of(edited, reference).status == "failed", threshold


# -- names of the files, and the record ----------------------------------------------------------


def test_a_failing_artifact_never_touches_the_requested_name(
    nano_pth: Path, tmp_path: Path
) -> None:
    before = {}
    for suffix in (".ncnn.param", ".ncnn.bin", ".ncnn.json"):
        path = tmp_path / f"yolox_nano_fp16{suffix}"
        path.write_text("precious")
        before[path] = path.stat().st_mtime_ns
    options = {"fp16": True, "scale_stem": False, "overwrite": True}
    error = refused(nano_pth, ["ncnn"], tmp_path, **options)
    for path, time in before.items():
        assert (path.read_text(), path.stat().st_mtime_ns) == ("precious", time)
    (result,) = error.results
    assert not result.ok
    assert result.path == tmp_path / "yolox_nano_fp16.unverified.ncnn.param"
    assert str(result.path) in str(error)
    unverified = {p.name for p in tmp_path.iterdir()} - {p.name for p in before}
    assert unverified == {
        f"yolox_nano_fp16.unverified.ncnn.{kind}" for kind in ("param", "bin", "json")
    }
    with pytest.warns(ModelWarning, match="unverified.ncnn.param failed its verification"):
        detector = Detector(result.path)
    with detector:
        record = detector.spec.verification
    assert record is not None
    assert record["status"] == "failed"
    assert "scores differ" in record["summary"]


def test_allowing_it_keeps_the_name_and_the_record(nano_pth: Path, tmp_path: Path) -> None:
    options = ExportOptions(fp16=True, scale_stem=False, allow_unverified=True)
    (result,) = export_model(nano_pth, ["ncnn"], options, tmp_path)
    assert result.ok
    assert result.path == tmp_path / "yolox_nano_fp16.ncnn.param"
    assert result.verification.status == "failed"
    with pytest.warns(ModelWarning, match=r"fp16.ncnn.param failed its verification"):
        detector = Detector(result.path)
    with detector:
        assert detector.spec.verification is not None
        assert detector.spec.verification["status"] == "failed"


def test_one_failing_target_does_not_take_the_others_with_it(
    nano_pth: Path, tmp_path: Path
) -> None:
    error = refused(nano_pth, ["ncnn", "onnx"], tmp_path, fp16=True, scale_stem=False)
    assert [(r.target, r.ok) for r in error.results] == [("ncnn", False), ("onnx", True)]
    assert (tmp_path / "yolox_nano_fp16.onnx").is_file()
    assert "onnx:" not in str(error)


def test_without_verification_the_spec_says_so(nano_pth: Path, tmp_path: Path) -> None:
    options = ExportOptions(verify=False, hints=SpecHints(imgsz=(64, 64)))
    (result,) = export_model(nano_pth, ["onnx"], options, tmp_path)
    assert result.ok
    assert result.verification.status == "not run"
    model = onnx.load(result.path)
    (entry,) = (p for p in model.metadata_props if p.key == SPEC_KEY)
    spec = ModelSpec.from_json(entry.value)
    assert dict(describe(spec))["verification"] == "not run: turned off with --no-verify"


def test_the_record_holds_the_differences_and_the_tolerance_with_its_reason(
    nano_hub: ExportResult,
) -> None:
    record = nano_hub.spec.verification
    assert record is not None
    assert record["pictures"] == SHIPPED
    assert 0 < record["tolerance"]["score"] <= 2e-3
    assert "float32" in record["tolerance"]["reason"]
    comparison = record["comparison"]
    assert comparison["missed"] == comparison["extra"] == 0
    for key in ("raw_absolute", "raw_relative", "score_difference", "box_pixels"):
        assert 0 < comparison[key] < 0.1


# -- pictures ------------------------------------------------------------------------------------


def test_the_pictures_that_ship_show_something_to_both_kinds_of_weights(
    nano_pth: Path, legacy_pth: Path
) -> None:
    pictures = load_pictures(None)
    assert len(pictures) == SHIPPED >= 3
    for path, legacy in ((nano_pth, False), (legacy_pth, True)):
        checkpoint = load_checkpoint(path)
        spec = checkpoint.spec(SpecHints(legacy=legacy))
        with BACKENDS["torch"].runtime_class()(path, hints=SpecHints(legacy=legacy)) as runtime:
            reference = Reference(checkpoint.network, spec, pictures)
            found = verify(runtime, reference.inputs, reference.outputs)
        assert found.comparison is not None
        assert found.comparison["detections"] >= 9


def test_a_large_folder_is_sampled_and_unreadable_pictures_are_passed_over(
    data_file: Any, tmp_path: Path
) -> None:
    assert len(load_pictures(data_file("coco_val/images"))) == 64
    shutil.copy(data_file("images/dog.jpg"), tmp_path)
    (tmp_path / "broken.jpg").write_text("no picture")
    loaded = load_pictures(tmp_path)
    assert len(loaded) == 1


def test_a_folder_with_nothing_readable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="folder without pictures"):
        load_pictures(tmp_path)
    (tmp_path / "broken.jpg").write_text("no picture")
    with pytest.raises(ImageError, match=r"none of its 1 pictures"):
        load_pictures(tmp_path)
    with pytest.raises(ImageError, match="no such file"):
        load_pictures(tmp_path / "missing")


def test_a_batch_with_its_pictures_mixed_up_is_noticed(
    made_once: Any, built: list[str], nano_pth: Path, reference: Reference
) -> None:
    result = made_once(nano_pth, built, ExportOptions(batch=3))["onnx"]
    turned = replace_inputs(reference, [1, 2, 0])
    runtime = BACKENDS["onnxruntime"].runtime_class()
    assert result_of(runtime(result.path), reference).status == "passed"
    assert result_of(runtime(result.path), turned).status == "failed"


def replace_inputs(reference: Reference, order: list[int]) -> Reference:
    """The same outputs beside other pictures' inputs."""
    turned = Reference(reference.network, reference.spec, reference.pictures)
    turned.inputs = np.ascontiguousarray(turned.inputs[order])
    return turned
