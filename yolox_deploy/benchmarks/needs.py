"""Packages that only benchmarks need."""

from __future__ import annotations

from typing import Any

from yolox_deploy import packages


def require(module: str, reason: str) -> Any:
    """Return a module; raises :class:`MissingPackageError`, which begins with ``reason``."""
    return packages.require(module, reason, packages.install_line("bench"))
