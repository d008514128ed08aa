"""Each sentence of advice, given where the numbers carry it and only there; and the chart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolox_deploy.benchmarks.machine.environment import Environment
from yolox_deploy.benchmarks.machine.limits import Limit
from yolox_deploy.benchmarks.measure.cold_start import ColdStart
from yolox_deploy.benchmarks.measure.loop import HarnessCost, Series
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.report.report import Report
from yolox_deploy.benchmarks.scenarios import charts
from yolox_deploy.benchmarks.scenarios.latency import figures
from yolox_deploy.benchmarks.scenarios.latency.scenario import LatencyResult
from yolox_deploy.export.costs import Cost

pytest.importorskip("scipy")

SYSTEM = SystemInfo(
    *("s openvino fp32", "s.onnx", "s", False, "openvino", "2026", "cpu", "fp32", "fp32", "fp32"),
    *(2, 1, 640, 640, 80, "passed"),
)
START = ColdStart(0.2, 0.3, 0.02, 100 << 20, None)


def series(inference: float, letterbox: float = 0.0005, nms: float = 0.0002) -> Series:
    random = np.random.default_rng(0)
    nothing = np.full(400, np.nan)
    times = inference * random.lognormal(0, 0.02, 400)
    columns = (np.full(400, letterbox), nothing, times, nothing, np.full(400, nms), np.full(400, 0))
    stages = np.stack(columns, 1)
    return Series(np.arange(40).repeat(10), stages, np.nansum(stages, 1) + 1e-6)


def advice(*found: tuple[SystemInfo, Series], **changes: Any) -> str:
    systems = [system for system, _ in found]
    made = result(*found, **changes)
    return "\n".join([*made.advice(systems), *made.quiet_advice(systems)])


def result(*found: tuple[SystemInfo, Series], **changes: Any) -> LatencyResult:
    measured = [one for _, one in found]
    count = len(measured)
    limit = Limit("cpu", "fp32", 2, 400, 20, "x")
    values = {
        "cores": 2.0,
        "instruction_sets": [],
        "series": measured,
        "cold_starts": [[START]] * count,
        "costs": [None] * count,
        "limits": [limit],
        "harness": HarnessCost(1e-6, 1e-6),
        **changes,
    }
    return LatencyResult(**values)


def test_nothing_is_said_of_a_healthy_system() -> None:
    assert advice((SYSTEM, series(0.01)), costs=[Cost(2, 1, 1, "x")]) == ""


def test_stages_around_the_engine_that_dominate() -> None:
    assert "the letterbox takes 5" in advice((SYSTEM, series(0.004, letterbox=0.006)))
    assert "decode and NMS take 5" in advice((SYSTEM, series(0.004, nms=0.006)))
    blind = replace(SYSTEM, random_weights=True)
    assert "NMS" not in advice((blind, series(0.004, nms=0.006)))


def test_more_threads_than_processors() -> None:
    text = advice((replace(SYSTEM, threads=8), series(0.01)))
    assert "8 threads share 2 allowed processors: try --threads 2" in text


def test_a_slow_first_inference() -> None:
    slow = ColdStart(0.2, 0.3, 0.5, 1, None)
    text = advice((SYSTEM, series(0.01)), cold_starts=[[slow]])
    assert "the first inference takes 500 ms" in text


def test_times_that_scatter() -> None:
    wild = series(0.01)
    wild.total[::5] *= 4
    alone = "s openvino fp32: the times scatter by 75%: choose a deadline by the p99, "
    assert advice((SYSTEM, wild)).startswith(alone)
    wilder = series(0.01)
    wilder.total[::5] *= 8
    found = advice((SYSTEM, wild), (NANO, wilder), (TINY, series(0.01))).splitlines()[-1]
    assert found.startswith("nano x: the times scatter by 1")
    assert found.endswith(
        "%, the most of the 2 that scatter: choose a deadline by the p99 and not by the median"
    )


def test_doubts_come_first_and_on_a_busy_machine_nothing_is_said_of_scatter() -> None:
    wild = series(0.01)
    wild.total[::5] *= 4
    measured = result((SYSTEM, wild), (NANO, series(0.02)))
    clock = "the same work took 1.32 times as long"
    for lost, first in (
        (0.57, "measure again on a quiet machine: other programs had 57%"),
        (0, ""),
    ):
        environment = Environment({}, {}, {}, lost, [clock])
        report = Report("latency", "x", "now", environment, [SYSTEM, NANO], [], measured)
        doubt, *advised = report.verdicts()
        assert doubt == f"doubtful, because {clock}"
        assert advised[0].startswith(f"advice: {first or 'the fastest is'}")
        assert any("scatter" in line for line in advised) == (not lost)
        assert len(advised) == 2


def test_a_machine_that_waits_for_one_picture() -> None:
    text = advice((SYSTEM, series(0.01)), costs=[Cost(0.2, 1, 1, "x")])
    assert "uses 5% of what the machine can compute" in text
    batched = replace(SYSTEM, batch=8)
    assert advice((batched, series(0.01)), costs=[Cost(0.2, 1, 1, "x")]) == ""


def test_a_lower_precision_that_is_faster_or_untried() -> None:
    low = replace(
        SYSTEM,
        label="s openvino bf16",
        precision="bf16",
        asked_precision="bf16",
        verification="passed in fp32 only",
    )
    text = advice((SYSTEM, series(0.01)), (low, series(0.005)))
    assert "s openvino bf16 takes 0.5" in text
    assert "verification: passed in fp32 only; check the AP with yolox-eval --prec" in text
    assert "bf16 takes" not in advice((SYSTEM, series(0.01)), (low, series(0.0098)))
    small = replace(low, model="s_int8.onnx", artifact_precision="int8", precision="int8")
    small = replace(small, verification="passed")
    text = advice((SYSTEM, series(0.01)), (small, series(0.005)))
    assert text.endswith("; verification: passed")
    another = replace(small, architecture="m")
    assert "verification" not in advice((SYSTEM, series(0.01)), (another, series(0.005)))
    # The fastest has a doubt of its own.
    text = advice((low, series(0.004)), (SYSTEM, series(0.01)))
    assert "FPS; its verification: passed in fp32 only\n" in text
    untried = advice((SYSTEM, series(0.01)), instruction_sets=["avx512_bf16"])
    assert "measure --precision fp32,bf16" in untried
    both = ((SYSTEM, series(0.01)), (low, series(0.0098)))
    assert "measure" not in advice(*both, instruction_sets=["avx512_bf16"])


NANO = replace(SYSTEM, label="nano x", model="nano.onnx", architecture="nano")
TINY = replace(SYSTEM, label="tiny x", model="tiny.onnx", architecture="tiny")


@pytest.mark.parametrize(("fps", "frame"), [(25, "40.0"), (30, "33.3")])
def test_the_fastest_that_holds_the_rate_that_was_asked_for(fps: float, frame: str) -> None:
    slow = (SYSTEM, series(0.05))
    fastest, best = advice(slow, (NANO, series(0.004)), (TINY, series(0.02)), fps=fps).split("\n")
    rate = f"the fastest that holds {fps} frames per second (a frame lasts {frame} ms) is "
    assert fastest.startswith(f"{rate}nano x, its p95 is 4.")
    assert "by published AP, is tiny x, its p95 is 2" in best
    other = replace(SYSTEM, label="s other", backend="other")
    assert advice(slow, (other, series(0.02)), fps=fps).startswith(f"{rate}s other, its p95 is 2")
    own = replace(SYSTEM, architecture=None)
    none = advice((own, series(0.05)), (other, series(0.06)), fps=fps)
    assert none.startswith(f"none holds {fps} frames per second")
    assert "the nearest is s openvino fp32, its p95 is 5" in none
    assert none.endswith("; an export with a smaller --imgsz or a lower precision may hold it")
    low = replace(other, precision="bf16", label="s bf16")
    every = advice((own, series(0.05)), (low, series(0.06)), fps=fps)
    assert every.split("\n")[0].endswith("; an export with a smaller --imgsz may hold it")
    own = replace(own, model="s.pth")
    none = advice((own, series(0.05)), (other, series(0.06)), fps=fps)
    assert none.endswith("ms; a smaller --imgsz or a lower precision may hold it")


def test_without_a_rate_the_fastest_is_named_if_there_are_several() -> None:
    assert advice((SYSTEM, series(0.5))) == ""
    text = advice((SYSTEM, series(0.02)), (NANO, series(0.01)), (TINY, series(0.01)))
    assert text.startswith("the fastest is nano x: 10.7 ms per picture, 94 FPS; not surely slower:")
    assert text.endswith(": tiny x")


def test_no_model_is_advised_that_would_be_as_slow() -> None:
    slow = (SYSTEM, series(0.05))
    # 26.8 GFLOPs in 50 ms: tiny has a quarter of the operations.
    assert "measure --model yolox_tiny --random-weights" in advice(slow, fps=30)
    # Tiny was measured, and is no faster.
    both = advice(slow, (TINY, series(0.04)), fps=30)
    assert both.count("measure --model yolox_nano") == 1
    assert "yolox_tiny --random-weights" not in both
    # At 100 per second tiny is too slow by its operations, and so is nano at 2000.
    assert "yolox_nano" in advice(slow, fps=100)
    assert "a smaller --imgsz" in advice(slow, fps=2000)
    # Measured at a smaller input: s has fewer operations there than tiny has at its own.
    small = advice(slow, fps=25, costs=[Cost(6.0, 1, 1, "x")], limits=[])
    assert "yolox_nano" in small
    # On this engine l is slower than darknet53, which has more operations.
    dark = replace(SYSTEM, label="d x", model="d.onnx", architecture="darknet53")
    large = replace(SYSTEM, label="l x", model="l.onnx", architecture="l")
    text = advice((dark, series(0.497)), (large, series(0.511)), fps=2)
    assert "none holds 2 frames per second" in text
    assert "yolox_l " not in text


def test_the_chart_compares_the_systems_of_each_model_on_linear_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    @contextmanager
    def watched(path: Path, size: tuple[float, float]) -> Iterator[Any]:
        with charts.figure(path, size) as figure:
            yield figure
            drawn.append(figure)

    monkeypatch.setattr(figures, "figure", watched)
    large = replace(SYSTEM, label="x openvino fp32", architecture="x")
    other = replace(SYSTEM, label="s ncnn fp32", backend="ncnn")
    found = [(SYSTEM, series(0.05)), (other, series(0.08)), (large, series(1.2))]
    result(*found).plot([system for system, _ in found], tmp_path / "chart.png")
    small_all, small_rest, large_all, _ = drawn[0].axes
    assert {axes.get_xscale() for axes in drawn[0].axes} == {"linear"}
    names = [label.get_text() for label in small_all.get_yticklabels()]
    assert names == ["s openvino fp32", "s ncnn fp32"]
    medians = [f"{1e3 * one.median:.1f}" for _, one in found[:2]]
    assert [text.get_text() for text in small_all.texts] == medians
    assert small_all.get_xlim()[1] < 120 < 1200 < large_all.get_xlim()[1]
    # Letterbox, NMS and what belongs to no stage.
    assert small_rest.get_xlim()[1] == pytest.approx(0.7, abs=0.1)
