"""Runtimes: one class per engine, which opens an artifact and runs pictures through it.

A new backend is a subclass of :class:`Runtime` in a file of its own, and a row in ``BACKENDS``
(``registry.py``).  A backend of another package needs no change here, only an entry point.
"""

from yolox_deploy.runtimes.base import EngineFacts, Opened, Runtime
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
    "EngineFacts",
    "Opened",
    "Runtime",
    "backend",
    "backend_for",
]
