"""Fits the schedule of a run into the time that the user gives it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from yolox_deploy.training.recipes import Recipe
from yolox_deploy.training.report.results import EpochResult
from yolox_deploy.training.settings import TrainingRun


class Clock:
    """Measures a run, and shortens its schedule so that it ends within its ``seconds``.

    The schedule is never longer than that of the recipe.  It is fitted again after every epoch,
    because other programs may take and give back processors meanwhile.
    """

    def __init__(self, run: TrainingRun, history: Sequence[EpochResult]) -> None:
        self.limit = run.settings.seconds
        self.whole = self.recipe = run.recipe
        self.began = time.perf_counter() - sum(row.seconds for row in history)
        self.evaluation = 0.0

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Measure the evaluation that is done within the context."""
        began = time.perf_counter()
        yield
        self.evaluation = time.perf_counter() - began

    def fitted(self, last: EpochResult) -> Recipe:
        """Return the recipe with as many epochs as time is left for after the ``last`` one."""
        if self.limit is not None:
            each = last.seconds + self.evaluation / self.recipe.eval_every
            left = self.limit - (time.perf_counter() - self.began) - self.evaluation
            epochs = last.epoch + max(int(left / each), 0)
            self.recipe = self.whole.fitted(min(epochs, self.whole.epochs))
        return self.recipe
