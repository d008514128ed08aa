"""What verification found, as a spec keeps it: one proof per precision, backend and device.

An engine that computes in another precision computes something else, so a proof holds for the
precision that the engine really used.  ``ModelSpec.verification`` is the record of one proof; the
records of further ones are in its list ``further``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from yolox_deploy.spec import ModelSpec

Verdict = Literal["passed", "failed", "not proven on detections", "built, not executed", "not run"]
# Verdicts of artifacts that are whole, and of which nobody knows what they detect.
UNPROVEN: tuple[Verdict, ...] = ("not proven on detections", "built, not executed")
# Verdicts without a run of the artifact itself.
NOT_EXECUTED: tuple[Verdict, ...] = ("built, not executed", "not run")

# A bound for what is read from a file.
MOST_PROOFS = 32

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Proof:
    """One verification: its verdict, one sentence, and what was executed.

    ``precision`` is what the engine computed in.  ``backend``, ``engine`` (its version) and
    ``device`` are empty in records of older versions of this package, which did not say.
    """

    verdict: str
    summary: str
    precision: str
    backend: str
    engine: str
    device: str

    @classmethod
    def of(cls, record: Record, precision: str) -> Proof:
        """Return a record as a proof; one that names no precision was made in ``precision``."""
        verdict = str(record.get("status", "unknown"))
        comparison = record.get("comparison")
        # Older versions called these "passed".
        if verdict == "passed" and record.get("executed") is False:
            verdict = "built, not executed"
        elif (
            verdict == "passed"
            and isinstance(comparison, dict)
            and not comparison.get("detections")
        ):
            verdict = "not proven on detections"
        summary = str(record.get("summary", "no summary"))
        said = {key: str(record.get(key) or "") for key in ("backend", "engine", "device")}
        return cls(verdict, summary, str(record.get("precision") or precision), **said)

    def replaces(self, other: Proof) -> bool:
        """Whether this is a newer proof of the same; one that ran ends those that did not."""
        if other.verdict in NOT_EXECUTED:
            return True
        return self.precision == other.precision and (
            not other.backend or (self.backend, self.device) == (other.backend, other.device)
        )

    def __str__(self) -> str:
        text = f"{self.verdict}: {self.summary}"
        if self.backend:
            text += f" ({self.precision}, {self.backend} {self.engine} on {self.device})"
        return text


def proofs(spec: ModelSpec) -> list[Proof]:
    """Return the proofs in a spec, that of the export first."""
    return [Proof.of(record, spec.precision) for record in _records(spec)]


def proof_for(spec: ModelSpec, precision: str, backend: str) -> Proof | None:
    """Return the proof that tells what ``backend`` detects in ``precision``, if there is one.

    Without one of this backend it is that of another.  In FP32 it may be a pass in a lower
    precision: FP32 holds every number that a lower precision holds.
    """
    found = proofs(spec)
    same = [proof for proof in found if proof.precision == precision]
    own = [proof for proof in same if proof.backend == backend]
    lower = [proof for proof in found if proof.verdict == "passed" and precision == "fp32"]
    return next(iter(own + same + lower), None)


def verdict_in(spec: ModelSpec, precision: str, backend: str) -> str:
    """Return the verdict on ``precision`` in a few words."""
    proof = proof_for(spec, precision, backend)
    if proof is not None:
        return proof.verdict
    others = [f"{p.verdict} in {p.precision} only" for p in proofs(spec) if p.verdict != "not run"]
    return others[0] if others else "not run"


def with_proof(spec: ModelSpec, record: Record) -> dict[str, Any]:
    """Return the spec's verification with one more record, instead of those it replaces."""
    new, old = Proof.of(record, spec.precision), _records(spec)
    replaced = [new.replaces(proof) for proof in proofs(spec)]
    place = replaced.index(True) if True in replaced else len(old)
    kept = [one for one, gone in zip(old, replaced, strict=True) if not gone]
    kept.insert(place, record)
    further = kept[1:MOST_PROOFS]
    return {**kept[0], **({"further": further} if further else {})}


def _records(spec: ModelSpec) -> list[Record]:
    """Return the records of a spec's verification, each without what follows it."""
    if not spec.verification:
        return []
    first = dict(spec.verification)
    further = first.pop("further", ())
    rest = further[: MOST_PROOFS - 1] if isinstance(further, list) else ()
    return [first, *(record for record in rest if isinstance(record, dict))]
