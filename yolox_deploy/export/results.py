"""What an export gives: one result per artifact, or an error that has the results so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_deploy.errors import VerificationError, YoloxDeployError
from yolox_deploy.spec import ModelSpec

if TYPE_CHECKING:
    from yolox_deploy.verification.verify import Verification


@dataclass(frozen=True)
class ExportResult:
    """One artifact: its main file ``path``, and what verification found.

    ``size`` is that of all its files in bytes.  ``ok`` is ``False`` if the artifact failed, and was
    given a name with ``.unverified`` in it.
    """

    target: str
    path: Path
    size: int
    seconds: float
    spec: ModelSpec
    verification: Verification
    notes: tuple[str, ...]
    ok: bool = True


class UnverifiedError(VerificationError):
    """Some artifacts failed their verification; ``results`` has all results of the export."""

    def __init__(self, message: str, results: list[ExportResult]) -> None:
        super().__init__(message)
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
