"""The learning rate of every step: warm-up, cosine, constant tail."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yolox_deploy.training.recipes import Recipe

REFERENCE_BATCH = 64


@dataclass(frozen=True)
class Schedule:
    """The learning rate as a function of the step (counted from 0 over the whole run).

    A quadratic warm-up from 0, half a cosine down to the floor, and the floor until the end
    (the schedule that goes with arXiv 2107.08430).  All lengths are in steps.
    """

    peak: float
    floor: float
    warmup: int
    cosine_end: int

    @classmethod
    def of(cls, recipe: Recipe, batch: int, steps_per_epoch: int) -> Schedule:
        """Return the schedule of a recipe for a batch size summed over all processes."""
        peak = recipe.lr * batch / REFERENCE_BATCH
        return cls(
            peak=peak,
            floor=peak * recipe.lr_floor,
            warmup=recipe.warmup_epochs * steps_per_epoch,
            cosine_end=(recipe.epochs - recipe.plain_epochs) * steps_per_epoch,
        )

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step."""
        if step < self.warmup:
            return self.peak * ((step + 1) / self.warmup) ** 2
        if step >= self.cosine_end:
            return self.floor
        progress = (step - self.warmup) / (self.cosine_end - self.warmup)
        return self.floor + (self.peak - self.floor) * (1 + math.cos(math.pi * progress)) / 2
