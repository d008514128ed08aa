"""Verify an artifact that is there already, such as an engine that was built elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from yolox_deploy.errors import InputFileError, UsageError, number_of
from yolox_deploy.export.reference import Reference
from yolox_deploy.export.targets import rewrite
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.pictures.images import MAX_PIXELS
from yolox_deploy.runtimes.content import difference
from yolox_deploy.runtimes.registry import CHECKPOINT_SUFFIXES, backend_for
from yolox_deploy.spec import ModelSpec, SpecHints
from yolox_deploy.tasks.proof import with_proof
from yolox_deploy.verification.verify import Verification, load_pictures, verify


class Verified(NamedTuple):
    """What verification found, the artifact's spec with that in it, and notes for the user."""

    verification: Verification
    spec: ModelSpec
    notes: tuple[str, ...]


def verify_artifact(
    artifact: Path,
    checkpoint: Path,
    hints: SpecHints = SpecHints(),  # noqa: B008 (frozen)
    *,
    pictures: Path | None = None,
    max_pixels: int | None = MAX_PIXELS,
    enclose: bool = True,
    backend: str = "auto",
    device: str | None = None,
    precision: str | None = None,
    report: Callable[[str], None] = lambda stage: None,
) -> Verified:
    """Run ``artifact`` on an engine, compare it with ``checkpoint``, write the result into it.

    The artifact keeps one proof for each precision, backend and device.  One without a spec of
    yolox_deploy is compared and left as it is.  ``pictures`` is a folder (``None``: the drawn
    pictures that ship with the package), of pictures of ``max_pixels`` at most; a few of them are
    put into the artifact, if ``enclose``.  ``backend``, ``device`` and ``precision`` are those of
    :class:`~yolox_deploy.detector.Detector`; what the engine really computes in is what counts.

    Raises :class:`UsageError` if the two cannot be of the same model, and what opening either of
    them raises.  An artifact that fails raises nothing: its verification has the status "failed".
    Nothing is written to an artifact that fails and was made from another checkpoint, or whose
    files are not those that were exported.  Files that were changed and pass get new hashes.
    """
    if artifact.suffix.lower() in CHECKPOINT_SUFFIXES:
        raise UsageError(f"{artifact} is a checkpoint: --verify-artifact takes an artifact")
    if not artifact.is_file():
        raise InputFileError(f"{artifact}: no such file")
    report("reading the checkpoint")
    loaded = load_checkpoint(checkpoint, hints.architecture)
    runtime_class = backend_for(artifact, backend).runtime_class()
    # A file that was changed on purpose is verified here, and gets hashes of its own.
    with runtime_class(
        artifact, device=device, precision=precision, hints=hints, check_files=False
    ) as runtime:
        spec = runtime.spec
        classes = loaded.network.num_classes
        if classes != spec.num_classes:
            raise UsageError(
                f"{artifact} has {number_of(spec.num_classes, 'class', 'classes')} and {checkpoint}"
                f" {classes}: it was not made from this checkpoint"
            )
        report("running the checkpoint on the verification pictures")
        reference = Reference(loaded.network, spec, load_pictures(pictures, max_pixels))
        report(f"verifying {artifact.name}")
        found = verify(runtime, reference.inputs_of(spec), reference.outputs, pictures)
        problem = reference.input_problem()
        evidence = reference.evidence(own=pictures is not None, enclose=enclose)
    found = found.failed_by(problem)
    notes = [*(runtime.notes if runtime.found else ()), *found.notes]
    if precision not in (None, found.precision):
        notes.append(
            f"{found.backend} was asked for {precision} and computed in {found.precision}: that "
            "is the precision that was verified"
        )
    other = spec.checkpoint_sha256 not in (None, loaded.sha256)
    if other and found.status == "failed":
        # This says nothing about the artifact, which keeps the result of its own verification.
        reason = f"{artifact.name} was made from another checkpoint than {checkpoint}"
        found = replace(found, problems=(reason,))
        notes.append(f"nothing was written to {artifact.name}: give the checkpoint it came from")
        return Verified(found, spec, tuple(notes))
    changed = difference(artifact)
    if changed and found.status == "failed":
        notes.append(f"nothing was written to {artifact.name}: {changed}")
        return Verified(found, spec, tuple(notes))
    if other:
        notes.append(f"{artifact.name} was made from another file than {checkpoint}")
    # What was found of other content says nothing of this.
    spec = replace(spec, verification=None) if changed else spec
    verification = with_proof(spec, found.record())
    spec = replace(spec, verification=verification, evidence=evidence.record(spec))
    if spec.assumed:
        notes.append(f"{artifact.name} carries no spec of yolox_deploy: nothing was written to it")
    else:
        rewrite(artifact, spec)
    return Verified(found, spec, tuple(notes))
