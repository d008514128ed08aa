"""A driver, its bindings and a TensorRT that need no GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_cuda
import pytest
from fake_machine import World


@pytest.fixture
def gpu_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Put a driver in place, for both bindings: ``gpu_with(fail_at=3)``."""
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")

    def put(**options: Any) -> Any:
        driver = fake_cuda.FakeDriver(**options)
        fake_cuda.install(monkeypatch, driver)
        return driver

    return put


@pytest.fixture
def world(
    tmp_path: Path, gpu_with: Any, bindings: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., World]:
    """Make a machine with a version of TensorRT: ``world("11.4.0.106", fail_at=3, low=2)``."""

    def make(version: str = "10.16.1.11", fail_at: int = 0, **options: Any) -> World:
        return World(tmp_path, version, gpu_with(fail_at=fail_at), bindings, monkeypatch, **options)

    return make
