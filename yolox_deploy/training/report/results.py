"""The progress of a run: what a reporter receives, and which epoch is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yolox_deploy.data.ap import AveragePrecision

# The losses that people are shown.
SHOWN = ("total", "iou", "objectness", "classes", "l1")


@dataclass(frozen=True)
class EpochResult:
    """One row of the results: mean losses of an epoch, its speed, and AP where it was measured.

    ``positives`` is the mean number of positives per annotated box, ``learning_rate`` that of the
    last step.
    """

    epoch: int
    total: float
    iou: float
    objectness: float
    classes: float
    l1: float
    positives: float
    learning_rate: float
    images_per_second: float
    seconds: float
    ap: float | None = None
    ap50: float | None = None
    ap75: float | None = None


@dataclass(frozen=True)
class StepResult:
    """Where a run is: ``epoch`` and ``step`` count from 1, ``losses`` are means of this epoch.

    ``seconds_left`` is for the steps that are left at this epoch's speed, without evaluations.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    losses: dict[str, float]
    learning_rate: float
    images_per_second: float
    seconds_left: float


class Reporter:
    """Receives the progress of a run and shows nothing; override the methods that you need.

    ``measures_ap`` is whether the run measures AP, which it sets before it begins.
    """

    measures_ap = True

    def message(self, text: str) -> None:
        """Receive a sentence about data, weights or files."""

    def step(self, result: StepResult) -> None:
        """Receive the result of a step."""

    def epoch(self, result: EpochResult) -> None:
        """Receive the result of an epoch."""


def best_epoch(
    history: Sequence[EpochResult], start: AveragePrecision | None
) -> EpochResult | None:
    """Return the last one of the epochs of the highest AP; ``None`` if the start was as good."""
    measured = [row for row in history if row.ap is not None]
    best = max(reversed(measured), key=lambda row: row.ap or 0.0, default=None)
    return None if best and start and (best.ap or 0.0) <= start.ap else best


def epochs_without_gain(history: Sequence[EpochResult], start: AveragePrecision | None) -> int:
    """Return how many epochs before the last measurement AP was better than ever before."""
    better, last, peak = 0, 0, start.ap if start else -1.0
    for row in history:
        if row.ap is not None:
            last = row.epoch
            if row.ap > peak:
                better, peak = row.epoch, row.ap
    return last - better
