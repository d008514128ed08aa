"""One small class an engine: artifact in, ``(N, 3, H, W)`` to ``(N, A, 5 + C)``."""

from yolox_deploy.runtimes.base import Runtime
from yolox_deploy.runtimes.registry import (
    BACKENDS,
    CHECKPOINT_SUFFIXES,
    Availability,
    Backend,
    backend,
    backend_for,
)

__all__ = [
    "BACKENDS",
    "CHECKPOINT_SUFFIXES",
    "Availability",
    "Backend",
    "Runtime",
    "backend",
    "backend_for",
]
