"""From what a user names as a model to an opened runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np

from yolox_deploy import runtimes
from yolox_deploy.errors import UsageError
from yolox_deploy.opening.plans import read_plan
from yolox_deploy.runtimes import Runtime
from yolox_deploy.runtimes.registry import main_file_of
from yolox_deploy.spec import SpecHints
from yolox_deploy.tasks.proof import proof_for
from yolox_deploy.weights import BUNDLED_ONNX, find_model

FASTEST_PROVEN = "fastest-proven"


def open_model(
    model: str | os.PathLike[str] | None = None,
    backend: str = "auto",
    hints: SpecHints = SpecHints(),  # noqa: B008 (frozen)
    *,
    device: str | int | None = None,
    threads: int | None = None,
    precision: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> Runtime:
    """Open an artifact, a checkpoint, published weights or a plan; arguments as for ``Detector``.

    A plan gives backend, device, precision and threads where the caller gives none.

    With the precision :data:`FASTEST_PROVEN` those precisions take turns for some seconds in which
    the verification of the artifact covers the backend.  The fastest is taken; of precisions whose
    times cannot be told apart, the most exact one.  Raises :class:`UsageError` if none is proven.
    """
    if backend != "auto":
        runtimes.backend(backend)
    path = found = find_model(model)
    if path.suffix.lower() == ".json" and main_file_of(path) is None:
        path, chosen = read_plan(path)
        found = path
        backend = chosen["backend"] if backend == "auto" else backend
        device = chosen["device"] if device is None else device
        threads = chosen["threads"] if threads is None else threads
        precision = chosen["precision"] if precision is None else precision
    if path.suffix.lower() in runtimes.CHECKPOINT_SUFFIXES and backend != "torch":
        from yolox_deploy.export.cache import exported

        path = exported(path, backend, hints)
        if path.suffix.lower() not in runtimes.CHECKPOINT_SUFFIXES:
            hints = SpecHints()
    row = runtimes.backend_for(path, backend)

    def open_in(name: str | None) -> Runtime:
        return row.runtime_class()(
            path,
            device=device,
            threads=threads,
            precision=name,
            settings=settings,
            hints=hints,
            # What is in the cache has just been compared with its hashes.
            check_files=path in (found, BUNDLED_ONNX),
        )

    return fastest_proven(open_in) if precision == FASTEST_PROVEN else open_in(precision)


def fastest_proven(open_in: Callable[[str | None], Runtime]) -> Runtime:
    """Return an artifact, opened in the fastest of the precisions in which it was verified.

    ``open_in`` opens it in a precision; ``None`` is the backend's first.
    """
    from yolox_deploy.export.quantization.speed import ROUNDS, alternate, ratio_of

    first = open_in(None)
    opened = [first]
    chosen: Runtime | None = None
    proven: dict[str, Runtime] = {}
    try:
        for name in first.precisions_on(first.placed.kind):
            if name != first.precision:
                opened.append(open_in(name))
            executed = opened[-1].facts().precision
            proof = proof_for(first.spec, executed, first.name)
            if proof and proof.verdict == "passed":
                # An engine may compute two precisions alike.
                proven.setdefault(executed, opened[-1])
        if not proven:
            raise UsageError(
                f"precision {FASTEST_PROVEN}: {first.path} is proven in no precision on "
                f"{first.name}; prove one with: yolox-verify {first.path} --record --backend "
                f"{first.name} --precision NAME"
            )
        best, *others = proven
        if others:
            blank = first.new_input(first.spec.batch or 1)
            blank[:] = np.asarray(first.spec.input.pad_value, blank.dtype)
            times = alternate(proven, blank, ROUNDS, lambda done, total: None)
            for name in others:
                if ratio_of(name, times[name], times[best]).surely_faster:
                    best = name
        chosen = proven[best]
        return chosen
    finally:
        for runtime in opened:
            if runtime is not chosen:
                runtime.close()
