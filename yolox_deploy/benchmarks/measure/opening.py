"""From the options of the command to opened systems: every combination that can run here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.measure.systems import ImageArray, System, SystemRequest
from yolox_deploy.errors import UsageError, YoloxDeployError
from yolox_deploy.export.cache import target_for
from yolox_deploy.packages import require
from yolox_deploy.runtimes import BACKENDS, CHECKPOINT_SUFFIXES, backend, backend_for
from yolox_deploy.weights import find_model, needs_torch

Opener = Callable[[SystemRequest, Sequence[ImageArray]], System]


def requests(
    models: Sequence[str | None],
    backends: Sequence[str],
    precisions: Sequence[str | None],
    *,
    random_weights: bool = False,
    **options: Any,
) -> list[SystemRequest]:
    """Return every combination.

    ``all`` means all backends that can run, or all precisions of each.  Precisions that make no
    sense on the device are then left out, see ``SystemRequest.left_out``.

    ``options`` are further fields of :class:`SystemRequest`.  Raises :class:`UsageError` for an
    unknown backend and where no backend has a named precision, and what
    :func:`~yolox_deploy.weights.find_model` raises.
    """
    result: dict[SystemRequest, None] = {}
    for model in models:
        path = _random_checkpoint(model) if random_weights else find_model(model)
        for name in _expand_backends(path, backends):
            for precision, left_out in _expand_precisions(name, precisions, options.get("device")):
                request = SystemRequest(
                    *(path, name),
                    precision=precision,
                    random_weights=random_weights,
                    left_out=left_out,
                    **options,
                )
                result[request] = None
    if result and all(request.left_out for request in result):
        reasons = "; ".join(dict.fromkeys(request.left_out for request in result))
        in_file = "int8" in [str(precision).lower() for precision in precisions]
        int8 = "; INT8 is in a file: yolox-export --int8, then --model FILE" if in_file else ""
        raise UsageError(f"nothing to measure: {reasons}{int8}")
    return list(result)


def _random_checkpoint(name: str | None) -> Path:
    if name is None:
        raise UsageError("--random-weights needs an architecture: --model yolox_l")
    require("torch", "random weights are made by PyTorch", needs_torch())
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


def _expand_precisions(
    name: str, precisions: Sequence[str | None], device: str | None
) -> Iterator[tuple[str | None, str]]:
    """Yield each precision, and why it is left out ("": it is not)."""
    if list(precisions) == [None]:
        yield None, ""
        return
    engine = BACKENDS[name].runtime_class()
    if list(precisions) != ["all"]:
        # Before a checkpoint is exported, which takes a minute or more.
        yield from ((p, engine.lacks_precision(p) if p else "") for p in precisions)
        return
    kind = (device or engine.devices[0]).partition(":")[0]
    for precision in engine.precisions:
        yield precision, "" if precision in engine.precisions_on(kind) else engine.why_not_measured


def open_systems(
    wanted: Sequence[SystemRequest],
    pictures: Sequence[ImageArray],
    begin: Callable[[str], None] = lambda stage: None,
    opener: Opener = System,
    unusable: tuple[type[YoloxDeployError], ...] = (UsageError,),
) -> tuple[list[System], list[str]]:
    """Open every request; return the systems, and a note for each reason to leave some out.

    A request is left out if its engine cannot serve it (an ``unusable`` error), or if the engine
    computes in the precision of a system that is open already and the same in all else.  Raises the
    error if no system remains.
    """
    systems: list[System] = []
    left_out: dict[str, list[str]] = {}
    refused: YoloxDeployError | None = None
    try:
        for request in wanted:
            if request.left_out:
                left_out.setdefault(request.left_out, []).append(request.text)
                continue
            begin(f"opening {request.text}")
            try:
                system = opener(request, pictures)
            except unusable as error:
                refused = error
                left_out.setdefault(str(error), []).append(request.text)
                continue
            if _key(system) in map(_key, systems):
                reason = (
                    f"the engine computes in {system.info.precision}, which is measured already"
                )
                left_out.setdefault(reason, []).append(request.text)
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
    return systems, [
        f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} left out: {reason}"
        for reason, names in left_out.items()
    ]


def _key(system: System) -> tuple[object, ...]:
    request = system.request
    what = request.path, request.hints, request.threads
    return *what, system.info.backend, system.info.precision
