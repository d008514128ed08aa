"""From the options of the command to opened systems: every combination that can run here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.measure.systems import ImageArray, System, SystemRequest
from yolox_deploy.errors import UsageError
from yolox_deploy.export.cache import target_for
from yolox_deploy.packages import require
from yolox_deploy.runtimes import BACKENDS, CHECKPOINT_SUFFIXES, backend, backend_for
from yolox_deploy.weights import NEEDS_TORCH, find_model

Opener = Callable[[SystemRequest, Sequence[ImageArray]], System]


def requests(
    models: Sequence[str | None],
    backends: Sequence[str],
    precisions: Sequence[str | None],
    *,
    random_weights: bool = False,
    **options: Any,
) -> list[SystemRequest]:
    """Return every combination; ``all`` means all backends that can run, or all precisions.

    ``options`` are further fields of :class:`SystemRequest`.  Raises :class:`UsageError` for an
    unknown backend, and what :func:`~yolox_deploy.weights.find_model` raises.
    """
    result: dict[SystemRequest, None] = {}
    for model in models:
        path = _random_checkpoint(model) if random_weights else find_model(model)
        for name in _expand_backends(path, backends):
            for precision in _expand_precisions(name, precisions):
                request = SystemRequest(
                    path, name, precision=precision, random_weights=random_weights, **options
                )
                result[request] = None
    return list(result)


def _random_checkpoint(name: str | None) -> Path:
    if name is None:
        raise UsageError("--random-weights needs an architecture: --model yolox_l")
    require("torch", "random weights are made by PyTorch", NEEDS_TORCH)
    from yolox_deploy.models.random_weights import random_checkpoint

    return random_checkpoint(name)


def concrete_backend(path: Path, name: str) -> str:
    """Return the backend that ``auto`` means for this file, or ``name`` itself, checked.

    Raises :class:`UsageError` for an unknown backend.
    """
    if name != "auto":
        return backend(name).name
    target = target_for("auto") if path.suffix.lower() in CHECKPOINT_SUFFIXES else None
    return target.backend if target else backend_for(path).name


def _expand_backends(path: Path, names: Sequence[str]) -> list[str]:
    if list(names) != ["all"]:
        return [concrete_backend(path, name) for name in names]
    suffix = path.suffix.lower()
    return [
        row.name
        for row in BACKENDS.values()
        if row.availability().ok and (suffix in CHECKPOINT_SUFFIXES or suffix in row.suffixes)
    ]


def _expand_precisions(name: str, precisions: Sequence[str | None]) -> Sequence[str | None]:
    if list(precisions) != ["all"]:
        return precisions
    return BACKENDS[name].runtime_class().precisions


def open_systems(
    wanted: Sequence[SystemRequest],
    pictures: Sequence[ImageArray],
    begin: Callable[[str], None] = lambda stage: None,
    opener: Opener = System,
) -> tuple[list[System], list[str]]:
    """Open every request; return the systems, and a note for each request that was left out.

    A request is left out if its engine cannot serve it (:class:`UsageError`), or if the engine
    computes in the precision of a system that is open already.  Raises the error if no system
    remains.
    """
    systems: list[System] = []
    notes: list[str] = []
    refused: UsageError | None = None
    try:
        for request in wanted:
            begin(f"opening {request.text}")
            try:
                system = opener(request, pictures)
            except UsageError as error:
                refused = error
                notes.append(f"{request.text} was left out: {error}")
                continue
            if _key(system) in map(_key, systems):
                notes.append(
                    f"{request.text} was left out: the engine computes in {system.info.precision}, "
                    "which is measured already"
                )
                system.close()
                continue
            labels = [other.info.label for other in systems]
            if system.info.label in labels:  # yolox_s.onnx and yolox_s.xml on the same engine
                system.info = replace(system.info, label=f"{system.info.label} {len(labels) + 1}")
            systems.append(system)
    except BaseException:
        for system in systems:
            system.close()
        raise
    if not systems:
        raise refused or UsageError("nothing to measure: no backend can run this model here")
    return systems, notes


def _key(system: System) -> tuple[object, ...]:
    return system.request.path, system.info.backend, system.info.precision
