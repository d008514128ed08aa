"""How long one call took, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class EngineSeconds(NamedTuple):
    """Seconds that one call spent on the device, by the device's own clock."""

    copy_in: float
    compute: float
    copy_out: float


class StageSeconds(NamedTuple):
    """Seconds that the stages of one call took, for all its pictures together.

    ``engine`` splits ``inference`` where the engine has a clock of its own, else it is ``None``.
    """

    letterbox: float
    inference: float
    decode: float
    nms: float
    engine: EngineSeconds | None = None

    @property
    def total(self) -> float:
        """The seconds from pictures to results."""
        return self.letterbox + self.inference + self.decode + self.nms


def summed(parts: Sequence[StageSeconds]) -> StageSeconds:
    """Return the seconds of several calls together, which may have run at the same time."""
    engines = [part.engine for part in parts if part.engine is not None]
    engine = EngineSeconds(*map(sum, zip(*engines, strict=True))) if engines else None
    letterbox, inference, decode, nms = (
        sum(stage) for stage in zip(*(p[:4] for p in parts), strict=True)
    )
    return StageSeconds(letterbox, inference, decode, nms, engine)
