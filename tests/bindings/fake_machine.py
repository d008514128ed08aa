"""A machine with a GPU, one version of TensorRT, and engines on its disk."""

from __future__ import annotations

import hashlib
import importlib.machinery
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_tensorrt
import numpy as np
import pytest

from yolox_deploy.runtimes.tensorrt.runtime import TensorRTRTXRuntime, TensorRTRuntime
from yolox_deploy.runtimes.tensorrt.sidecar import EngineRecord, write_sidecar
from yolox_deploy.spec import ModelSpec

SPEC = ModelSpec("small", ("thing",), 64, 64, None, precision="fp16")


class World:
    """A machine with a GPU and one version of TensorRT, and engines on its disk."""

    def __init__(
        self,
        folder: Path,
        version: str,
        driver: Any,
        bindings: ModuleType,
        monkeypatch: pytest.MonkeyPatch,
        **options: Any,
    ) -> None:
        self.folder, self.version, self.driver = folder, version, driver
        self.kind = TensorRTRTXRuntime if version == "1.7.1.116" else TensorRTRuntime
        self.engine = fake_tensorrt.FakeEngine(**options)
        self.magic = fake_tensorrt.MAGIC
        self.module: Any = fake_tensorrt.fake_tensorrt(bindings, version, driver, self.engine)
        self.module.__spec__ = importlib.machinery.ModuleSpec(self.kind.module, None)
        monkeypatch.setitem(sys.modules, self.kind.module, self.module)

    def write(self, name: str = "small.engine", **changes: Any) -> Path:
        """Write an engine with its sidecar; ``changes`` are the record's, or ``spec``."""
        path = self.folder / name
        content = self.magic + name.encode() * 20
        path.write_bytes(content)
        low = self.engine.high if self.engine.fixed else self.engine.low
        spec = changes.pop("spec", replace(SPEC, batch=low if self.engine.fixed else None))
        record = EngineRecord(
            flavour=self.kind.name,  # type: ignore[arg-type]
            version=self.version,
            precision="fp16",
            batch=(low, low, self.engine.high),
            onnx_sha256="0" * 64,
            engine_sha256=hashlib.sha256(content).hexdigest(),
            engine_bytes=len(content),
            executed=True,
            gpu=self.driver.name,
            compute_capability=self.driver.capability,
        )
        write_sidecar(path, spec, replace(record, **changes))
        return path


def pictures(count: int, seed: int = 0) -> Any:
    """Return an input of whole numbers, as pixels are, which float16 holds exactly."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 3, 64, 64)).astype(np.float32)


def expected(images: Any) -> Any:
    """Return what the machine's engine computes."""
    return fake_tensorrt.expected_output(images, (84, 6))
