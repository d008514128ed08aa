"""Weights of release 0.1.0 and newer ones: which pixels they expect, and what an export says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from yolox_deploy import Detector
from yolox_deploy.errors import ArtifactError, ModelWarning, UsageError
from yolox_deploy.export import ExportOptions, UnverifiedError, export_model
from yolox_deploy.export.reference import Reference
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.models.stem import first_block
from yolox_deploy.spec import SpecHints
from yolox_deploy.training.weights import initial_network
from yolox_deploy.verification.verify import load_pictures


def refused(checkpoint: Path, folder: Path, *, legacy: bool | None) -> UnverifiedError:
    options = ExportOptions(hints=SpecHints(legacy=legacy))
    with pytest.raises(UnverifiedError) as caught:
        export_model(checkpoint, ["onnx"], options, folder / str(legacy))
    return caught.value


def test_legacy_weights_against_the_word_are_named_as_such(
    legacy_pth: Path, tmp_path: Path
) -> None:
    error = refused(legacy_pth, tmp_path, legacy=False)
    assert "these are legacy weights" in str(error)
    assert "--legacy" in str(error)
    assert error.results[0].verification.status == "failed"


def test_the_word_legacy_on_other_weights_is_named_as_such(nano_pth: Path, tmp_path: Path) -> None:
    error = refused(nano_pth, tmp_path, legacy=True)
    assert "these are not legacy weights" in str(error)


@pytest.mark.parametrize("legacy", [True, None], ids=["with the word", "by themselves"])
def test_legacy_weights_pass(
    legacy: bool | None, legacy_pth: Path, made_once: Any, dog_path: Path
) -> None:
    options = ExportOptions(hints=SpecHints(legacy=legacy))
    result = made_once(legacy_pth, ["onnx"], options)["onnx"]
    assert result.verification.status == "passed"
    assert result.spec.legacy
    said = [note for note in result.notes if "legacy input (release 0.1.0) is used" in note]
    assert len(said) == (legacy is None)
    assert set(said) <= set(result.spec.verification["notes"])
    with Detector(result.path) as detector:
        assert "dog" in {d.name for d in detector(dog_path)}


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_legacy_pixels_are_prepared_in_the_graph_as_well(
    to: str, legacy_pth: Path, made_once: Any, dog_path: Path
) -> None:
    planes = made_once(legacy_pth, ["onnx"], ExportOptions(hints=SpecHints(legacy=True)))["onnx"]
    options = ExportOptions(hints=SpecHints(legacy=True), pixels=True)
    result = made_once(legacy_pth, ["onnx", "openvino"], options)[to]
    assert result.verification.status == "passed"
    with Detector(result.path) as detector, Detector(planes.path) as expected:
        assert detector.spec.legacy
        found, wanted = detector(dog_path), expected(dog_path)
        with pytest.raises(UsageError, match=r"takes uint8 \(N, 416, 416, 3\)"):
            detector.runtime.infer(np.zeros((1, 3, 416, 416), np.float32))
    np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
    np.testing.assert_allclose(found.xyxy, wanted.xyxy, rtol=0, atol=0.01)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=0, atol=1e-4)


def test_pixels_without_a_word_on_what_they_mean_are_refused(
    nano_pth: Path, made_once: Any, tmp_path: Path
) -> None:
    result = made_once(nano_pth, ["onnx"], ExportOptions(pixels=True))["onnx"]
    model = onnx.load(result.path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "plain.onnx")
    for backend in ("onnxruntime", "openvino"):
        with pytest.raises(ArtifactError, match=r"plain\.onnx takes uint8, expected float32"):
            Detector(tmp_path / "plain.onnx", backend)


@pytest.fixture
def one_class_pth(legacy_pth: Path, tmp_path: Path) -> Path:
    """Legacy weights for one class that is in no drawn picture; the file states nothing."""
    network, _ = initial_network("nano", ["thing"], 0, load_checkpoint(legacy_pth))
    weights = network.state_dict()
    for level in range(3):
        weights[f"head.obj_preds.{level}.bias"] -= 10
    torch.save({"model": weights}, tmp_path / "one.pth")
    return tmp_path / "one.pth"


def test_legacy_weights_that_detect_nothing_are_found(one_class_pth: Path, tmp_path: Path) -> None:
    with pytest.warns(ModelWarning, match="they are called class_0; give names with --names"):
        (result,) = export_model(one_class_pth, ["onnx"], ExportOptions(), tmp_path)
    assert result.spec.legacy
    assert any("legacy input (release 0.1.0) is used" in note for note in result.notes)
    error = refused(one_class_pth, tmp_path, legacy=False)
    assert "suits pixels that vary by about 1.1" in str(error)
    assert "add --legacy" in str(error)


def test_witnesses_that_contradict_each_other_are_both_heard(
    legacy_pth: Path, tmp_path: Path
) -> None:
    # The same function, but its statistics look like those of plain input.
    checkpoint = load_checkpoint(legacy_pth)
    norm = first_block(checkpoint.network).bn
    assert norm.running_var is not None
    norm.weight.mul_(57)
    norm.running_var.mul_(57**2).add_((57**2 - 1) * norm.eps)
    torch.save(checkpoint.network.state_dict(), tmp_path / "odd.pth")
    for legacy in (None, True):
        error = refused(tmp_path / "odd.pth", tmp_path, legacy=legacy)
        assert "steady under mirroring" in str(error)
        assert "suits pixels that vary by about 61" in str(error)
        assert "the two contradict each other" in str(error)


@pytest.mark.parametrize("seen", ["drawn", "photographs"])
def test_right_weights_are_not_suspected(
    seen: str, nano_pth: Path, legacy_pth: Path, mixed_pictures: list[Path], tmp_path: Path
) -> None:
    for picture in mixed_pictures[:4]:
        shutil.copy(picture, tmp_path)
    pictures = load_pictures(None if seen == "drawn" else tmp_path)
    for path, legacy in ((nano_pth, False), (legacy_pth, True)):
        checkpoint = load_checkpoint(path)
        spec = checkpoint.spec(SpecHints(legacy=legacy))
        assert Reference(checkpoint.network, spec, pictures).input_problem() is None
        wrong = checkpoint.spec(SpecHints(legacy=not legacy))
        assert Reference(checkpoint.network, wrong, pictures).input_problem() is not None
