"""Named differences between two outputs, and how far they may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact of one precision may be from its checkpoint, and why that far.

    ``limits`` bounds named differences; which there are, and in which units, is said by the task.
    """

    limits: Mapping[str, float]
    reason: str

    def __getitem__(self, name: str) -> float:
        return self.limits[name]

    def record(self) -> dict[str, Any]:
        """Return what a spec keeps of it."""
        return {**self.limits, "reason": self.reason}

    @property
    def margin(self) -> float:
        """How close to a threshold, or to each other, scores are a matter of rounding."""
        return 5 * self["score_mean"]


class Comparison(dict[str, float]):
    """The differences over all pictures, by name; a task says which there are."""

    def largest(self, **values: float) -> None:
        """Keep the larger of what is there and what comes; NaN counts as the largest."""
        for name, value in values.items():
            kept = self[name]
            if not value <= kept and not np.isnan(kept):
                self[name] = float(value)

    def count(self, **values: int) -> None:
        """Add to what was counted."""
        for name, value in values.items():
            self[name] += int(value)

    def add_to_rms(self, name: str, weight: str, rows: NDArray[Any], weights: NDArray[Any]) -> None:
        """Take differences (N, K) into a root mean square, each row with its weight (N,).

        ``weight`` names the sum of the weights so far.
        """
        if len(rows):
            number = self[weight] + float(weights.sum())
            squares = np.square(rows, dtype=float).mean(1)
            total = self[name] ** 2 * self[weight] + float((squares * weights).sum())
            self[name], self[weight] = (total / number) ** 0.5, number

    def add_to_mean(self, name: str, count: str, differences: NDArray[Any]) -> None:
        """Take magnitudes into a mean; ``count`` names how many it is of."""
        if differences.size:
            number = self[count] + differences.size
            total = self[name] * self[count] + float(np.abs(differences).sum())
            self[name], self[count] = total / number, number
