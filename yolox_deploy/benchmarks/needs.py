"""Packages that only benchmarks need."""

from __future__ import annotations

import importlib
from typing import Any

from yolox_deploy.errors import MissingPackageError


def require(module: str, reason: str) -> Any:
    """Return a module; raises :class:`MissingPackageError`, which begins with ``reason``."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(f'{reason}: pip install "yolox-deploy[bench]"') from error
