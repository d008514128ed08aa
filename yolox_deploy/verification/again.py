"""Prove an artifact again with the evidence that it carries: no checkpoint, no PyTorch, no ONNX."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ModelWarning, VerificationError
from yolox_deploy.postprocess import Postprocess
from yolox_deploy.runtimes.base import Runtime
from yolox_deploy.runtimes.content import difference
from yolox_deploy.runtimes.registry import BACKENDS, backend_for
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import Comparison, task_of
from yolox_deploy.tasks.proof import Verdict
from yolox_deploy.verification.compare import Array, Judge
from yolox_deploy.verification.diagnosis import as_inputs, conventions, input_fault, name_fault
from yolox_deploy.verification.evidence import Evidence, Witness
from yolox_deploy.verification.verify import FEW, Verification, coarser, few_compared, run_all

NO_EVIDENCE = (
    "{name} carries no evidence, so it cannot be proven without its checkpoint; to verify it and "
    "put evidence into it: yolox-export --verify-artifact {name} --model CHECKPOINT"
)
OTHER_PICTURES = (
    "the pictures of the evidence are not in this package ({names}): install the version of "
    "yolox-deploy that made the artifact"
)
SLIGHTLY = (
    "the pictures have slightly other pixels here (by up to {:.1f} of 255 levels: another decoder "
    "or resizing), so the limits of {} are used"
)
NOTHING_DETECTED = (
    "the checkpoint detects nothing in the pictures of the evidence, so what the artifact detects "
    "is not proven: export it again with --verify FOLDER"
)

EXPORT_AGAIN = "export it again with --verify FOLDER and pictures of yours to prove more"


@dataclass
class Trial:
    """An opened artifact against the witnesses whose pictures are here, in one precision."""

    runtime: Runtime
    evidence: Evidence
    witnesses: list[Witness]
    precision: str

    def __post_init__(self) -> None:
        thresholds = (self.evidence.score_threshold, self.evidence.iou_threshold)
        spec = replace(
            self.runtime.spec, score_threshold=thresholds[0], iou_threshold=thresholds[1]
        )
        self.task = task_of(spec)
        self.judge = Judge(spec, self.task.tolerances[self.precision])
        raw = replace(self.judge.decoded.spec, output="raw")
        self.decoder = self.task.decoder(raw)
        self.expected = []
        for witness in self.witnesses:
            # The decoder takes whole outputs.
            whole = np.zeros((spec.num_anchors, witness.values.shape[1]), np.float32)
            whole[witness.rows] = witness.values
            self.expected.append(self.decoder.decode(whole)[witness.rows])

    def run(self, inputs: NDArray[Any]) -> list[Array]:
        """Return the output for each picture."""
        return run_all(self.runtime, inputs)

    def compare(self, outputs: list[Array]) -> Comparison:
        """Return how the outputs differ from the checkpoint's."""
        spec, found = self.runtime.spec, self.task.new_comparison()
        for witness, expected, output in zip(self.witnesses, self.expected, outputs, strict=True):
            if spec.output == "detections":
                (mine,) = Postprocess(spec, self.judge.thresholds).decode(output, 1)
                mine = mine[mine.scores >= self.judge.thresholds.score]
                self.judge.match(found, mine, witness.found, rows=False)
                continue
            decoded = output if spec.output == "decoded" else self.decoder.decode(output)
            rows = decoded[witness.rows]
            same_kind = expected if spec.output == "decoded" else witness.values
            change = np.abs(output[witness.rows] - same_kind).max()
            found.largest(raw_absolute=change, raw_relative=change / np.abs(same_kind).max())
            self.task.compare_encoded(found, rows[None], expected[None], spec, witness.rows)
            threshold = self.judge.thresholds.score
            self.task.compare_rows(found, rows, expected, spec, threshold)
            (mine,) = self.judge.detections(decoded[None])
            self.judge.match(found, mine, witness.found, rows=True, pairs=True)
        return found

    def only(self, pictures: list[int]) -> Trial:
        """Return the same for some of the pictures."""
        return replace(self, witnesses=[self.witnesses[i] for i in pictures])

    def problems(self, outputs: list[Array], precision: str = "") -> list[str]:
        """Return what exceeds the tolerance of a precision ("": the promised one)."""
        tolerance = self.task.tolerances[precision or self.precision]
        trial = replace(self, precision=precision) if precision else self
        return self.task.problems(trial.compare(outputs), tolerance)


def prove_file(
    path: Path,
    *,
    backend: str = "auto",
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
) -> tuple[ModelSpec | None, Verification]:
    """Open an artifact, prove it again, and return its spec (``None``: not opened) and the result.

    An artifact without evidence gives the status "not run".  Files that are not those that were
    exported fail, and no engine sees them.  Raises what opening the artifact raises.
    """
    if changed := difference(path):
        return None, Verification("failed", (f"{changed}: it is damaged",))
    runtime_class = backend_for(path, backend).runtime_class()
    # The files were compared with their hashes just now.
    with runtime_class(
        path, device=device, precision=precision, threads=threads, check_files=False
    ) as runtime:
        evidence = Evidence.of(runtime.spec)
        if evidence is None:
            return runtime.spec, Verification("not run", notes=(NO_EVIDENCE.format(name=path),))
        return runtime.spec, prove(runtime, evidence)


def prove_opened(runtime: Runtime) -> None:
    """Prove an opened artifact, once.

    Warns with a :class:`ModelWarning` of one that carries no evidence or is not proven; raises
    :class:`VerificationError` for one that fails.
    """
    evidence = Evidence.of(runtime.spec)
    if evidence is None:
        text = NO_EVIDENCE.format(name=runtime.path)
        warnings.warn(text, ModelWarning, stacklevel=3)
        return
    found = prove(runtime, evidence)
    if found.status == "failed":
        raise VerificationError(f"{runtime.path}: {found.summary}")
    for note in found.notes:
        warnings.warn(f"{runtime.path}: {note}", ModelWarning, stacklevel=3)


def prove(runtime: Runtime, evidence: Evidence) -> Verification:
    """Run an opened artifact on its own evidence, and compare it with the checkpoint.

    It is judged by the precision that was promised: the coarser of the file's and of the one that
    the engine was asked for.  An engine that computes in a coarser one fails.
    """
    spec, executed = runtime.spec, runtime.facts().precision
    tolerances = task_of(spec).tolerances
    asked = runtime.precision if runtime.precision in tolerances else spec.precision
    promised = coarser(spec.precision, asked, tolerances)
    row = BACKENDS.get(runtime.name)
    result = Verification(
        "not run",
        precision=executed,
        backend=runtime.name,
        engine=(row and row.availability().version) or "",
        device=runtime.device,
    )
    witnesses = [witness for witness in evidence.witnesses if witness.picture.found()]
    if not witnesses:
        names = ", ".join(witness.picture.name for witness in evidence.witnesses)
        return replace(result, notes=(OTHER_PICTURES.format(names=names),))
    images = [witness.picture.decoded() for witness in witnesses]
    inputs = as_inputs(spec, images, spec.input)
    sizes = [image.shape[:2] for image in images]
    pixels = np.stack([witness.pixels for witness in witnesses])
    fault, slight = input_fault(inputs, pixels, evidence.input, sizes)
    notes = []
    if slight:
        promised = coarser(promised, "fp16", tolerances)
        notes.append(SLIGHTLY.format(slight, promised))
    trial = Trial(runtime, evidence, witnesses, promised)
    outputs = trial.run(as_inputs(spec, images))
    found = trial.compare(outputs)
    numbers = trial.task.problems(found, trial.judge.tolerance)
    named = conventions(spec.input, evidence.input) or ([fault] if fault else [])
    if coarser(promised, executed, tolerances) != promised:
        named.append(f"the engine computes in {executed}, and {promised} was promised")
    if numbers and not named:
        named = [name_fault(trial, spec, images, outputs)]
    problems = (*named, *numbers)
    count = found["detections"]
    if not count:
        notes.append(NOTHING_DETECTED)
    elif count < FEW:
        drawn = all(witness.picture.content is None for witness in witnesses)
        notes.append(f"{few_compared(count, drawn=drawn)}: {EXPORT_AGAIN}")
    status: Verdict = "failed" if problems else "passed" if count else "not proven on detections"
    return replace(
        result,
        status=status,
        problems=problems,
        comparison=found,
        pictures=len(images),
        tolerance=trial.judge.tolerance,
        notes=tuple(notes),
    )
