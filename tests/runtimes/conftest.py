"""A driver, its bindings and a TensorRT that need no GPU."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BINDINGS = Path(__file__).parents[1] / "bindings"


def load(name: str) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, BINDINGS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """The module ``fake_cuda``."""
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    return load("fake_cuda")


@pytest.fixture
def gpu_with(fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Put a driver in place, for both bindings: ``gpu_with(fail_at=3)``."""

    def put(**options: Any) -> Any:
        driver = fakes.FakeDriver(**options)
        fakes.install(monkeypatch, driver)
        return driver

    return put


@pytest.fixture(scope="session")
def fake_tensorrt() -> ModuleType:
    """The module ``fake_tensorrt``."""
    return load("fake_tensorrt")
