"""Shows a run on the terminal: a bar with losses and time left, and a line per epoch."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from yolox_deploy.training.report import SHOWN, EpochResult, Reporter, StepResult


class ConsoleReporter(Reporter):
    """Shows a run on standard error; without a terminal it prints only a line per epoch.

    ``silent`` shows nothing: of several processes only the first one shows the run.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.console = Console(stderr=True, quiet=silent, highlight=False, soft_wrap=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[now]}"),
            console=self.console,
            transient=True,
            disable=silent or not self.console.is_terminal,
        )
        self.task = self.bar.add_task("waiting for the first batch", now="", total=None)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def message(self, text: str) -> None:
        """Print a sentence."""
        self.console.print(text, markup=False)

    def step(self, result: StepResult) -> None:
        """Move the bar."""
        left = timedelta(seconds=round(result.seconds_left))
        losses = "  ".join(f"{name} {result.losses[name]:.2f}" for name in SHOWN)
        self.bar.update(
            self.task,
            description=f"epoch {result.epoch}/{result.epochs}",
            completed=result.step,
            total=result.steps,
            now=f"{losses}  lr {result.learning_rate:.2g}"
            f"  {result.images_per_second:.0f} images/s  {left} left",
        )

    def epoch(self, result: EpochResult) -> None:
        """Print the epoch's line."""
        losses = "  ".join(f"{name} {getattr(result, name):.3f}" for name in SHOWN)
        line = f"epoch {result.epoch:3d}  {losses}  {result.images_per_second:.0f} images/s"
        if result.ap is not None:
            line += f"  [bold]AP {result.ap:.4f}[/bold]  AP50 {result.ap50:.4f}"
        self.console.print(line)
