"""What happens around an engine: files that change under it, and processes that fork."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize("backend", ["ncnn", "torch", "onnxruntime", "openvino"])
def test_a_child_of_a_process_that_used_an_engine_can_use_it_too(
    backend: str, model_for: Any, dog_path: Path
) -> None:
    """OpenMP's threads stay behind when a process forks, and the child would wait for them."""
    arguments = [str(model_for(backend).path), backend, str(dog_path)]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, *arguments],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert (run.returncode, run.stdout) == (0, "alike\n"), run.stderr[-500:]


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
    arguments = [str(tmp_path / path.name), backend, str(dog_path)]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHANGE, *arguments],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert (run.returncode, run.stdout) == (0, "alike\n"), run.stderr[-500:]
