"""What an export gives: one result per artifact, or an error that has the results so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_deploy.errors import SlowerError, VerificationError, YoloxDeployError
from yolox_deploy.spec import ModelSpec

if TYPE_CHECKING:
    from yolox_deploy.export.quantization.plan import Search
    from yolox_deploy.export.quantization.speed import Ratio
    from yolox_deploy.verification.verify import Verification


@dataclass(frozen=True)
class ExportResult:
    """One artifact: its main file ``path``, and what verification found.

    ``size`` is that of all its files in bytes.  ``ok`` is ``False`` if the artifact failed, and was
    given a name with ``.unverified`` in it.  Of an INT8 artifact ``search`` tells what stayed in
    floating point, and ``speed`` its time beside other precisions; ``kept`` is ``False`` if it is
    not surely faster, and its files were not written.
    """

    target: str
    path: Path
    size: int
    seconds: float
    spec: ModelSpec
    verification: Verification
    notes: tuple[str, ...]
    ok: bool = True
    kept: bool = True
    speed: tuple[Ratio, ...] = ()
    search: Search | None = None


class UnverifiedError(VerificationError):
    """Some artifacts failed their verification; ``results`` has all results of the export."""

    def __init__(self, message: str, results: list[ExportResult]) -> None:
        super().__init__(message)
        self.results = results


class NotFasterError(SlowerError):
    """INT8 artifacts that are not surely faster, and were not kept; ``results`` has all results."""

    def __init__(self, results: list[ExportResult]) -> None:
        found = []
        for result in results:
            slower = [ratio for ratio in result.speed if not ratio.surely_faster]
            if slower and not result.kept:
                best = min(slower, key=lambda ratio: ratio.other_ms)
                found.append(f"{result.target}: {best}; {best.advice}")
        super().__init__(
            f"INT8 is not surely faster, so it was not kept: {'. '.join(found)}; --keep-anyway "
            "keeps it"
        )
        self.results = results


class NotBuiltError(YoloxDeployError):
    """An artifact that this machine cannot build; what is needed to build it elsewhere is there.

    ``results`` has what was exported.  The exit code is that of the first reason.
    """

    def __init__(
        self,
        reasons: Sequence[YoloxDeployError],
        ways_on: Sequence[str],
        results: list[ExportResult],
    ) -> None:
        pairs = zip(reasons, ways_on, strict=True)
        super().__init__(". ".join(f"{reason}. {way_on}" for reason, way_on in pairs))
        self.exit_code = reasons[0].exit_code
        self.results = results
