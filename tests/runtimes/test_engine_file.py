"""What lies beside an engine: strict to read, and one sentence on what differs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_deploy.errors import ArtifactError, OutputError, UsageError
from yolox_deploy.runtimes.tensorrt.compatibility import (
    Machine,
    caution,
    finish_command,
    rebuild_command,
    refusal,
    target_of,
)
from yolox_deploy.runtimes.tensorrt.sidecar import (
    EngineRecord,
    check_content,
    flavour_of,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
from yolox_deploy.spec import ModelSpec

SPEC = ModelSpec("n", ("a", "b"), 64, 96, None, precision="fp16")
TRT = EngineRecord(
    "tensorrt", "10.16.1.11", "fp16", (1, 2, 4), "1" * 64, hashlib.sha256(b"plan").hexdigest(), 4,
    True, "NVIDIA L4", (8, 9), "12.8",
)  # fmt: skip
RTX = replace(
    TRT, flavour="tensorrt-rtx", version="1.7.1.116", gpu=None, compute_capability=None,
    driver=None, targets=("sm86", "sm89"), executed=False,
)  # fmt: skip
L4 = Machine("tensorrt", "10.16.1.11", "NVIDIA L4", (8, 9))
RTX_L4 = Machine("tensorrt-rtx", "1.7.1.116", "NVIDIA L4", (8, 9))


@pytest.mark.parametrize("record", [TRT, RTX, None], ids=["tensorrt", "rtx", "unknown"])
def test_a_sidecar_is_read_as_it_was_written(record: EngineRecord | None, tmp_path: Path) -> None:
    engine = tmp_path / "n_fp16.rtx.engine"
    engine.write_bytes(b"plan")
    path = write_sidecar(engine, SPEC, record)
    assert path == sidecar_path(engine) == tmp_path / "n_fp16.rtx.engine.json"
    assert read_sidecar(engine) == (SPEC, record)
    assert set(json.loads(path.read_text())) == {"spec", "engine"}
    assert [p.name for p in tmp_path.iterdir()].count(path.name) == len(
        list(tmp_path.iterdir())
    ) - 1
    if record is not None:
        check_content(engine, record)
    assert flavour_of(engine) == ("tensorrt" if record is TRT else "tensorrt-rtx")
    with pytest.raises(OutputError):
        write_sidecar(engine / "inside" / "x.engine", SPEC, record)


@given(
    name=st.sampled_from([f.name for f in fields(EngineRecord)]),
    value=st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    | st.lists(st.integers() | st.text(max_size=3), max_size=4) | st.just({}) | st.floats(),
)  # fmt: skip
def test_no_value_of_a_sidecar_gets_through_unseen(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: Any
) -> None:
    engine = tmp_path_factory.getbasetemp() / "fuzzed.engine"
    write_sidecar(engine, SPEC, TRT)
    content = json.loads(sidecar_path(engine).read_text())
    content["engine"][name] = value
    sidecar_path(engine).write_text(json.dumps(content))
    record, message = None, ""
    try:
        record = read_sidecar(engine).engine
    except ArtifactError as error:
        message = str(error)
    if record is None:
        assert "damaged" in message
        assert "\n" not in message
    else:
        assert type(getattr(record, name)) in (str, int, bool, tuple, type(None))
        refusal(record, L4)
        caution(record, L4)
        rebuild_command(SPEC, record, L4)


@pytest.mark.parametrize(
    ("record", "machine", "message"),
    [
        (TRT, L4, None),
        (TRT, L4._replace(gpu="NVIDIA RTX 4090"), None),
        (TRT, L4._replace(gpu=None, compute_capability=None), None),
        (TRT, RTX_L4, "it was built by tensorrt and this is tensorrt-rtx"),
        (TRT, L4._replace(version="10.16.1.12"), "tensorrt 10.16.1.11 and this is 10.16.1.12"),
        (replace(TRT, version_compatible=True), L4._replace(version="11.4.0.106"), None),
        (replace(TRT, version_compatible=True), L4._replace(version="10.9"), "10.9 (a version-com"),
        (TRT, L4._replace(gpu="T4", compute_capability=(7, 5)),
         "for NVIDIA L4 (compute capability 8.9) and this is T4 (compute capability 7.5)"),
        (TRT, L4._replace(gpu=None, compute_capability=(9, 0)), "a GPU of compute capability 9.0"),
        (replace(TRT, hardware_compatible=True), L4._replace(compute_capability=(9, 0)), None),
        (replace(TRT, hardware_compatible=True), L4._replace(compute_capability=(7, 5)),
         "8.0 (Ampere) and newer and this is NVIDIA L4 (compute capability 7.5)"),
        (RTX, RTX_L4, None),
        (RTX, RTX_L4._replace(compute_capability=(12, 0)), "for sm86, sm89 and this is NVIDIA L4"),
        (RTX, RTX_L4._replace(version="1.8.0"), "tensorrt-rtx 1.7.1.116 and this is 1.8.0"),
        (replace(RTX, targets=()), RTX_L4._replace(compute_capability=(12, 0)), None),
        (replace(RTX, targets=()), RTX_L4._replace(compute_capability=(7, 5)), "8.0 (Ampere)"),
    ],
)  # fmt: skip
def test_one_sentence_says_what_differs(
    record: EngineRecord, machine: Machine, message: str | None
) -> None:
    found = refusal(record, machine)
    assert (found is None) == (message is None), found
    if found is not None:
        assert message in found  # type: ignore[operator]
        assert "\n" not in found


def test_another_gpu_of_the_same_kind_is_a_caution() -> None:
    other = L4._replace(gpu="NVIDIA GeForce RTX 4090")
    found = caution(TRT, other)
    assert found is not None
    assert "built on NVIDIA L4 and this is NVIDIA GeForce RTX 4090" in found
    for record, machine in (
        (TRT, L4),
        (replace(TRT, hardware_compatible=True), other),
        (replace(TRT, gpu=None), other),
        (RTX, RTX_L4),
    ):
        assert caution(record, machine) is None


def test_the_commands_build_such_an_engine_again_and_verify_it() -> None:
    start = "yolox-export --model CHECKPOINT --to"
    assert rebuild_command(SPEC, TRT) == f"{start} trt --fp16 --imgsz 64 96 --dynamic --batch 1,2,4"
    fixed = replace(TRT, batch=(3, 3, 3), precision="int8", version_compatible=True)
    assert rebuild_command(replace(SPEC, batch=3, output="decoded"), fixed) == (
        f"{start} trt --imgsz 64 96 --batch 3 --decode --version-compatible"
    )
    assert rebuild_command(SPEC, RTX).endswith("--batch 1,2,4 --targets sm86,sm89")
    blackwell = RTX_L4._replace(compute_capability=(12, 0))
    assert rebuild_command(SPEC, RTX, blackwell).endswith("--targets sm120")
    assert rebuild_command(SPEC, None) == f"{start} trt --fp16 --imgsz 64 96"
    assert target_of((12, 1)) == "sm121"
    assert finish_command(Path("a/x.engine"), SPEC) == (
        "yolox-export --verify-artifact a/x.engine --model CHECKPOINT"
    )
    carrying = replace(SPEC, evidence={"version": 1})
    assert finish_command(Path("a/x.engine"), carrying) == "yolox-verify a/x.engine --record"


@pytest.mark.parametrize(
    "changes",
    [
        {"flavour": "trt"}, {"version": ""}, {"version": "10; rm"}, {"precision": "fp8"},
        {"batch": (0, 1, 1)}, {"batch": (1, 1)}, {"batch": (2, 1, 3)}, {"onnx_sha256": "f" * 63},
        {"engine_bytes": 0}, {"executed": 1}, {"gpu": "a\nb"}, {"compute_capability": (8,)},
        {"targets": ("sm86; x",)}, {"driver": "x" * 61},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(changes))} cannot be"):
        replace(TRT, **changes)
