"""What happens around an engine: files that change under it, processes that fork, and Ctrl-C."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy.runtimes import BACKENDS

# The child uses the parent's detector, one of its own, and both from a pool of processes.
FORK = """
import multiprocessing, os, signal, sys
from yolox_deploy import Detector

path, backend, picture = sys.argv[1:]
detector = Detector(path, backend, threads=2)
expected = detector(picture).scores.tolist()

def inherited(picture):
    return detector(picture).scores.tolist()

def own(picture):
    signal.alarm(300)
    with Detector(path, backend, threads=2) as opened:
        return opened(picture).scores.tolist()

with multiprocessing.get_context("fork").Pool(1) as pool:
    found = [pool.apply_async(call, [picture]).get(300) for call in (inherited, own, inherited)]
assert found == [expected] * 3, found
assert inherited(picture) == expected
print("alike")
"""


def demand(said: str, script: str, *arguments: str | Path) -> None:
    """Run a script in a process of its own, and demand what it prints when all went well."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert (run.returncode, run.stdout) == (0, f"{said}\n"), run.stderr[-500:]


@pytest.mark.parametrize("backend", ["ncnn", "torch", "onnxruntime", "openvino"])
def test_a_child_of_a_process_that_used_an_engine_can_use_it_too(
    backend: str, model_for: Any, dog_path: Path
) -> None:
    """OpenMP's threads stay behind when a process forks, and the child would wait for them."""
    demand("alike", FORK, model_for(backend).path, backend, dog_path)


CHANGE = """
import sys
from pathlib import Path
from yolox_deploy import Detector

path, backend, picture = sys.argv[1:]
with Detector(path, backend, threads=1) as detector:
    expected = detector(picture).scores.tolist()
    for file in Path(path).parent.iterdir():
        size = file.stat().st_size
        with file.open("r+b") as opened:
            opened.write(bytes(size // 2))
            opened.truncate(size // 2)
    assert detector(picture).scores.tolist() == expected
print("alike")
"""


@pytest.mark.parametrize("backend", ["openvino", "ncnn", "onnxruntime"])
def test_files_that_are_overwritten_do_not_change_what_was_opened(
    backend: str, model_for: Any, dog_path: Path, tmp_path: Path
) -> None:
    """In a process of its own: a file that is mapped and cut off ends the process."""
    path: Path = model_for(backend).path
    for part in path.parent.iterdir():
        if part.stem == path.stem:
            shutil.copy(part, tmp_path / part.name)
    demand("alike", CHANGE, tmp_path / path.name, backend, dog_path)


# Closed in the order of opening: an engine must not leave behind what the other one gave it.
INTERRUPT = """
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
    demand("interrupted", INTERRUPT, nano_onnx, name)
