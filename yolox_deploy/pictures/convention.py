"""How pixels become the network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class InputConvention:
    """The formula per channel: ``(value * scale - mean) / std``.

    ``scale``, ``mean`` and ``std`` apply in ``colour_order``; ``pad_value`` (grey level 0..255) is
    what surrounds the picture, and passes through the same formula.
    """

    colour_order: Literal["BGR", "RGB"] = "BGR"
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad_value: int = 114

    @property
    def largest_value(self) -> float:
        """The largest magnitude that the formula can give."""
        return max(
            abs((value * self.scale - mean) / std)
            for value in (0, 255)
            for mean, std in zip(self.mean, self.std, strict=True)
        )


RAW_INPUT = InputConvention()
# Release 0.1.0 of the original normalised like torchvision's classifiers.
LEGACY_INPUT = InputConvention("RGB", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
