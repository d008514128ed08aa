"""Runtimes: one class per engine, which opens an artifact and runs pictures through it.

A new backend is a subclass of :class:`Runtime` in a file of its own, and a row in ``BACKENDS``
(``registry.py``).  Another package adds its row without any change here, through the entry point
group ``yolox_deploy.backends`` (see ``yolox_deploy/registry.py``).
"""

from yolox_deploy.runtimes.base import EngineFacts, Opened, Runtime
from yolox_deploy.runtimes.registry import (
    BACKENDS,
    CHECKPOINT_SUFFIXES,
    Backend,
    backend,
    backend_for,
)

__all__ = [
    "BACKENDS",
    "CHECKPOINT_SUFFIXES",
    "Backend",
    "EngineFacts",
    "Opened",
    "Runtime",
    "backend",
    "backend_for",
]
