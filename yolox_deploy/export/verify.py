"""Verification: proof that an artifact detects what its checkpoint detects.

The artifact, run from its file by its engine, and the checkpoint, run by PyTorch on the unmodified
graph in float32, see the same letterboxed pictures, and their outputs are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from yolox_deploy.errors import ImageError
from yolox_deploy.export.compare import Array, compare
from yolox_deploy.files import ASSETS
from yolox_deploy.models import YOLOX
from yolox_deploy.models.stem import input_of
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT
from yolox_deploy.pictures.images import find_images, read_image
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.runtimes.base import Runtime
from yolox_deploy.runtimes.foreign.mirror import steady
from yolox_deploy.runtimes.registry import BACKENDS
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import Comparison, Tolerance, task_of
from yolox_deploy.tasks.proof import Verdict

# More pictures add time and no insight; a larger folder is sampled evenly.
MOST_PICTURES = 64
# Pictures that a dynamic artifact gets at once: batching is verified with the rest.
BATCH = 3

# What the input is called in messages, by whether it is legacy.
INPUT_WORDS = {False: "plain 0..255", True: "legacy"}
NOTHING_DETECTED = "the checkpoint detects nothing in these {} pictures: {} compared"
GIVE_PICTURES = (
    "the checkpoint detects nothing in the verification pictures, so what the artifact detects is "
    "not proven: give pictures of what it was trained on, --verify FOLDER"
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
        return (
            f"{c['detections']} detections agree{border} on {self.pictures} pictures, scores "
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


def load_pictures(folder: Path | None) -> list[NDArray[np.uint8]]:
    """Return ``folder``'s pictures, or those that ship with the package, (h, w, 3) uint8 BGR.

    Unreadable ones are passed over.  Raises :class:`ImageError` where none is left.
    """
    paths = find_images([ASSETS if folder is None else folder])
    if len(paths) > MOST_PICTURES:
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, MOST_PICTURES).astype(int)]
    images = []
    for path in paths:
        with suppress(ImageError):
            images.append(read_image(path))
    if not images:
        raise ImageError(f"{folder}: none of its {len(paths)} pictures can be read")
    return images


class Reference:
    """The checkpoint's own outputs for the pictures, computed once for all artifacts."""

    def __init__(
        self, network: YOLOX, spec: ModelSpec, pictures: Sequence[NDArray[np.uint8]]
    ) -> None:
        self.network = network
        self.spec = spec
        self.pictures = pictures
        shape = (len(pictures), 3, spec.height, spec.width)
        self.inputs: Array = np.empty(shape, np.float32)
        letterbox = Letterbox(spec.height, spec.width, spec.input)
        for image, out in zip(pictures, self.inputs, strict=True):
            letterbox(image, out)
        self.outputs = self._run(self.inputs)

    def _run(self, inputs: Array) -> Array:
        with torch.inference_mode():
            outputs = [self.network(torch.from_numpy(image[None])).numpy() for image in inputs]
        return np.concatenate(outputs)

    def input_problem(self) -> str | None:
        """Return a sentence if the weights seem to be for the other input convention.

        Two witnesses are heard.  The first layer tells what it was trained on, see
        :mod:`yolox_deploy.pictures.stem`.  And with the wrong convention a model may report a lot,
        but not what it reports in the mirrored picture: on COCO pictures 4 % of such detections
        survive mirroring, 80 % of the right ones.
        """
        used = self.spec.legacy
        # The network's own output, whatever the artifacts do in their graphs.
        spec = replace(self.spec, output="raw", score_threshold=None, iou_threshold=None)
        turned = replace(spec, input=RAW_INPUT if used else LEGACY_INPUT)
        stated = steady(self._run, spec, self.pictures)
        other = steady(self._run, turned, self.pictures)
        clearly_used, clearly_other = stated.clearly_beats(other), other.clearly_beats(stated)
        found = input_of(self.network)
        # An artifact of another package may state an input of its own.
        own = self.spec.input not in (RAW_INPUT, LEGACY_INPUT)
        trained_on_used = not own and found.legacy is used
        trained_on_other = not own and found.legacy is (not used)
        if not clearly_other and not trained_on_other:
            return None
        this, that = INPUT_WORDS[used], INPUT_WORDS[not used]
        mirrored = (
            f"with {this} input {stated.steady} detections are steady under mirroring in the "
            f"verification pictures, with {that} input {other.steady}"
        )
        if (clearly_other and trained_on_used) or (trained_on_other and clearly_used):
            advice = "the two contradict each other: verify on other pictures, --verify FOLDER"
            return f"{mirrored}; {found.why}; {advice}"
        advice = "these are legacy weights (release 0.1.0), add --legacy"
        if used:
            advice = "these are not legacy weights, leave --legacy out"
        return f"{mirrored if clearly_other else found.why}: {advice}"


def verify(runtime: Runtime, inputs: Array, outputs: Array) -> Verification:
    """Compare an opened artifact with the checkpoint's raw ``outputs`` for ``inputs``."""
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
        () if found["detections"] else (GIVE_PICTURES,),
    )


def coarser(stored: str, executed: str, tolerances: Mapping[str, Tolerance]) -> str:
    """Return the coarser of two precisions; ``tolerances`` has them from fine to coarse.

    A precision without a tolerance is judged like that of the file.
    """
    order = list(tolerances)
    known = [precision for precision in (stored, executed) if precision in tolerances]
    return max(known, key=order.index)
