"""The measuring loop on detectors whose behaviour is known, and on a real one."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolox_deploy import Detections
from yolox_deploy.benchmarks.measure import loop
from yolox_deploy.benchmarks.measure.loop import Series, harness_cost, measure
from yolox_deploy.benchmarks.measure.opening import open_systems, requests
from yolox_deploy.benchmarks.measure.systems import System, SystemRequest, TimedDetector
from yolox_deploy.errors import InputFileError, UsageError
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import read_image
from yolox_deploy.runtimes.openvino import OpenVINORuntime
from yolox_deploy.timing import EngineSeconds, StageSeconds

PICTURES = [read_image(path) for path in sorted(ASSETS.glob("digits_*.jpg"))]


class Sleeper:
    """Detects nothing, in a time that is told; keeps a diary of who was called."""

    engine: EngineSeconds | None = None

    def __init__(self, name: str, diary: list[str], seconds: float = 0) -> None:
        self.name, self.diary, self.seconds = name, diary, seconds
        self.slow_at: int | None = None
        self.pictures: list[int] = []

    def __call__(self, picture: Any, thresholds: Any = None) -> Detections:
        self.pictures.append(id(picture))
        self.diary.append(self.name)
        time.sleep(0.05 if self.diary.count(self.name) == self.slow_at else self.seconds)
        return Detections.empty().timed(StageSeconds(0.1, 0.2, 0.3, 0.4, self.engine))

    def batch(self, pictures: Any, thresholds: Any = None) -> list[Detections]:
        return [self(picture) for picture in pictures]


def system(detector: Any, batch: int = 1) -> TimedDetector:
    return TimedDetector(detector, PICTURES, batch)


def test_both_the_time_and_the_count_are_met() -> None:
    (series,) = measure([system(Sleeper("a", [], 0.001))], seconds=0.1, min_count=3)
    assert series.total.sum() >= 0.1
    assert len(series.total) >= 3
    (series,) = measure([system(Sleeper("a", [], 0.001))], seconds=0.001, min_count=67)
    assert len(series.total) >= 67


def test_systems_take_turns_in_a_changing_order_until_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "SETTLE_SECONDS", 0)
    diary: list[str] = []
    fast, slow = Sleeper("f", diary), Sleeper("s", diary, 0.002)
    found = measure([system(fast), system(slow)], seconds=0.04, min_count=20)
    for series in found:
        # Every round has calls of both: nobody stops while another goes on.
        assert set(series.rounds) == set(range(loop.FEWEST_ROUNDS))
    changes = [a + b for a, b in itertools.pairwise(diary) if a != b]
    assert len(changes) >= loop.FEWEST_ROUNDS - 1
    firsts = "".join(diary).replace("ff", "f")
    assert "fs" in firsts
    assert "sf" in firsts


def test_nothing_timed_is_dropped() -> None:
    sleeper = Sleeper("a", [])
    sleeper.slow_at = loop.WARM_UP_CALLS + 5
    (series,) = measure([system(sleeper)], seconds=0.001, min_count=40)
    assert series.total.max() >= 0.05
    assert len(series.total) == len(sleeper.diary) - loop.WARM_UP_CALLS


def test_pictures_are_taken_in_turn_and_in_batches() -> None:
    sleeper = Sleeper("a", [])
    outcome = system(sleeper, batch=2).run(range(5))
    assert sleeper.pictures == [id(PICTURES[i % len(PICTURES)]) for i in range(5)]
    assert len(outcome.detections) == 5
    # Three calls of the detector: their stages are added up.
    assert outcome.stages.letterbox == pytest.approx(0.3)
    assert outcome.stages.nms == pytest.approx(1.2)


def test_an_engine_with_a_clock_of_its_own_is_asked() -> None:
    sleeper = Sleeper("a", [])
    outcome = system(sleeper).run([0])
    assert np.isnan(outcome.stages.copy_in)
    assert np.isnan(outcome.stages.copy_out)
    assert outcome.stages.inference == 0.2
    sleeper.engine = EngineSeconds(1, 2, 3)
    assert system(sleeper).run([0]).stages == (0.1, 1, 2, 3, 0.3, 0.4)


def test_a_series_survives_json() -> None:
    stages = np.full((3, 6), 0.001)
    stages[:, [1, 3]] = np.nan
    series = Series(np.array([0, 0, 1]), stages, np.array([0.005, 0.0061, 0.0071]))
    content = series.to_json()
    assert content["copy_in"] is None
    assert content["total"] == [5_000_000, 6_100_000, 7_100_000]
    again = Series.from_json(content)
    assert np.array_equal(again.rounds, series.rounds)
    assert np.allclose(again.stages, stages, equal_nan=True, atol=1e-9)
    assert again.other == pytest.approx([0.001, 0.0021, 0.0031])
    with pytest.raises(InputFileError, match="differ in length"):
        Series.from_json({**content, "nms": [1]})


def test_the_harness_itself_is_measured() -> None:
    cost = harness_cost(PICTURES, calls=200)
    assert 0 < cost.inside < 1e-3
    assert 0 <= cost.between < 1e-3


def test_the_stages_of_a_real_detector_add_up() -> None:
    wanted = requests([None], ["openvino"], [None], threads=1)
    (opened,), notes = open_systems(wanted, PICTURES)
    assert notes == []
    try:
        (series,) = measure([opened], 0.2, 30)
        direct = opened.detector(PICTURES[0])
        assert opened.run([0]).detections == [direct]
        assert len(direct) > 3
    finally:
        opened.close()
    assert (series.other >= 0).all()
    assert np.median(np.nansum(series.stages, 1) / series.total) > 0.95
    assert opened.info.precision == "fp32"
    assert opened.info.threads == 1


def test_the_precision_is_what_the_engine_says_and_measured_once() -> None:
    wanted = requests([None], ["openvino"], ["fp32", "fp32", "bf16", "fp16"], threads=1)
    assert [request.precision for request in wanted] == ["fp32", "bf16", "fp16"]
    systems, notes = open_systems(wanted, PICTURES)
    try:
        found = [s.info.precision for s in systems]
        # What else the processor has is its own affair, but nothing may be there twice or unsaid.
        assert found[0] == "fp32"
        assert len(found) == len(set(found))
        left_out = [name for note in notes for name in note.partition(" w")[0].split(", ")]
        assert len(systems) + len(left_out) == 3
        assert all("measured already" in note for note in notes)
    finally:
        for opened in systems:
            opened.close()


def test_all_precisions_are_those_that_the_device_computes_in() -> None:
    found = requests([None], ["torch", "onnxruntime"], ["all"])
    assert [(r.backend, r.precision, bool(r.left_out)) for r in found] == [
        ("torch", "fp32", False),
        ("torch", "fp16", True),
        ("onnxruntime", "fp32", False),
    ]
    assert not any(r.left_out for r in requests([None], ["torch"], ["all"], device="cuda:1"))
    (opened,), (note,) = open_systems(found[1:], PICTURES)
    opened.close()
    assert note.startswith("digits_nano torch fp16 was left out: ")
    assert "name it to measure it: --precision fp16" in note


def test_openvino_says_what_it_would_take_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVINORuntime, "precisions_on", classmethod(lambda cls, kind: ("fp32",)))
    one, *others = requests([None], ["openvino"], ["all"])
    assert not one.left_out
    assert {r.left_out for r in others} == {
        "OpenVINO does not compute in it on this device, and would take fp32 instead"
    }


def test_precisions_that_no_engine_has_are_refused_before_an_export(tmp_path: Path) -> None:
    checkpoint = tmp_path / "m.pth"
    checkpoint.touch()
    with pytest.raises(UsageError, match="nothing to measure") as refused:
        requests([str(checkpoint)], ["torch", "openvino", "onnxruntime"], ["int8"])
    for words in (
        *("torch has no precision 'int8': expected fp32, fp16", "expected fp32, bf16, fp16"),
        *("onnxruntime has no precision 'int8': expected fp32", "yolox-export --int8"),
    ):
        assert words in str(refused.value)
    found = requests([str(checkpoint)], ["torch", "onnxruntime"], ["fp32", "FP16"])
    left_out = "onnxruntime has no precision 'FP16': expected fp32"
    assert [r.left_out.partition(";")[0] for r in found] == ["", "", "", left_out]


def test_the_engine_is_not_named_twice() -> None:
    assert SystemRequest(Path("yolox_nano.ncnn.param"), "ncnn").text == "yolox_nano ncnn"
    assert SystemRequest(Path("nano.v2.onnx"), "openvino").text == "nano.v2 openvino"


def test_a_batch_that_the_artifact_cannot_take_is_refused(nano_onnx: Any) -> None:
    with pytest.raises(UsageError, match=r"takes 1 picture at once, --batch 4 is more"):
        System(SystemRequest(nano_onnx, "onnxruntime", batch=4), PICTURES)
    with pytest.raises(UsageError, match="no picture"):
        System(SystemRequest(nano_onnx, "onnxruntime"), [])


def test_random_weights_are_made_once_and_keep_numbers_usual() -> None:
    import torch

    from yolox_deploy.models.checkpoint import load_checkpoint
    from yolox_deploy.models.random_weights import bundled_pictures, random_checkpoint

    path = random_checkpoint("yolox_nano")
    assert random_checkpoint("nano") == path
    network = load_checkpoint(path).network
    with torch.inference_mode():
        output = network(bundled_pictures()[-1:])
    assert output.isfinite().all()
    largest = output[..., :4].abs().max()
    assert 1e-3 < largest < 1e3
    assert (output[..., 4] < 0.25).float().mean() > 0.9
    with pytest.raises(UsageError, match="unknown architecture"):
        random_checkpoint("yolox_q")
