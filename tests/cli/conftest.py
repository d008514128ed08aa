"""Commands run in this process or in one of their own, and small models for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from yolox_deploy.cli import bench, convert, detect, doctor, evaluate, export, train
from yolox_deploy.cli.planning import plan
from yolox_deploy.cli.proof import compare, verify
from yolox_deploy.models import build_network

ALL = (bench, compare, convert, detect, doctor, evaluate, export, plan, train, verify)
COMMANDS: dict[str, ModuleType] = {module.COMMAND: module for module in ALL}


class Ran(NamedTuple):
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process: ``command("yolox-export", "--model", ...)``."""

    def run(name: str, *arguments: object) -> Ran:
        capsys.readouterr()
        try:
            code = COMMANDS[name].main([str(a) for a in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The variables for a process of its own."""
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "YOLOX_DEPLOY_CACHE": str(tmp_path / "cache"),
    }


@pytest.fixture
def process(environment: dict[str, str]) -> Command:
    """Run a command in a process of its own, after some lines of Python."""

    def run(name: str, *arguments: object, before: str = "", **options: Any) -> Ran:
        code = (
            f"{before}\nimport sys\nfrom {COMMANDS[name].__name__} import main\n"
            "sys.exit(main(sys.argv[1:]))\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            **options,
        )
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture(scope="session")
def tiny_pth(tmp_path_factory: pytest.TempPathFactory, reference_weights: ModuleType) -> Path:
    """A two-class nano with reference weights: quick to read, finds hardly anything."""
    network = build_network("nano", 2)
    make = reference_weights.reference_tensor
    weights = {
        key: torch.from_numpy(np.asarray(make(key, tuple(value.shape), 1.774)))
        for key, value in network.state_dict().items()
    }
    path = tmp_path_factory.mktemp("checkpoints") / "tiny.pth"
    torch.save({"model": weights, "names": ["cat", "dog"], "imgsz": [64, 96]}, path)
    return path


@pytest.fixture(scope="session")
def onnx_nano(model_for: Any) -> Path:
    """This project's export of the real nano."""
    path: Path = model_for("onnxruntime").path
    return path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder, hidden ones too, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def untouched(tmp_path: Path) -> Callable[[], Path]:
    """A folder with a precious file in it; calling the second time checks that it is as it was."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "yolox_nano.onnx").write_text("precious")
    (folder / "tiny.onnx").write_text("precious")
    before = contents(folder)

    def give() -> Path:
        assert contents(folder) == before
        return folder

    return give
