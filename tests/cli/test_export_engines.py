"""``yolox-export`` for TensorRT: what it builds, what it says where it cannot, what it verifies."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper

from yolox_deploy.runtimes.gpu import why_no_gpu
from yolox_deploy.runtimes.tensorrt.sidecar import read_sidecar

no_gpu = pytest.mark.skipif(not why_no_gpu(), reason="here is a GPU")
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed"
)
SIZE = ("--imgsz", 64, 96, "--names", "cow,horse")


@no_gpu
def test_without_tensorrt_one_message_says_what_to_do_and_what_is_needed_is_there(
    command: Any, nano_pth: Path, tmp_path: Path
) -> None:
    found = command(
        "yolox-export", "--model", nano_pth, "--to", "trt", "--fp16", "--output", tmp_path
    )
    assert found.code == 4
    *rest, last = found.err.splitlines()
    assert last.startswith("yolox-export: target trt must be built on the machine that runs it: ")
    assert not [line for line in rest if line.startswith("yolox-export:")]
    line = "trtexec --onnx=yolox_nano_fp16.onnx --saveEngine=yolox_nano_fp16.engine --stronglyTyped"
    assert line in last
    assert line in (tmp_path / "yolox_nano_fp16.trtexec.txt").read_text().splitlines()
    (row,) = found.out.splitlines()[2:]
    assert row.split()[:2] == ["onnx", str(tmp_path / "yolox_nano_fp16.onnx")]
    assert "passed: " in row
    assert (tmp_path / "yolox_nano_fp16.onnx").stat().st_size > 1.5e6
    assert "below FP16's normal range" in found.err


@needs_rtx
def test_an_engine_for_named_gpus_describes_itself_anywhere(
    command: Any, tiny_pth: Path, tmp_path: Path
) -> None:
    found = command(
        "yolox-export",
        *("--model", tiny_pth, "--to", "trt-rtx", "--fp16", "--output", tmp_path, *SIZE),
        *("--dynamic", "--batch", "1,2,6", "--targets", "sm89,SM120", "--workspace", 256),
    )
    assert found.code == (12 if why_no_gpu() else 0), found.err
    path = tmp_path / "tiny_fp16.rtx.engine"
    assert str(path) in found.out
    record = read_sidecar(path).engine
    assert record is not None
    assert (record.batch, record.targets) == ((1, 2, 6), ("sm89", "sm120"))
    found = command("yolox-export", "--describe", path)
    assert found.code == 0
    assert "sm89, sm120" in found.out
    assert "1 to 6, 2 preferred" in found.out
    if why_no_gpu():
        assert "engine not executed" in found.out
        found = command("yolox-export", "--verify-artifact", path, "--model", tiny_pth)
        assert found.code == 4
        assert "no NVIDIA driver" in found.err.splitlines()[-1]
    path.write_bytes(path.read_bytes()[:1000])
    found = command("yolox-export", "--describe", path)
    assert found.code == 3
    assert "is truncated: 1000 of" in found.err


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--to", "onnx", "--targets", "sm86"), 2, "is for --to trt-rtx, not for onnx"),
        (("--to", "trt", "--targets", "sm86"), 2, "is for --to trt-rtx, not for trt"),
        (("--to", "trt", "--nms"), 2, "cannot carry NMS"),
        (("--to", "onnx", "--batch", "1,2,3"), 2, "is for --to trt or trt-rtx, not for onnx"),
        (("--to", "trt-rtx", "--batch", "1,2"), 2, "expected N or MIN,OPT,MAX, got 1,2"),
        (("--to", "trt-rtx", "--batch", "many"), 2, "--batch: expected N or MIN,OPT,MAX, got many"),
        (("--to", "trt-rtx", "--batch", "3,2,1", "--dynamic"), 2, "in ascending order"),
        (("--to", "trt-rtx", "--workspace", "0"), 2, "number of MiB"),
        (("--to", "trt-rtx", "--targets", ","), 2, "--targets names no GPU"),
        (("--to", "trt_rtx"), 2, "did you mean 'trt-rtx'"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_answered_in_one_line(
    arguments: tuple[str, ...], code: int, text: str, command: Any, tiny_pth: Path, tmp_path: Path
) -> None:
    found = command("yolox-export", "--model", tiny_pth, "--output", tmp_path / "out", *arguments)
    assert found.code == code
    assert text in found.err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_an_artifact_is_verified_again_on_other_pictures(
    command: Any, onnx_nano: Path, nano_pth: Path, data_file: Any, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(data_file("images/dog.jpg"), pictures)
    path = Path(shutil.copy(onnx_nano, tmp_path / "mine.onnx"))
    found = command(
        *("yolox-export", "--verify-artifact", path, "--model", nano_pth, "--verify", pictures)
    )
    assert found.code == 0, found.err
    assert "passed: 5 detections agree on 1 picture," in found.out
    more = "note: only 5 detections were compared: more pictures in --verify FOLDER prove more"
    assert more in found.err
    found = command("yolox-export", "--describe", path)
    assert "passed: 5 detections agree on 1 picture," in found.out


def test_an_artifact_that_fails_ends_with_5_and_says_so(
    command: Any, onnx_nano: Path, nano_pth: Path, tmp_path: Path
) -> None:
    model = onnx.load(onnx_nano)
    stem = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    stem.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stem) * 2, stem.name))
    path = tmp_path / "mine.onnx"
    onnx.save(model, path)
    verify = ("yolox-export", "--verify-artifact", path, "--model", nano_pth)
    found = command(*verify)
    assert found.code == 5
    assert "failed: " in found.out
    # It is not the file that was exported, and no verdict is told of another one.
    assert f"nothing was written to {path.name}" in found.err
    found = command("yolox-export", "--describe", path)
    assert (found.code, found.out) == (3, "")
    assert command(*verify, "--allow-unverified").code == 0


def test_another_checkpoint_takes_no_artifacts_proof_away(
    command: Any, onnx_nano: Path, nano_pth: Path, data_file: Any, tmp_path: Path
) -> None:
    path = Path(shutil.copy(onnx_nano, tmp_path / "mine.onnx"))
    assert command("yolox-export", "--verify-artifact", path, "--model", nano_pth).code == 0
    before = path.read_bytes()
    other = data_file("weights/yolox_nano_legacy.pth")
    found = command("yolox-export", "--verify-artifact", path, "--model", other)
    assert found.code == 5
    assert "mine.onnx was made from another checkpoint than" in found.out
    assert "--legacy" not in found.out + found.err
    assert "nothing was written to mine.onnx" in found.err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--verify-artifact", "x.onnx"), 2, "needs --model CHECKPOINT"),
        (("--verify-artifact", "x.onnx", "--model", "MODEL"), 3, "x.onnx: no such file"),
        (("--verify-artifact", "MODEL", "--model", "MODEL"), 2, "is a checkpoint"),
    ],
    ids=str,
)
def test_a_verification_that_cannot_begin_says_why(
    arguments: tuple[str, ...], code: int, text: str, command: Any, tiny_pth: Path
) -> None:
    given = [str(tiny_pth) if a == "MODEL" else a for a in arguments]
    found = command("yolox-export", *given)
    assert found.code == code
    assert text in found.err.splitlines()[-1]
