"""The progress and the results of a run, for a reporter and for the files of results."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from yolox_deploy.data.ap import AveragePrecision
from yolox_deploy.files import write_atomically, write_document
from yolox_deploy.packages import is_installed, why_broken

FORMAT = "yolox-train"
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
    """Receives the progress of a run and shows nothing; override the methods that you need."""

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


def results_document(
    settings: dict[str, Any], history: Sequence[EpochResult], start: AveragePrecision | None
) -> dict[str, Any]:
    """Return what ``results.json`` has beside its format and version."""
    epochs = [asdict(result) for result in history]
    return {"settings": settings, "start": start and start.as_dict(), "epochs": epochs}


def write_results(
    folder: Path,
    settings: dict[str, Any],
    history: Sequence[EpochResult],
    start: AveragePrecision | None,
) -> None:
    """Write ``results.csv``, ``results.json`` and ``results.png`` (if matplotlib is there).

    ``start`` is the AP before training, if it was measured.  Raises :class:`OutputError`.
    """
    document = results_document(settings, history, start)
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in fields(EpochResult)])
    writer.writeheader()
    writer.writerows(document["epochs"])
    write_atomically(folder / "results.csv", table.getvalue())
    write_document(folder / "results.json", FORMAT, document)
    if picture := plot(history, start):
        write_atomically(folder / "results.png", picture)


def plot(history: Sequence[EpochResult], start: AveragePrecision | None = None) -> bytes | None:
    """Return a PNG of losses and AP over the epochs, ``None`` without matplotlib."""
    if not is_installed("matplotlib") or why_broken("matplotlib.figure"):
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, precision = figure.subplots(1, 2)
    epochs = [row.epoch for row in history]
    for name in SHOWN:
        values = [getattr(row, name) or math.nan for row in history]  # l1 is 0 until the end
        losses.plot(epochs, values, marker=".", label=name)
    losses.set(title="training loss", xlabel="epoch", yscale="log")
    # 0.5, 1, 2, 5, 10, ... in plain numbers.
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter("")
    measured = [row for row in history if row.ap is not None]
    for name, label in (("ap50", "AP50"), ("ap75", "AP75"), ("ap", "AP")):
        values = [getattr(row, name) for row in measured]
        precision.plot([row.epoch for row in measured], values, marker=".", label=label)
    if start:
        style = {"color": "black", "linestyle": ":"}
        precision.axhline(start.ap, label="AP before training", **style)
    precision.set(title="average precision, validation set", xlabel="epoch")
    precision.set_ylim(bottom=0)
    if not measured:
        precision.text(0.5, 0.5, "not measured", ha="center", transform=precision.transAxes)
    for axes in (losses, precision):
        axes.set_xlim(0.5, len(history) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        # Beside the curves, which may be anywhere.
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()
