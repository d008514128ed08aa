"""What is compared when an artifact is verified, and what is found.

The artifact, run from its file by its engine, against the outputs of its checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ImageError, number_of
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import MAX_PIXELS, find_images, read_image
from yolox_deploy.runtimes.base import Runtime
from yolox_deploy.runtimes.registry import BACKENDS
from yolox_deploy.tasks import Comparison, Tolerance, task_of
from yolox_deploy.tasks.proof import Verdict
from yolox_deploy.verification.compare import Array, compare

# More pictures add time and no insight; a larger folder is sampled evenly.
MOST_PICTURES = 64
# Pictures that a dynamic artifact gets at once: batching is verified with the rest.
BATCH = 3

NOTHING_DETECTED = "the checkpoint detects nothing in these {} pictures: {} compared"
NOT_PROVEN = "the checkpoint detects nothing in {}, so what the artifact detects is not proven: "
GIVE_PICTURES = (
    f"{NOT_PROVEN.format('the verification pictures')}give pictures of what it was trained on, "
    "--verify FOLDER"
)
# Fewer detections say little about others.
FEW = 10
GIVE_OTHERS = (
    f"{NOT_PROVEN}give pictures in which it finds something with a score of 0.25 or more; to look "
    "for them: yolox-detect PICTURES --model CHECKPOINT --backend torch; if it finds nothing in "
    "pictures that it was trained on, give the --imgsz of the training, or train it longer"
)


@dataclass(frozen=True)
class Verification:
    """What verification found: a verdict, and what it is based on.

    ``status`` is ``passed``, ``failed``, ``not proven on detections`` (the checkpoint detects
    nothing in the pictures), ``built, not executed`` (the artifact cannot run here, and the ONNX
    graph that it is made from did well) or ``not run``.  ``precision`` is what the engine computed
    in.  ``executed`` is ``False`` where not the artifact ran, but its ONNX graph.
    """

    status: Verdict
    problems: tuple[str, ...] = ()
    comparison: Comparison | None = None
    pictures: int = 0
    precision: str = ""
    backend: str = ""
    engine: str = ""
    device: str = ""
    tolerance: Tolerance | None = None
    notes: tuple[str, ...] = ()
    executed: bool = True

    def of_its_graph(self, *notes: str) -> Verification:
        """Return what this, found with its ONNX graph, says of an artifact that did not run."""
        well = self.status in ("passed", "not proven on detections")
        status: Verdict = "built, not executed" if well else self.status
        return replace(self, status=status, executed=False, notes=(*self.notes, *notes))

    def failed_by(self, problem: str | None) -> Verification:
        """Return this with one more problem, named first; without one it is unchanged."""
        if not problem:
            return self
        return replace(self, status="failed", problems=(problem, *self.problems))

    @property
    def summary(self) -> str:
        """The result in one line, without the verdict."""
        if not self.executed:
            return f"its ONNX graph: {replace(self, executed=True).summary}"
        if self.problems:
            return "; ".join(self.problems)
        c = self.comparison
        if c is None:
            return "; ".join(self.notes) or "nothing was compared"
        if not c["detections"]:
            # Behind NMS in the graph there are no rows.
            rows = "only raw rows were" if c["raw_weight"] + c["faint_weight"] else "nothing was"
            return NOTHING_DETECTED.format(self.pictures, rows)
        borderline = c["borderline"]
        border = f" ({borderline} more or less at the threshold)" if borderline else ""
        agree = f"agree{'s' * (c['detections'] == 1)}{border}"
        return (
            f"{number_of(c['detections'], 'detection')} {agree} "
            f"on {number_of(self.pictures, 'picture')}, scores "
            f"within {c['score_difference']:.1e}, boxes within {c['box_pixels']:.1e} px"
        )

    def record(self) -> dict[str, Any]:
        """Return what the spec keeps."""
        return {
            "status": self.status,
            "executed": self.executed,
            "precision": self.precision,
            "backend": self.backend,
            "engine": self.engine,
            "device": self.device,
            "summary": self.summary,
            "pictures": self.pictures,
            "tolerance": self.tolerance and self.tolerance.record(),
            "comparison": self.comparison and dict(self.comparison),
            "notes": list(self.notes),
        }


def load_pictures(
    folder: Path | None, max_pixels: int | None = MAX_PIXELS
) -> list[NDArray[np.uint8]]:
    """Return ``folder``'s pictures, or those that ship with the package, (h, w, 3) uint8 BGR.

    Unreadable ones are passed over.  Raises :class:`ImageError` where none is left.
    """
    paths = find_images([ASSETS if folder is None else folder])
    if len(paths) > MOST_PICTURES:
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, MOST_PICTURES).astype(int)]
    images = []
    for path in paths:
        with suppress(ImageError):
            images.append(read_image(path, max_pixels))
    if not images:
        raise ImageError(f"{folder}: none of its {len(paths)} pictures can be read")
    return images


def verify(
    runtime: Runtime, inputs: NDArray[Any], outputs: Array, folder: Path | None = None
) -> Verification:
    """Compare an opened artifact with the checkpoint's raw ``outputs`` for ``inputs``.

    ``folder`` is where the user has the pictures, ``None`` for those of this package.
    """
    spec, precision = runtime.spec, runtime.facts().precision
    task = task_of(spec)
    tolerance = task.tolerances[coarser(spec.precision, precision, task.tolerances)]
    found = task.new_comparison()
    step = spec.batch or BATCH
    for start in range(0, len(inputs), step):
        chunk = slice(start, start + step)
        compare(found, spec, runtime.infer(inputs[chunk]), outputs[chunk], tolerance)
    problems = tuple(task.problems(found, tolerance))
    row = BACKENDS.get(runtime.name)
    count = found["detections"]
    notes: tuple[str, ...] = ()
    if not count:
        notes = (GIVE_OTHERS.format(f"the pictures of {folder}") if folder else GIVE_PICTURES,)
    elif count < FEW:
        more = "more pictures in --verify FOLDER prove more"
        own = "--verify FOLDER with pictures of yours proves more"
        notes = (f"{few_compared(count, drawn=not folder)}: {more if folder else own}",)
    return Verification(
        "failed" if problems else "passed" if found["detections"] else "not proven on detections",
        problems,
        found,
        len(inputs),
        precision,
        runtime.name,
        (row and row.availability().version) or "",
        runtime.device,
        tolerance,
        notes,
    )


def few_compared(count: float, *, drawn: bool) -> str:
    """Return in words that only ``count`` detections were compared, and why."""
    why = ", because the drawn pictures show little of what this model knows" if drawn else ""
    return f"only {number_of(count, 'detection')} {'was' if count == 1 else 'were'} compared{why}"


def run_all(runtime: Runtime, inputs: NDArray[Any]) -> list[Array]:
    """Return the output for each picture; behind NMS the picture's own rows, numbered 0."""
    spec, outputs = runtime.spec, []
    step = spec.batch or BATCH
    for start in range(0, len(inputs), step):
        chunk = inputs[start : start + step]
        output = runtime.infer(chunk)
        if spec.output != "detections":
            outputs += list(output.copy())
            continue
        column = task_of(spec).graph_columns(spec)["picture"].start
        for i in range(len(chunk)):
            rows = output[output[:, column] == i].copy()
            rows[:, column] = 0
            outputs.append(rows)
    return outputs


def coarser(stored: str, executed: str, tolerances: Mapping[str, Tolerance]) -> str:
    """Return the coarser of two precisions; ``tolerances`` has them from fine to coarse.

    A precision without a tolerance is judged like that of the file.
    """
    order = list(tolerances)
    known = [precision for precision in (stored, executed) if precision in tolerances]
    return max(known, key=order.index)
