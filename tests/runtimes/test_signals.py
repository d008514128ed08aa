"""Engines come and go, and Ctrl-C still works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from yolox_deploy.runtimes import BACKENDS

# Closed in the order of opening: an engine must not leave behind what the other one gave it.
PROGRAM = """
import os, signal, sys
from yolox_deploy import Detector

signal.signal(signal.SIGINT, signal.default_int_handler)
first, second = (Detector(sys.argv[1], sys.argv[2]) for _ in range(2))
for detector in (first, second):
    detector.close()
    detector.runtime = None
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("name", [n for n, row in BACKENDS.items() if ".onnx" in row.suffixes])
def test_an_interrupt_comes_through_after_two_detectors_were_closed(
    name: str, nano_onnx: Path
) -> None:
    if not BACKENDS[name].availability().ok:
        pytest.skip(BACKENDS[name].availability().reason)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(nano_onnx), name],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (run.returncode, run.stdout) == (0, "interrupted\n"), run.stderr
