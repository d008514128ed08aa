"""``yolox-bench --scenario``: from the command line to report, JSON, logs and chart."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from interrupting import ended_at, started

from yolox_deploy.cli.bench import main

for package in ("mlperf_loadgen", "pycocotools", "jsonschema", "psutil", "matplotlib"):
    pytest.importorskip(package)


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture
def nano(nano_onnx: Path) -> tuple[object, ...]:
    return ("--model", nano_onnx, "--backend", "onnxruntime", "--threads", 1)


def test_single_stream(nano: tuple[object, ...], tmp_path: Path, capsys: Any) -> None:
    outputs = ("--json", tmp_path / "r.json", "--plot", tmp_path / "r.svg")
    words = ("--duration", 0.2, "--min-count", 5, "--scenario", "single-stream")
    assert run(*nano, *words, *outputs) == 0
    printed = capsys.readouterr()
    assert "MLPerf LoadGen" in printed.out
    assert "VALID" in printed.out
    logs = tmp_path / "r_loadgen_logs"
    assert str(logs) in printed.out
    assert list(logs.glob("1_*/performance/mlperf_log_detail.txt"))
    content = json.loads((tmp_path / "r.json").read_text())
    # Raised to what LoadGen needs.
    assert content["result"]["tests"][0]["queries"] >= 64
    assert (tmp_path / "r.svg").read_text().startswith("<?xml")
    assert run("show", tmp_path / "r.json") == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[:6] == printed.out.splitlines()[:6]


def test_streaming(nano: tuple[object, ...], data_file: Any, tmp_path: Path, capsys: Any) -> None:
    words = ("--scenario", "streaming", "--fps", 6, "--frames", 5, "--no-forecast")
    words = (*words, "--json", tmp_path / "s.json")
    assert run(*nano, *words, "--video", data_file("video/highway.mp4")) == 0
    printed = capsys.readouterr()
    assert "highway.mp4, 5 frames at 6 per second" in printed.out
    assert "streaming penalty" in printed.out
    assert "real time" in printed.out
    assert run("show", tmp_path / "s.json") == 0
    assert "streaming penalty" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scenario", "streaming"), "needs frames: --video FILE"),
        (("--scenario", "streaming", "--video", "none.mp4"), "none.mp4: no such file"),
        (("--scenario", "streaming", "--video", "x", "--fps", 0), "--fps takes more than 0"),
        (("--fps", "nan"), "--fps takes more than 0"),
        (("--scenario", "latency", "--data", "x.json"), "--data is for"),
        (("--scenario", "server", "--data", "x.json"), "needs --images DIR"),
        (
            ("--scenario", "server", "--latency-bound", 1e6, "--target-qps", 1e8),
            "cannot be reached",
        ),
        (("--scenario", "offline", "--seed", -1), "--seed must be at least 0"),
    ],
    ids=lambda value: " ".join(map(str, value[1:])) if isinstance(value, tuple) else None,
)
def test_wrong_use_is_one_line(
    words: tuple[object, ...], message: str, nano: tuple[object, ...], capsys: Any
) -> None:
    assert run(*nano, *words) in (2, 3)
    printed = capsys.readouterr()
    assert message in printed.err.splitlines()[-1]
    assert printed.out == ""


def test_ctrl_c_ends_a_long_test_at_once(nano: tuple[object, ...], tmp_path: Path) -> None:
    words = (*nano, "--scenario", "single-stream", "--duration", 600)
    with started("bench", *words, cwd=tmp_path) as process:
        printed, told = ended_at("about 600 s", process, signal.SIGINT, 0.5)
    assert process.returncode == 130
    assert told.splitlines() == ["yolox-bench: interrupted; nothing was left half-written"]
    assert printed == ""
