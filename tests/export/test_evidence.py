"""Artifacts that prove themselves: what they carry, what yolox-verify finds, what is refused."""

from __future__ import annotations

import base64
import json
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from yolox_deploy import Detector
from yolox_deploy.cli.proof.verify import main as verify_command
from yolox_deploy.errors import ArtifactError, ModelWarning, VerificationError
from yolox_deploy.export import TARGETS, ExportOptions, ExportResult, export_model
from yolox_deploy.export.onnx import embed_spec
from yolox_deploy.export.reference import Reference
from yolox_deploy.files import ASSETS
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.pictures.convention import LEGACY_INPUT
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.runtimes.ncnn import NcnnRuntime
from yolox_deploy.spec import ModelSpec, SpecHints
from yolox_deploy.tasks import task_of
from yolox_deploy.tasks.proof import proofs
from yolox_deploy.verification.again import prove_file
from yolox_deploy.verification.evidence import ENCLOSED_BYTES, Evidence
from yolox_deploy.verification.verify import load_pictures
from yolox_deploy.weights import BUNDLED, BUNDLED_ONNX

ENGINES = ("onnx", "openvino", "ncnn")
# A quarter of the usual number of pixels, to be quick.
SMALL = SpecHints(imgsz=(224, 224))
Give = Callable[..., Path]


@pytest.fixture
def nano(made_once: Any, nano_pth: Path) -> dict[str, ExportResult]:
    found: dict[str, ExportResult] = made_once(nano_pth, list(ENGINES), ExportOptions(hints=SMALL))
    return found


@pytest.fixture
def stated(nano: dict[str, ExportResult], tmp_path: Path) -> Give:
    """A copy of an artifact with another spec, sealed again: ``stated("onnx", evidence=None)``."""

    def give(target: str, **changes: Any) -> Path:
        source = nano[target]
        row = TARGETS[target]
        for file in row.files(source.path):
            shutil.copy(file, tmp_path)
        path = tmp_path / source.path.name
        row.embed(path, replace(source.spec, **changes))
        return path

    return give


def first_problem(path: Path, **options: Any) -> str:
    _, found = prove_file(path, threads=1, **options)
    assert found.status == "failed", found.summary
    return found.problems[0]


# -- what is carried -----------------------------------------------------------------------------


def test_every_artifact_carries_the_drawn_pictures_by_their_hash(
    nano: dict[str, ExportResult],
) -> None:
    for result in nano.values():
        evidence = Evidence.of(result.spec)
        assert evidence is not None
        assert len(evidence.witnesses) == len(list(ASSETS.glob("*.jpg")))
        assert evidence.detections > 10
        assert all(w.picture.found() and w.picture.content is None for w in evidence.witnesses)
        assert len(json.dumps(result.spec.evidence)) < 100_000
        again = replace(result.spec, evidence=evidence.record(result.spec))
        assert again == result.spec == ModelSpec.from_json(again.to_json())


@pytest.mark.parametrize("target", ENGINES)
def test_a_sound_artifact_is_proven_by_its_engine(
    target: str, nano: dict[str, ExportResult]
) -> None:
    for threads in (1, 2):
        _, found = prove_file(nano[target].path, threads=threads)
        assert (found.status, found.pictures, found.precision) == ("passed", 5, "fp32")
        assert found.comparison is not None
        assert found.comparison["detections"] > 10


@pytest.mark.parametrize("options", [{"decode": True}, {"nms": True, "batch": 4}], ids=str)
def test_so_is_one_with_another_output_or_batch(
    options: dict[str, Any], made_once: Any, nano_pth: Path
) -> None:
    result = made_once(nano_pth, ["onnx"], ExportOptions(hints=SMALL, **options))["onnx"]
    assert prove_file(result.path, threads=1)[1].status == "passed"


def test_own_pictures_are_enclosed_small_and_the_same_each_time(
    nano_pth: Path, mixed_pictures: list[Path], tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for picture in mixed_pictures[:6]:
        shutil.copy(picture, pictures)
    options = ExportOptions(hints=SMALL, pictures=pictures, overwrite=True)
    contents = []
    for _ in range(2):
        (result,) = export_model(nano_pth, ["onnx"], options, tmp_path)
        contents.append(result.path.read_bytes())
    assert contents[0] == contents[1]
    assert any("--no-enclose leaves your pictures out" in note for note in result.notes)
    evidence = Evidence.of(result.spec)
    assert evidence is not None
    files = [w.picture.content for w in evidence.witnesses]
    assert len(files) == 5
    assert 20_000 < sum(map(len, filter(None, files))) <= ENCLOSED_BYTES
    assert prove_file(result.path, threads=1)[1].status == "passed"

    reference = Reference(load_checkpoint(nano_pth).network, result.spec, load_pictures(pictures))
    evidence = reference.evidence(own=True, enclose=False)
    assert {w.picture.content for w in evidence.witnesses} == {None}


def test_the_spec_is_put_into_an_onnx_file_as_protobuf_does_it(
    nano: dict[str, ExportResult], tmp_path: Path
) -> None:
    path = tmp_path / "nano.onnx"
    shutil.copy(nano["onnx"].path, path)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"author": "someone", "é": "ü" * 200})
    onnx.save(model, path)
    spec = replace(nano["onnx"].spec, name="other")
    TARGETS["onnx"].embed(path, spec)
    embed_spec(model, spec)
    assert path.read_bytes() == model.SerializeToString()


# -- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "changes", "words"),
    [
        ("onnx", {"colour_order": "RGB"}, "colour order that it states is RGB, .* given BGR"),
        ("openvino", {"scale": 1 / 255}, r"scale that it states is 0\.00392157, "),
        ("ncnn", {"pad_value": 0}, "pad value that it states is 0, .* given 114"),
        ("onnx", vars(LEGACY_INPUT), "it states legacy input, .* given plain input"),
    ],
)
def test_another_input_is_named(
    target: str, changes: dict[str, Any], words: str, stated: Give, nano: dict[str, ExportResult]
) -> None:
    path = stated(target, input=replace(nano[target].spec.input, **changes))
    assert re.search(words, first_problem(path))


Wrong = Callable[[Letterbox, Any], None]


def rolled(down: int, right: int) -> Wrong:
    return lambda box, out: out.__setitem__(..., np.roll(out, (down, right), (1, 2)))


def black(box: Letterbox, out: Any) -> None:
    box.pad[:] = 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (rolled(3, -5), "lie 3 pixels lower and 5 further left"),
        (rolled(40, 0), "lie 40 pixels lower"),
        (black, "the pad value is 0, and should be 114"),
        (lambda box, out: out.__setitem__(..., out[::-1].copy()), "colours .* other order"),
        (lambda box, out: np.divide(out, 255, out), r"0\.0039\d* times as large"),
        (lambda box, out: np.subtract(out, 60, out), "differ by up to 60 of 255 levels"),
    ],
)
def test_a_wrong_letterbox_is_named(
    wrong: Wrong, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paste = Letterbox.__call__

    def pasted(self: Letterbox, image: Any, out: Any) -> float:
        wrong(self, out)
        ratio = paste(self, image, out)
        wrong(self, out)
        return ratio

    monkeypatch.setattr(Letterbox, "__call__", pasted)
    assert re.search(words, first_problem(BUNDLED_ONNX))


def test_slightly_other_pixels_are_no_fault_and_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other decoders and other ways of resizing move a pixel by a level or two."""
    resize = cv2.resize
    noise = np.random.default_rng(1)

    def other(image: Any, size: Any, out: Any, **how: Any) -> Any:
        resize(image, size, out, **how)
        out[:] = np.clip(out.astype(int) + noise.integers(-1, 2, out.shape), 0, 255)
        return out

    monkeypatch.setattr(cv2, "resize", other)
    _, found = prove_file(BUNDLED_ONNX, threads=1)
    assert found.status == "passed", found.problems
    assert any("slightly other pixels here (by up to 1.0" in note for note in found.notes)


def edited(stated: Give, name: Callable[[list[str]], str], change: Callable[[Any], Any]) -> Path:
    """The ONNX file with one changed tensor of weights, sealed again."""
    path = stated("onnx")
    model = onnx.load(path)
    names = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
    (tensor,) = (t for t in model.graph.initializer if t.name == name(names))
    array = numpy_helper.to_array(tensor).copy()
    tensor.CopyFrom(numpy_helper.from_array(change(array), tensor.name))
    spec = ModelSpec.from_json(next(e.value for e in model.metadata_props))
    onnx.save(model, path)
    TARGETS["onnx"].embed(path, spec)
    return path


def flipped(array: Any) -> Any:
    array.ravel()[np.abs(array).argmax()] *= -1
    return array


@pytest.mark.parametrize("layer", [0, 30, 60, -2])
def test_a_damaged_weight_is_found(layer: int, stated: Give) -> None:
    path = edited(stated, lambda names: names[layer], flipped)
    assert "weights" in first_problem(path)


def test_weights_for_another_input_are_named(stated: Give) -> None:
    path = edited(stated, lambda names: names[0], lambda w: w[:, [1, 2, 0]].copy())
    assert "with its colours in the order GRB it detects" in first_problem(path)


def test_a_damaged_file_fails_before_an_engine_sees_it(
    stated: Give, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stated("ncnn")
    weights = path.with_suffix(".bin")
    content = bytearray(weights.read_bytes())
    content[100_000] ^= 255
    weights.write_bytes(content)
    assert verify_command([str(path)]) == 5
    assert "is not the file that was exported" in capsys.readouterr().err


def test_a_lower_precision_than_promised_fails_and_its_own_proof_passes(
    stated: Give, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stated("ncnn")
    load = NcnnRuntime._load

    def in_bf16(self: NcnnRuntime, *rest: Any) -> None:
        asked, self.precision = self.precision, "bf16"
        load(self, *rest)
        self.precision = asked

    with monkeypatch.context() as patch:
        # The engine says that it computes in FP32.
        patch.setattr(NcnnRuntime, "_load", in_bf16)
        assert "as little as bf16 would" in first_problem(path)

    with pytest.warns(ModelWarning, match=rf"to verify it: yolox-verify {path} --record --prec"):
        Detector(path, precision="bf16").close()
    assert verify_command([str(path), "--precision", "bf16", "--record"]) == 0
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Detector(path, precision="bf16", verify=True) as detector:
            found = [(p.verdict, p.precision, p.backend) for p in proofs(detector.spec)]
    assert found == [("passed", "fp32", "ncnn"), ("passed", "bf16", "ncnn")]


# -- the detector, and old or damaged artifacts ----------------------------------------------------


def test_a_detector_proves_itself_once_at_the_start(
    stated: Give, nano: dict[str, ExportResult]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Detector(nano["onnx"].path, threads=1, verify=True).close()
    wrong = replace(nano["onnx"].spec.input, colour_order="RGB")
    with pytest.raises(VerificationError, match="colour order that it states is RGB"):
        Detector(stated("onnx", input=wrong), threads=1, verify=True)
    with pytest.warns(ModelWarning, match="carries no evidence"):
        Detector(BUNDLED, "torch", threads=1, verify=True).close()


def test_an_artifact_without_evidence_opens_and_is_not_proven(
    stated: Give, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stated("onnx", evidence=None)
    Detector(path, threads=1).close()
    assert verify_command([str(path)]) == 12
    said = capsys.readouterr()
    assert f"yolox-export --verify-artifact {path} --model CHECKPOINT" in said.err
    assert "not run" in said.out


def text_of(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("version", 2, "reads up to 1: pip install --upgrade"),
        ("version", "x", "damaged"),
        ("pictures", [], "0 pictures"),
        ("pictures", [{}] * 1000, "1000 pictures"),
        ("score_threshold", 2, "thresholds 2"),
        ("input", {"scale": "x"}, "damaged"),
        ("sha256", "x", "SHA-256 'x'"),
        ("content", "A" * 1_000_000, "a picture of 1000000 bytes"),
        ("content", "!", "damaged"),
        ("content", "AAAA", "another SHA-256"),
        ("rows", text_of(1e9), "rows outside of"),
        ("rows", "", "rows outside of"),
        ("values", "A" * 10_000_000, "more than"),
        ("values", "A" * 8, "are no rows of 85 numbers"),
        ("values", 5, "more than"),
        ("pixels", text_of(1, 2, 3), "1 pixels"),
        ("found", text_of(0, 1, 2, 3, 4, float("nan"), 6), "no numbers"),
        ("found", text_of(0, 1, 2, 3, 4, 0.5, 80), "classes that the model has not"),
    ],
)
def test_damaged_evidence_is_refused(
    key: str, value: Any, words: str, nano: dict[str, ExportResult]
) -> None:
    spec = nano["onnx"].spec
    stored = json.loads(json.dumps(spec.evidence))
    (stored if key in stored else stored["pictures"][0])[key] = value
    with pytest.raises(ArtifactError, match=words):
        Evidence.of(replace(spec, evidence=stored))


def test_pictures_of_another_version_prove_nothing(stated: Give, nano: Any) -> None:
    stored = json.loads(json.dumps(nano["onnx"].spec.evidence))
    for picture in stored["pictures"]:
        picture["sha256"] = "0" * 64
    _, found = prove_file(stated("onnx", evidence=stored), threads=1)
    assert found.status == "not run"
    assert "drawn_1.jpg" in found.notes[0]


def test_what_finds_very_much_is_judged_by_its_best(tmp_path: Path, checkpoint_of: Any) -> None:
    """Reference weights detect in nearly every cell."""
    tiny = SpecHints(imgsz=(64, 96))
    (result,) = export_model(checkpoint_of(7), ["onnx"], ExportOptions(hints=tiny), tmp_path)
    evidence = Evidence.of(result.spec)
    assert evidence is not None
    assert all(len(w.found) <= 100 for w in evidence.witnesses)
    assert all(
        w.values.shape[1] == task_of(result.spec).width(result.spec) for w in evidence.witnesses
    )
    assert prove_file(result.path, threads=1)[1].status in ("passed", "not proven on detections")
