"""Shows a run on the terminal: a bar with the time left, and a table with a line per epoch."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from yolox_deploy.progress import display
from yolox_deploy.terminal import note
from yolox_deploy.training.report.results import SHOWN, EpochResult, Reporter, StepResult

WIDTH = 10
COLUMNS = ("epoch", *SHOWN, "images/s")
LOSSES = (
    "losses: total, of boxes (iou), objectness, classes, and l1 (used in the last, plain epochs"
    " only)"
)


class ConsoleReporter(Reporter):
    """Shows a run on standard error; without a terminal it prints only a line per epoch.

    ``silent`` shows nothing: of several processes only the first one shows the run.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.stack = ExitStack()
        self.header = False

    def __enter__(self) -> Self:
        text = (TextColumn("{task.description}"), TextColumn("{task.fields[now]}"))
        columns = (text[0], BarColumn(WIDTH), MofNCompleteColumn(), text[1])
        if not self.silent:
            self.bar = self.stack.enter_context(display(*columns, transient=True))
            self.task = self.bar.add_task("waiting for the first batch", now="", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def message(self, text: str) -> None:
        """Print a sentence."""
        if not self.silent:
            note(text)

    def step(self, result: StepResult) -> None:
        """Move the bar."""
        if self.silent:
            return
        left = timedelta(seconds=round(result.seconds_left))
        self.bar.update(
            self.task,
            description=f"epoch {result.epoch}/{result.epochs}",
            completed=result.step,
            total=result.steps,
            now=f"loss {result.losses[SHOWN[0]]:.2f}, {result.images_per_second:.0f} images/s, "
            f"{left} left",
        )

    def epoch(self, result: EpochResult) -> None:
        """Print the epoch's line, below the names of its columns if it is the first."""
        columns = (*COLUMNS, "AP", "AP50") if self.measures_ap else COLUMNS
        if not self.header:
            self.message(LOSSES)
            self.message("  ".join(f"{name:>{max(6, len(name))}}" for name in columns))
            self.header = True
        losses = [f"{getattr(result, name):.3f}" for name in SHOWN]
        precision = [f"{value:.4f}" for value in (result.ap, result.ap50) if value is not None]
        cells = [str(result.epoch), *losses, f"{result.images_per_second:.0f}", *precision]
        pairs = zip(cells, columns, strict=False)
        self.message("  ".join(f"{cell:>{max(6, len(name))}}" for cell, name in pairs))
