"""Placeholder until the scenario lands."""

from __future__ import annotations

from typing import Any

from yolox_deploy.benchmarks.scenarios import Context, Result
from yolox_deploy.errors import UsageError

SCHEMA: dict[str, Any] = {"type": "object"}
RESULT = Result


def add_arguments(group: Any) -> None:
    """Add the scenario's arguments."""


def measure(context: Context) -> Result:
    """Measure."""
    raise UsageError(f"--scenario {context.scenario} cannot be measured yet")
