"""An artifact that is there already is verified, and keeps what was found."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy import Detector
from yolox_deploy.errors import DeviceError, ModelWarning, UsageError
from yolox_deploy.export import TARGETS, ExportOptions, ExportResult, artifact
from yolox_deploy.export.artifact import verify_artifact
from yolox_deploy.export.quantization import speed
from yolox_deploy.export.targets import target_of
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.runtimes.base import Opened
from yolox_deploy.runtimes.gpu import why_no_gpu
from yolox_deploy.runtimes.tensorrt.sidecar import EngineRecord, read_sidecar
from yolox_deploy.tasks.describe import describe
from yolox_deploy.tasks.proof import proofs

SCATTERED = [0.5 + i % 2 for i in range(15)]
no_gpu = pytest.mark.skipif(not why_no_gpu(), reason="here engines run")


def copied(result: ExportResult, folder: Path) -> Path:
    for file in TARGETS[result.target].files(result.path):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / result.path.name


@pytest.mark.parametrize("to", ["onnx", "openvino", "ncnn"])
def test_an_artifact_that_is_there_is_verified_and_says_so(
    to: str, made_once: Any, built: list[str], nano_pth: Path, tmp_path: Path
) -> None:
    result = made_once(nano_pth, built, ExportOptions())[to]
    path = copied(result, tmp_path)
    TARGETS[to].embed(path, replace(result.spec, verification=None))
    before = {file.name for file in tmp_path.iterdir()}
    found = verify_artifact(path, nano_pth)
    assert found.verification.status == "passed"
    assert found.notes == ()
    assert {file.name for file in tmp_path.iterdir()} == before
    with BACKENDS[TARGETS[to].backend].runtime_class()(path) as runtime:
        assert runtime.spec == found.spec
        assert runtime.spec.verification is not None
        assert runtime.spec.verification["status"] == "passed"


def test_an_artifact_keeps_one_proof_for_each_precision_that_was_executed(
    made_once: Any, built: list[str], nano_pth: Path, tmp_path: Path, recwarn: Any
) -> None:
    path = copied(made_once(nano_pth, built, ExportOptions())["ncnn"], tmp_path)
    lower = {"backend": "ncnn", "precision": "bf16"}
    with pytest.warns(ModelWarning, match=r"verified in fp32, and now it runs in bf16") as notes:
        Detector(path, **lower).close()
    (command,) = (str(note.message).partition("to verify it: ")[2] for note in notes)
    words = f"yolox-verify {path} --record --precision bf16"
    assert command == words

    found = verify_artifact(path, nano_pth, precision="bf16")
    assert (found.verification.status, found.verification.precision) == ("passed", "bf16")
    engine = importlib.metadata.version("ncnn")
    assert [
        (p.verdict, p.precision, p.backend, p.engine, p.device) for p in proofs(found.spec)
    ] == [
        ("passed", "fp32", "ncnn", engine, "cpu"),
        ("passed", "bf16", "ncnn", engine, "cpu"),
    ]
    recwarn.clear()
    for precision in (None, "bf16"):
        with Detector(path, "ncnn", precision=precision) as detector:
            assert detector.spec == found.spec
    assert not recwarn.list
    # Once more is one proof less and one more.
    assert len(proofs(verify_artifact(path, nano_pth).spec)) == 2
    texts = [text for label, text in describe(found.spec) if label == "verification"]
    assert [text.rpartition(" (")[2] for text in texts] == [
        f"fp32, ncnn {engine} on cpu)",
        f"bf16, ncnn {engine} on cpu)",
    ]


def test_what_failed_says_so_whenever_it_is_opened(
    made_once: Any, built: list[str], nano_pth: Path, tmp_path: Path
) -> None:
    result = made_once(nano_pth, built, ExportOptions())["onnx"]
    path = copied(result, tmp_path)
    record = {**result.spec.verification, "status": "failed", "summary": "boxes differ"}
    TARGETS["onnx"].embed(path, replace(result.spec, verification=record))
    with pytest.warns(ModelWarning, match=r"yolox_nano.onnx failed its verification: boxes differ"):
        Detector(path).close()


def test_an_artifact_of_another_class_count_is_not_the_checkpoints(
    nano_hub: ExportResult, checkpoint_of: Any
) -> None:
    content = nano_hub.path.read_bytes()
    with pytest.raises(UsageError, match=r"80 classes and .* 7: it was not made from"):
        verify_artifact(nano_hub.path, checkpoint_of(7))
    assert nano_hub.path.read_bytes() == content


def test_an_artifact_without_a_spec_is_verified_and_left_alone(
    nano_onnx: Path, nano_pth: Path, tmp_path: Path
) -> None:
    path = tmp_path / "official.onnx"
    path.write_bytes(nano_onnx.read_bytes())
    found = verify_artifact(path, nano_pth)
    assert found.verification.status == "passed"
    assert any("nothing was written" in note for note in found.notes)
    assert path.read_bytes() == nano_onnx.read_bytes()


@pytest.mark.parametrize("to", TARGETS)
def test_the_target_of_a_file_is_told_by_its_name(to: str) -> None:
    assert target_of(Path(f"x.y{TARGETS[to].suffix}")).name == to


def test_an_engine_that_runs_at_last_is_recorded_as_executed(
    rtx: ExportResult, nano_pth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime stands in for the GPU: this shows the sidecar's way, no engine runs."""
    path = copied(rtx, tmp_path)
    source = rtx.path.with_name("yolox_nano_fp16.onnx")

    class StandIn(BACKENDS["onnxruntime"].runtime_class()):  # type: ignore[misc]
        def _open(self) -> Opened:
            engine, self.path = self.path, source
            opened = super()._open()
            self.path = engine
            return opened._replace(spec_json=read_sidecar(engine).spec.to_json())

    class Row:
        @staticmethod
        def runtime_class() -> type:
            return StandIn

    monkeypatch.setattr(artifact, "backend_for", lambda path, name: Row)
    before = read_sidecar(path).engine
    assert before == replace(as_record(before), executed=False)
    found = verify_artifact(path, nano_pth)
    assert found.verification.status == "passed"
    after = read_sidecar(path)
    assert after.engine == replace(as_record(before), executed=True)
    assert after.spec.verification is not None
    assert "its ONNX graph" not in after.spec.verification["summary"]
    assert [proof.verdict for proof in proofs(after.spec)] == ["passed"]
    assert path.read_bytes() == rtx.path.read_bytes()
    json.loads(path.with_name(path.name + ".json").read_text("utf-8"))


def as_record(record: EngineRecord | None) -> EngineRecord:
    assert record is not None
    return record


@no_gpu
def test_an_engine_is_not_verified_where_it_cannot_run(rtx: ExportResult, nano_pth: Path) -> None:
    content = rtx.path.with_name(rtx.path.name + ".json").read_bytes()
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        verify_artifact(rtx.path, nano_pth)
    assert rtx.path.with_name(rtx.path.name + ".json").read_bytes() == content


def test_the_fastest_proven_precision_is_taken(
    made_once: Any,
    built: list[str],
    nano_pth: Path,
    nano_onnx: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = copied(made_once(nano_pth, built, ExportOptions())["ncnn"], tmp_path)

    def taken() -> str:
        with Detector(path, threads=1, precision="fastest-proven") as detector:
            return detector.runtime.precision

    # BF16 is not proven yet, so nothing is measured.
    assert taken() == "fp32"
    verify_artifact(path, nano_pth, backend="ncnn", precision="bf16")
    assert taken() in ("fp32", "bf16")
    for bf16, expected in (([0.6] * 15, "bf16"), ([1.4] * 15, "fp32"), (SCATTERED, "fp32")):
        recorded = {"fp32": [1.0] * 15, "bf16": bf16}
        monkeypatch.setattr(speed, "alternate", lambda *_, times=recorded: times)
        assert taken() == expected
    with pytest.raises(UsageError, match=r"proven in no precision on onnxruntime.* yolox-verify"):
        Detector(nano_onnx, "onnxruntime", threads=1, precision="fastest-proven")
