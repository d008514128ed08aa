"""From what a person asks for to opened systems: all combinations, noting what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.measure.artifacts import concrete_backend, find_checkpoint_or_artifact
from yolox_deploy.benchmarks.measure.systems import Picture, Request, System
from yolox_deploy.errors import UsageError
from yolox_deploy.runtimes import BACKENDS, CHECKPOINT_SUFFIXES


def requests(
    models: Sequence[str | None],
    backends: Sequence[str],
    precisions: Sequence[str | None],
    *,
    random_weights: bool = False,
    **options: Any,
) -> list[Request]:
    """Return every combination: ``all`` stands for all backends that run, or all precisions.

    ``options`` are further fields of :class:`Request`.  Raises :class:`UsageError` for an unknown
    backend.
    """
    result: dict[Request, None] = {}
    for model in models:
        path = find_checkpoint_or_artifact(model, random=random_weights)
        for name in _expand_backends(path, backends):
            for precision in _expand_precisions(name, precisions):
                request = Request(
                    path, name, precision=precision, random_weights=random_weights, **options
                )
                result[request] = None
    return list(result)


def _expand_backends(path: Path, names: Sequence[str]) -> list[str]:
    if list(names) != ["all"]:
        return [concrete_backend(path, name) for name in names]
    checkpoint = path.suffix.lower() in CHECKPOINT_SUFFIXES
    return [
        row.name
        for row in BACKENDS.values()
        if row.availability().ok and (checkpoint or path.suffix.lower() in row.suffixes)
    ]


def _expand_precisions(name: str, precisions: Sequence[str | None]) -> Sequence[str | None]:
    if list(precisions) != ["all"]:
        return precisions
    return BACKENDS[name].runtime_class().precisions


def open_systems(
    wanted: Sequence[Request],
    pictures: Sequence[Picture],
    begin: Callable[[str], None] = lambda stage: None,
) -> tuple[list[System], list[str]]:
    """Open every request; returns the systems and a note for each that was left out.

    With several requests one that its engine cannot serve (:class:`UsageError`), or whose engine
    really computes like one that is already open, is left out with a note.  Raises the error where
    nothing remains.
    """
    systems: list[System] = []
    notes: list[str] = []
    refused: UsageError | None = None
    try:
        for request in wanted:
            begin(f"opening {request.text}")
            try:
                system = System(request, pictures)
            except UsageError as error:
                refused = error
                notes.append(f"{request.text} was left out: {error}")
                continue
            if any(_same(system, other) for other in systems):
                notes.append(
                    f"{request.text} was left out: the engine computes in {system.info.precision}, "
                    "which is measured already"
                )
                system.close()
                continue
            labels = [other.info.label for other in systems]
            if system.info.label in labels:  # yolox_s.onnx and yolox_s.xml on one engine
                system.info = replace(system.info, label=f"{system.info.label} {len(labels) + 1}")
            systems.append(system)
    except BaseException:
        for system in systems:
            system.close()
        raise
    if not systems:
        raise refused or UsageError("nothing to measure: no backend can run this model here")
    return systems, notes


def _same(one: System, other: System) -> bool:
    """Whether both would measure the same file on the same engine in the same precision."""
    return (one.request.path, one.info.backend, one.info.precision) == (
        other.request.path,
        other.info.backend,
        other.info.precision,
    )
