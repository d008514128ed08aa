"""What a person watches while something long runs.

Progress goes to the standard error, so that results can be piped.  Where that is no terminal, plain
lines tell the same.  Counts and times are never shortened: the bar is what gives way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from yolox_deploy.terminal import manner, note, plain, printing

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

Item = TypeVar("Item")
# Columns of a bar; what stands beside it must fit 80 columns.
BAR = 20


class Stages:
    """Is told each stage of something long as it begins, and how far the stage is."""

    def __init__(self, title: str, progress: Progress) -> None:
        self.title = title
        self.progress = progress

    def __call__(self, stage: str) -> None:
        """Begin a stage; the stage before it is over."""
        stage = plain(stage)
        if self.progress.disable:
            note(f"{self.title}: {stage}")
        self.finish()
        self.stage, self.task = stage, self.progress.add_task(stage, total=None)
        self.progress.refresh()

    def advance(self, phase: str, done: int, total: int) -> None:
        """Show how many steps of a phase of the stage are done, of how many."""
        if self.progress.tasks and total > 0:
            text = " ".join(filter(None, (phase, f"{done}/{total}")))
            self.progress.update(self.task, description=f"{self.stage}: {text}", refresh=True)

    def estimate(self, done: float, total: float, now: str = "") -> None:
        """Show the time that is left of the stage, and what is done now."""
        if not self.progress.tasks:
            return
        (*_, task) = self.progress.tasks
        seconds = (task.elapsed or 0) * (total / done - 1) if done else 0
        left = f"{timedelta(seconds=round(seconds))} left" if done else ""
        text = ", ".join(filter(None, (left, plain(now))))
        self.progress.update(self.task, description=f"{self.stage}: {text}", refresh=True)

    def finish(self) -> None:
        """Show that the last stage is over."""
        if self.progress.tasks:
            self.progress.update(self.task, description=self.stage, total=1, completed=1)


@contextmanager
def stages(title: str, *, refresh: bool = True) -> Iterator[Stages]:
    """Give what is told each stage as it begins; elapsed time is shown beside it.

    With ``refresh=False`` it draws only when it is told something: a display that refreshes itself
    has a thread, which would disturb what is being measured.
    """
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    spinner = SpinnerColumn(finished_text="[green]done[/]")
    text = TextColumn("{task.description}", table_column=Column(overflow="fold"), markup=False)
    with display(spinner, text, TimeElapsedColumn(), auto_refresh=refresh) as progress:
        shown = Stages(title, progress)
        yield shown
        shown.finish()


def track(
    items: Iterable[Item], total: int | Callable[[], int | None], unit: str = "pictures"
) -> Iterator[Item]:
    """Yield ``items`` under a bar with how many of them pass per second.

    ``total`` is their number, or a function that may know it when the first one is there.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(BAR), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with display(TextColumn(unit), *columns, TimeRemainingColumn()) as progress:
        task = progress.add_task(unit, total=total if isinstance(total, int) else None, rate="")
        for item in items:
            if not isinstance(total, int):
                progress.update(task, total=total())
            yield item
            speed = progress.tasks[0].speed
            progress.update(task, advance=1, rate=f"{speed:.1f}/s" if speed else "")


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Give a function that is told the bytes so far and in all of a download."""
    from rich import progress as bars

    title, speed = bars.TextColumn(f"fetching {name}"), bars.TransferSpeedColumn()
    columns = (title, bars.BarColumn(BAR), bars.DownloadColumn(), speed, bars.TimeRemainingColumn())
    with display(*columns) as progress:
        if progress.disable:
            note(f"fetching {name}")
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def display(*columns: str | ProgressColumn, **options: Any) -> Iterator[Progress]:
    """Draw rich's columns on the standard error, if that is a terminal and may be used.

    Lines that are printed meanwhile stand above the display.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    shown = console.is_terminal and not manner().quiet
    # rich would turn everything printed into lines of the standard error, results in a pipe too.
    options |= {"disable": not shown, "redirect_stdout": sys.stdout.isatty()}
    with (
        Progress(*columns, console=console, **options) as progress,
        printing(live=console if shown else None),
    ):
        yield progress
