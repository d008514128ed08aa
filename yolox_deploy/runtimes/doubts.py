"""What a user should know of an artifact as it runs now: its precision, what is proven."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yolox_deploy.tasks.proof import proof_for, proofs

# The precision of engines that were built for one.
AS_BUILT = "as built"
NOT_COVERED = "that is not covered"
# A Runtime of base.py, which imports this module.
Runtime = Any
# The checkpoints of the artifacts that this process took from the cache of exports.
MADE_FROM: dict[Path, Path] = {}


def doubts(runtime: Runtime, *, named: bool) -> Iterator[str]:
    """Yield a sentence for each reason to doubt; ``named``: the user named the precision."""
    spec, name = runtime.spec, runtime.path.name
    if not (named or spec.verification):
        return
    precision = runtime.facts().precision
    if named and runtime.precision not in (precision, AS_BUILT):
        yield (
            f"{name} was to run in {runtime.precision}; on this machine {runtime.name} computes it "
            f"in {precision}"
        )
    if not spec.verification:
        return
    proof = proof_for(spec, precision, runtime.name)
    if proof is not None:
        if proof.verdict == "failed":
            yield f"{name} failed its verification: {proof.summary}"
        return
    if passed := [proof.precision for proof in proofs(spec) if proof.verdict == "passed"]:
        yield (
            f"{name} was verified in {' and '.join(passed)}, and now it runs in {precision}: "
            f"{NOT_COVERED}; to verify it: {verify_command(runtime)}"
        )


def verify_command(runtime: Runtime) -> str:
    """Return the command that verifies the artifact as it runs now."""
    checkpoint = MADE_FROM.get(runtime.path, Path("CHECKPOINT"))
    words = ["yolox-export", "--verify-artifact", str(runtime.path), "--model", str(checkpoint)]
    if runtime.spec.evidence is not None:
        words = ["yolox-verify", str(runtime.path), "--record"]
    ran = {proof.backend for proof in proofs(runtime.spec)} - {"", runtime.name}
    if ran:
        words += ["--backend", runtime.name]
    if runtime.device != runtime.devices[0]:
        words += ["--device", runtime.device]
    if runtime.precision != runtime.precisions[0]:
        words += ["--precision", runtime.precision]
    return shlex.join(words)
