"""Ctrl-C, or another signal that ends a process, at any moment: nothing is left half-written."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXPORT = "import sys; from yolox_deploy.cli.export import main; sys.exit(main(sys.argv[1:]))"
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
    with subprocess.Popen(
        [sys.executable, "-c", EXPORT, *arguments],
        env=environment,
        # A suite that runs in the background hands down an ignored signal.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if stage in line:
                break
        time.sleep(0.05)
        process.send_signal(number)
        try:
            printed, told = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail("it goes on, or hangs, after Ctrl-C")
    lines = [line for line in told.splitlines() if not line.startswith("yolox_nano.pth: ")]
    assert lines == ["yolox-export: interrupted; nothing was left half-written"]
    assert process.returncode == code
    assert printed == ""
    # What was whole and verified before may stay; the pair must be complete then.
    left = {path.name for path in out.iterdir()} - {"yolox_nano.ncnn.param"}
    assert left in (set(), {"yolox_nano.xml", "yolox_nano.bin"})
    assert (out / "yolox_nano.ncnn.param").read_text() == "precious"
