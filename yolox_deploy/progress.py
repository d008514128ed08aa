"""What a person watches while something long runs, and tables.

Progress goes to the standard error, so that results can be piped.  Where that is no terminal, plain
lines tell the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")


def say(text: str) -> None:
    """Print one line to the standard error."""
    print(text, file=sys.stderr, flush=True)


class Stages:
    """Is told each stage of something long as it begins, and how far the stage is."""

    def __init__(self, title: str, progress: Progress) -> None:
        self.title = title
        self.progress = progress

    def __call__(self, stage: str) -> None:
        """Begin a stage; the stage before it is over."""
        if self.progress.disable:
            say(f"{self.title}: {stage}")
        self.finish()
        self.stage, self.task = stage, self.progress.add_task(stage, total=None)
        self.progress.refresh()

    def advance(self, phase: str, done: int, total: int) -> None:
        """Show how many steps of a phase of the stage are done, of how many."""
        if self.progress.tasks and total > 0:
            text = " ".join(filter(None, (phase, f"{done}/{total}")))
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

    columns = (SpinnerColumn(finished_text="[green]done[/]"), TextColumn("{task.description}"))
    with _progress(*columns, TimeElapsedColumn(), auto_refresh=refresh) as progress:
        shown = Stages(title, progress)
        yield shown
        shown.finish()


def track(items: Iterable[Item], total: int, unit: str = "pictures") -> Iterator[Item]:
    """Yield ``items`` under a bar with how many of them pass per second."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with _progress(TextColumn(unit), *columns, TimeRemainingColumn()) as progress:
        task = progress.add_task(unit, total=total, rate="")
        for item in items:
            yield item
            speed = progress.tasks[0].speed
            progress.update(task, advance=1, rate=f"{speed:.1f}/s" if speed else "")


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Give a function that is told the bytes so far and in all of a download."""
    from rich import progress as bars

    title, speed = bars.TextColumn(f"fetching {name}"), bars.TransferSpeedColumn()
    columns = (title, bars.BarColumn(), bars.DownloadColumn(), speed, bars.TimeRemainingColumn())
    with _progress(*columns) as progress:
        if progress.disable:
            say(f"fetching {name}")
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to the standard output."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*headers)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(row[i]) for row in (headers, *rows)) for i in range(len(headers))]
    for row in (headers, ["-" * width for width in widths], *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def _progress(*columns: Any, **options: Any) -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not sys.stderr.isatty(), **options)
