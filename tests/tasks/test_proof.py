"""Proofs in a spec: what they cover, which one replaces which, and records of older versions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks.proof import MOST_PROOFS, proof_for, proofs, verdict_in, with_proof

SPEC = ModelSpec("small", ("cat",), 64, 64)


def record(status: str = "passed", precision: str = "fp32", **more: Any) -> dict[str, Any]:
    place = {"backend": "openvino", "engine": "2026.4", "device": "cpu"}
    return {"status": status, "summary": "so", "precision": precision, **place, **more}


def spec_with(*records: dict[str, Any]) -> ModelSpec:
    spec = SPEC
    for one in records:
        spec = replace(spec, verification=with_proof(spec, one))
    return ModelSpec.from_json(spec.to_json())


def kinds(spec: ModelSpec) -> list[tuple[str, str, str]]:
    return [(proof.verdict, proof.precision, proof.backend) for proof in proofs(spec)]


def test_there_is_one_proof_for_each_precision_backend_and_device() -> None:
    records = [
        record(),
        record("failed", "bf16"),
        record(backend="onnxruntime"),
        record(device="gpu"),
        record("passed", "bf16", summary="again"),
    ]
    spec = spec_with(*records)
    assert kinds(spec) == [
        ("passed", "fp32", "openvino"),
        ("passed", "bf16", "openvino"),
        ("passed", "fp32", "onnxruntime"),
        ("passed", "fp32", "openvino"),
    ]
    assert str(proofs(spec)[1]) == "passed: again (bf16, openvino 2026.4 on cpu)"
    assert spec_with(*records[:1]).verification == records[0]


@pytest.mark.parametrize("status", ["built, not executed", "not run"])
def test_a_proof_takes_the_place_of_what_never_ran(status: str) -> None:
    spec = spec_with(record(status, backend="onnxruntime"), record("passed", "fp16"))
    assert kinds(spec) == [("passed", "fp16", "openvino")]


@pytest.mark.parametrize(
    ("records", "precision", "verdict"),
    [
        ([], "fp32", "not run"),
        ([record("not run")], "fp32", "not run"),
        ([record()], "fp32", "passed"),
        ([record()], "bf16", "passed in fp32 only"),
        ([record(), record("failed", "bf16")], "bf16", "failed"),
        # FP32 holds what a lower precision holds, and not the other way round.
        ([record(precision="bf16")], "fp32", "passed"),
        ([record(precision="bf16")], "fp16", "passed in bf16 only"),
        ([record("failed", "bf16")], "fp32", "failed in bf16 only"),
        ([record("failed", backend="ncnn"), record()], "fp32", "passed"),
        ([record("failed", backend="ncnn")], "fp32", "failed"),
        ([record("not proven on detections")], "fp32", "not proven on detections"),
    ],
    ids=str,
)
def test_the_verdict_is_that_of_the_executed_precision(
    records: list[dict[str, Any]], precision: str, verdict: str
) -> None:
    assert verdict_in(spec_with(*records), precision, "openvino") == verdict


OLD = {"status": "passed", "executed": True, "summary": "3 agree", "comparison": {"detections": 3}}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "passed"),
        ({"executed": False}, "built, not executed"),
        ({"comparison": {"detections": 0}}, "not proven on detections"),
        ({"status": "failed", "executed": False}, "failed"),
        ({"status": "not run", "comparison": None}, "not run"),
    ],
)
def test_records_of_older_versions_are_read(changes: dict[str, Any], verdict: str) -> None:
    spec = replace(SPEC, verification={**OLD, **changes}, precision="fp16")
    (proof,) = proofs(spec)
    assert (proof.verdict, proof.precision, proof.backend) == (verdict, "fp16", "")
    assert str(proof) == f"{verdict}: 3 agree"
    again = replace(spec, verification=with_proof(spec, record(precision="fp16")))
    assert kinds(again) == [("passed", "fp16", "openvino")]


@pytest.mark.parametrize(
    "further", [None, "x", {}, [1, None, []], [{}], [{"status": 3, "comparison": 4, "device": []}]]
)
def test_a_record_that_makes_no_sense_stops_nothing(further: Any) -> None:
    spec = replace(SPEC, verification={**record(), "further": further})
    assert proofs(spec)[0].verdict == "passed"
    assert proof_for(spec, "fp32", "openvino") == proofs(spec)[0]
    many = replace(SPEC, verification={**record(), "further": [record("failed", "bf16")] * 1000})
    assert len(proofs(many)) == MOST_PROOFS
