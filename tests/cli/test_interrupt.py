"""Ctrl-C, or another signal that ends a process, at any moment: nothing is left half-written."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from interrupting import ended_at, started

STAGES = [
    "reading the checkpoint",
    "running the checkpoint",
    "tracing the network",
    "converting to openvino",
    "verifying openvino",
    "converting to ncnn",
    "verifying ncnn",
]


@pytest.mark.parametrize(
    ("stage", "number", "code"),
    [
        *((stage, signal.SIGINT, 130) for stage in STAGES[:-2]),
        (STAGES[-2], signal.SIGTERM, 143),
        (STAGES[-1], signal.SIGHUP, 129),
    ],
)
def test_an_export_that_is_interrupted_leaves_what_was_there(
    stage: str,
    number: signal.Signals,
    code: int,
    nano_pth: Path,
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "yolox_nano.ncnn.param").write_text("precious")
    arguments = ["--model", str(nano_pth), "--to", "openvino,ncnn", "--output", str(out)]
    arguments += ["--overwrite"]
    with started("export", *arguments, number=number, env=environment) as process:
        printed, told = ended_at(stage, process, number, 0.05)
    lines = [line for line in told.splitlines() if not line.startswith("yolox_nano.pth: ")]
    assert lines == ["yolox-export: interrupted; nothing was left half-written"]
    assert process.returncode == code
    assert printed == ""
    # What was whole and verified before may stay; the pair must be complete then.
    left = {path.name for path in out.iterdir()} - {"yolox_nano.ncnn.param"}
    assert left in (set(), {"yolox_nano.xml", "yolox_nano.bin"})
    assert (out / "yolox_nano.ncnn.param").read_text() == "precious"
