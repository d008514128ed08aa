"""Every target with every kind of request, by its real converter and its real engine.

Parametrized over the registry: a target without its row in the tables below fails the suite.
An engine that is built here and cannot run here, for want of a GPU, is compared through the ONNX
graph that it is made from, and the tests that look at pictures leave it out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from yolox_deploy import Detector
from yolox_deploy.errors import MissingPackageError, UsageError
from yolox_deploy.export import TARGETS, ExportOptions, ExportResult, Target, export_model
from yolox_deploy.files import ASSETS
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.runtimes.gpu import why_no_gpu
from yolox_deploy.runtimes.tensorrt.sidecar import read_sidecar
from yolox_deploy.spec import ModelSpec, SpecHints

# What dog.jpg shows (reference values of the original), at the default thresholds.
DOG = {"dog": 0.855, "bicycle": 0.803, "car": 0.798, "truck": 0.306, "cat": 0.260}

# Every file of an artifact of yolox_nano.pth.
FILES = {
    "onnx": {"yolox_nano.onnx"},
    "openvino": {"yolox_nano.xml", "yolox_nano.bin"},
    "ncnn": {"yolox_nano.ncnn.param", "yolox_nano.ncnn.bin", "yolox_nano.ncnn.json"},
    "trt": {"yolox_nano.engine", "yolox_nano.engine.json"},
    "trt-rtx": {"yolox_nano.rtx.engine", "yolox_nano.rtx.engine.json"},
}
NO_NMS = {"ncnn", "trt", "trt-rtx"}
NO_PIXELS = {"ncnn", "trt", "trt-rtx"}
NO_BATCHES = {"ncnn"}
# Built on a machine with TensorRT and a GPU only: without, test_tensorrt_versions.py is what there
# is.  Every other target must be built wherever the tests run.
NEEDS_GPU_TO_BUILD = {"trt"}
NEEDS_GPU_TO_RUN = {"trt", "trt-rtx"}

HAS_GPU = not why_no_gpu()
HAS_TENSORRT = HAS_GPU and importlib.util.find_spec("tensorrt") is not None
BUILT = [t for t in TARGETS if HAS_TENSORRT or t not in NEEDS_GPU_TO_BUILD]
RUN = [t for t in BUILT if HAS_GPU or t not in NEEDS_GPU_TO_RUN]


@dataclass(frozen=True)
class Variant:
    """One kind of request; ``classes`` asks for a checkpoint with reference weights."""

    options: ExportOptions
    classes: int | None = None
    shown: dict[str, float] = field(default_factory=lambda: DOG)


VARIANTS = {
    "raw": Variant(ExportOptions()),
    "decode": Variant(ExportOptions(decode=True)),
    "nms": Variant(ExportOptions(nms=True)),
    "fp16": Variant(ExportOptions(fp16=True), shown={}),
    "pixels": Variant(ExportOptions(pixels=True)),
    "pixels fp16 nms": Variant(
        ExportOptions(pixels=True, fp16=True, nms=True, dynamic=True), shown={}
    ),
    "batch 3": Variant(ExportOptions(batch=3)),
    "dynamic": Variant(ExportOptions(dynamic=True)),
    "dynamic nms": Variant(ExportOptions(dynamic=True, nms=True)),
    "384x640": Variant(ExportOptions(hints=SpecHints(imgsz=(384, 640))), shown={}),
    # Small, because reference weights detect something nearly everywhere.
    "1 class": Variant(ExportOptions(hints=SpecHints(imgsz=(224, 224), names=("thing",))), 1, {}),
    "7 classes": Variant(ExportOptions(hints=SpecHints(imgsz=(224, 224)), dynamic=True), 7, {}),
}

Export = Callable[[str, str], ExportResult]


def able(name: str) -> list[str]:
    """The targets that can carry a variant, of those that are built here."""
    options = VARIANTS[name].options
    unable = (NO_NMS if options.nms else set()) | (NO_PIXELS if options.pixels else set())
    return [t for t in BUILT if t not in unable]


EVERY = [(t, v) for v in VARIANTS for t in able(v)]
every = pytest.mark.parametrize(("to", "variant"), EVERY, ids=[f"{t} {v}" for t, v in EVERY])


@pytest.fixture(scope="session")
def export(made_once: Any, nano_pth: Path, checkpoint_of: Any) -> Export:
    """Give a target's verified export of a variant; all targets of a variant are made at once."""

    def give(to: str, variant: str) -> ExportResult:
        row = VARIANTS[variant]
        checkpoint = nano_pth if row.classes is None else checkpoint_of(row.classes)
        result: ExportResult = made_once(checkpoint, able(variant), row.options)[to]
        return result

    return give


def opened(result: ExportResult, **options: Any) -> Detector:
    return Detector(result.path, TARGETS[result.target].backend, **options)


def spec_in(result: ExportResult) -> ModelSpec:
    """The spec as it comes back from the artifact, or from beside it where it cannot run."""
    if result.target not in RUN:
        return read_sidecar(result.path).spec
    with opened(result) as detector:
        return detector.spec


def test_every_target_has_its_test_material() -> None:
    assert set(FILES) == set(TARGETS)
    for name, row in TARGETS.items():
        assert row.name == name
        assert row.backend in BACKENDS
        assert row.suffix.endswith(BACKENDS[row.backend].suffixes)
        assert ("detections" in row.outputs) == (name not in NO_NMS)
        assert row.pixels == (name not in NO_PIXELS)
        assert row.batches == (name not in NO_BATCHES)
        assert name not in RUN or not row.why_not_executed()


@every
def test_it_passes_verification_under_the_requested_name(
    to: str, variant: str, export: Export
) -> None:
    result = export(to, variant)
    assert result.verification.status == ("passed" if to in RUN else "built, not executed")
    assert result.verification.executed == (to in RUN)
    assert ("its ONNX graph: " in result.verification.summary) == (to not in RUN)
    assert result.verification.pictures == len(list(ASSETS.glob("*.jpg")))
    assert result.ok
    assert "unverified" not in result.path.name
    assert result.path.is_file()


@every
def test_its_spec_comes_back_from_the_artifact(to: str, variant: str, export: Export) -> None:
    result, row = export(to, variant), VARIANTS[variant]
    options = row.options
    spec = spec_in(result)
    assert spec == result.spec
    assert (spec.height, spec.width) == (options.hints.imgsz or (416, 416))
    batch = None if options.dynamic else options.batch
    assert spec.batch == (1 if to in NO_BATCHES else batch)
    assert spec.output == ("detections" if options.nms else "decoded" if options.decode else "raw")
    assert spec.precision == ("fp16" if options.fp16 else "fp32")
    assert spec.pixels == options.pixels
    assert spec.num_classes == (row.classes or 80)
    assert spec.architecture == "nano"
    assert spec.checkpoint_sha256
    assert {"torch", "onnx", TARGETS[to].package} <= set(spec.tools)
    assert spec.verification is not None
    assert spec.verification["status"] == result.verification.status
    assert not spec.assumed
    thresholds = (spec.score_threshold, spec.iou_threshold)
    assert thresholds == ((0.25, 0.45) if options.nms else (None, None))


@pytest.mark.parametrize(
    ("to", "variant"),
    [(t, v) for t, v in EVERY if VARIANTS[v].shown and t in RUN],
    ids=str,
)
def test_the_dog_is_found_with_the_reference_scores(
    to: str, variant: str, export: Export, dog: NDArray[np.uint8]
) -> None:
    with opened(export(to, variant)) as detector:
        found = detector(dog)
        assert {d.name: d.score for d in found} == pytest.approx(DOG, abs=0.002)
        np.testing.assert_allclose(found[0].xyxy, [132.8, 206.6, 325.7, 543.1], atol=0.2)
        several = detector.batch([dog, dog[:300], dog, dog[:, :400]])
        assert [len(one) for one in several[:3:2]] == [5, 5]
        np.testing.assert_allclose(several[2].xyxy, found.xyxy, rtol=0, atol=0.01)
        alone = detector(dog[:, :400])
        np.testing.assert_allclose(several[3].xyxy, alone.xyxy, rtol=0, atol=0.01)
        np.testing.assert_allclose(several[3].scores, alone.scores, rtol=0, atol=1e-4)


@pytest.mark.parametrize("to", RUN)
def test_half_precision_shows_the_dog_in_half_the_size(
    to: str, export: Export, dog: NDArray[np.uint8]
) -> None:
    half, full = export(to, "fp16"), export(to, "raw")
    with opened(half) as detector:
        found = {d.name: d.score for d in detector(dog)}
    assert {name: found.get(name) for name in ("dog", "bicycle", "car")} == pytest.approx(
        {name: DOG[name] for name in ("dog", "bicycle", "car")}, abs=0.03
    )
    assert half.size < 0.66 * full.size
    assert half.path.name == full.path.name.replace("yolox_nano", "yolox_nano_fp16")


@pytest.mark.parametrize("to", RUN)
@pytest.mark.parametrize("variant", ["384x640", "1 class", "7 classes"])
def test_other_sizes_and_class_counts_show_what_the_checkpoint_shows(
    to: str, variant: str, export: Export, nano_pth: Path, checkpoint_of: Any, dog_path: Path
) -> None:
    row = VARIANTS[variant]
    checkpoint = nano_pth if row.classes is None else checkpoint_of(row.classes)
    arguments: dict[str, Any] = {"score_threshold": 0.25 if row.classes is None else 0.001}
    hints = row.options.hints
    with (
        Detector(checkpoint, "torch", imgsz=hints.imgsz, names=hints.names, **arguments) as torch,
        opened(export(to, variant), **arguments) as detector,
    ):
        expected, found = torch(dog_path), detector(dog_path)
    assert len(expected) > 2
    assert found.names == expected.names
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-3)
    # Neighbours of equal score may change places.
    differences = np.abs(expected.xyxy[:, None] - found.xyxy[None]).max(2)
    same = (differences < 0.1) & (expected.class_ids[:, None] == found.class_ids[None])
    assert same.any(1).mean() > 0.99
    assert same.any(0).mean() > 0.99


@pytest.mark.parametrize("to", BUILT)
def test_the_artifact_is_these_files_and_no_others(to: str, export: Export) -> None:
    result = export(to, "raw")
    files = TARGETS[to].files(result.path)
    assert {file.name for file in files} == FILES[to]
    assert files[-1] == result.path
    assert result.size == sum(file.stat().st_size for file in files)
    everything = {path.name for path in result.path.parent.iterdir()}
    assert everything == set().union(*(FILES[name] for name in BUILT))


def test_classes_without_names_are_numbered(export: Export) -> None:
    for to in BUILT:
        result = export(to, "7 classes")
        assert result.spec.class_names == tuple(f"class_{i}" for i in range(7))


@pytest.mark.parametrize("to", NO_BATCHES)
def test_a_target_without_batches_says_so(to: str, export: Export) -> None:
    assert any("no batches" in note for note in export(to, "batch 3").notes)
    assert not any("no batches" in note for note in export(to, "raw").notes)


@pytest.mark.parametrize(
    ("to", "option", "problem"),
    [(to, "nms", "cannot carry NMS") for to in BUILT if to in NO_NMS]
    + [(to, "pixels", "takes no pixels") for to in BUILT if to in NO_PIXELS],
)
def test_what_a_target_cannot_carry_is_refused_in_one_sentence_before_any_work(
    to: str, option: str, problem: str, nano_pth: Path, tmp_path: Path
) -> None:
    stages: list[str] = []
    options = ExportOptions(**{option: True})
    with pytest.raises(UsageError, match=f"target {to} {problem}") as caught:
        export_model(nano_pth, ["onnx", to], options, tmp_path / "out", stages.append)
    assert f"--{option}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert stages == ["reading the checkpoint"]


@pytest.mark.parametrize("thresholds", [(0.5, 0.45), (0.1, 0.45), (0.25, 0.8)], ids=str)
def test_suppression_at_other_thresholds_is_verified_at_those(
    thresholds: tuple[float, float], made_once: Any, nano_pth: Path, dog_path: Path
) -> None:
    score, iou = thresholds
    options = ExportOptions(nms=True, score_threshold=score, iou_threshold=iou)
    result = made_once(nano_pth, ["onnx"], options)["onnx"]
    assert result.verification.status == "passed"
    assert (result.spec.score_threshold, result.spec.iou_threshold) == thresholds
    same = {"score_threshold": score, "iou_threshold": iou}
    with opened(result, **same) as detector, Detector(nano_pth, "torch", **same) as torch:
        found, expected = detector(dog_path), torch(dog_path)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("given", "meant"), [("opnvino", "openvino"), ("ONNX", "onnx"), ("nccn", "ncnn")]
)
def test_an_unknown_target_is_answered_with_the_one_that_was_meant(given: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean '{meant}'"):
        TARGETS.choose(given)


def test_a_target_without_its_package_names_the_pip_line() -> None:
    class Absent(type(TARGETS["onnx"])):  # type: ignore[misc]
        name = "absent"
        package = "no_such_package"
        extra = "absent"

    row: Target = Absent()
    with pytest.raises(MissingPackageError, match=r'pip install .*\[absent\]"'):
        row.load()


@pytest.mark.parametrize("stem", ["my.model.v2", "with blank", "mädchen-日本", "-dash"])
def test_any_file_name_survives_every_target(stem: str, checkpoint_of: Any, tmp_path: Path) -> None:
    checkpoint = tmp_path / f"{stem}.pth"
    checkpoint.write_bytes(checkpoint_of(1).read_bytes())
    options = ExportOptions(hints=SpecHints(imgsz=(64, 64), names=("thing",)), verify=False)
    for result in export_model(checkpoint, BUILT, options, tmp_path / "out"):
        assert result.path == tmp_path / "out" / f"{stem}{TARGETS[result.target].suffix}"
        assert spec_in(result).name == stem
