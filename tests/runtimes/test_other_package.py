"""A backend of another package: installed, it is there everywhere, with no change in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from yolox_deploy.spec import ModelSpec

# It needs no export target: whoever has such a file brought it.
MODULE = '''
import numpy as np
from yolox_deploy.runtimes import Backend, Opened, Runtime

BACKEND = Backend(
    "toy", "files of toys", "toy_engine:ToyRuntime", package="toy_engine", suffixes=(".toy",)
)


class ToyRuntime(Runtime):
    """One thing in the middle of every picture."""

    name = "toy"
    devices = ("cpu", "npu")
    settings = {"speed": ("slow", "fast")}

    def _open(self):
        return Opened(self.path.read_text(), (None,) * 4, (None,) * 3)

    def _infer(self, images):
        rows = np.zeros((len(images), self.spec.num_anchors, 6), np.float32)
        rows[:, 10, 4:] = 1
        return rows
'''
PROGRAM = """
import sys
import numpy as np
from yolox_deploy import Detector

picture = np.zeros((64, 64, 3), np.uint8)
with Detector(sys.argv[1], device="npu:1", settings={"speed": "fast"}) as detector:
    runtime = detector.runtime
    (found,) = detector(picture)
    print(detector.backend, runtime.device, runtime.chosen_settings, found.name, found.score)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a process needs in order to see the package as installed."""
    site = tmp_path / "site"
    about = site / "toy_engine-1.5.dist-info"
    about.mkdir(parents=True)
    (site / "toy_engine.py").write_text(MODULE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-engine\nVersion: 1.5\n")
    (about / "entry_points.txt").write_text("[yolox_deploy.backends]\ntoy = toy_engine:BACKEND\n")
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(environment: dict[str, str], *arguments: object) -> str:
    process = subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_a_backend_of_another_package_opens_its_files(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    path = tmp_path / "thing.toy"
    path.write_text(ModelSpec("thing", ("ball",), 64, 64, None).to_json())
    found = run(environment, "-c", PROGRAM, path)
    assert found == "toy npu:1 {'speed': 'fast'} ball 1.0\n"
    doctor = "from yolox_deploy.cli.doctor import main; main(['--json'])"
    rows = {row["name"]: row for row in json.loads(run(environment, "-c", doctor))["backends"]}
    assert list(rows)[-1] == "toy"
    assert (rows["toy"]["ok"], rows["toy"]["opens"]) == (True, [".toy"])
