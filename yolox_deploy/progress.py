"""What a person watches while something long runs, with rich where it is installed.

Everything goes to the standard error, so that results can be piped.  Without rich, or where the
output is no terminal, plain lines tell the same.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

Item = TypeVar("Item")

HAS_RICH = importlib.util.find_spec("rich") is not None


def say(text: str) -> None:
    """Print one line to the standard error."""
    print(text, file=sys.stderr, flush=True)


class Stages:
    """Tells a person which stage of something long has begun, as plain lines."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __call__(self, stage: str) -> None:
        """Begin a stage; the one before it is over."""
        say(f"{self.title}: {stage}")

    def advance(self, phase: str, done: int, total: int) -> None:
        """Tell how far a phase of the stage is; only a terminal shows it."""


class _RichStages(Stages):
    """The same under a spinner, with a bar for the phase that a stage is in."""

    def __init__(self, title: str, progress: Any) -> None:
        super().__init__(title)
        self.progress = progress
        self.stage = ""
        self.running: int | None = None

    def __call__(self, stage: str) -> None:
        self.finish()
        self.stage, self.running = stage, self.progress.add_task(stage, total=None)

    def advance(self, phase: str, done: int, total: int) -> None:
        if self.running is not None and total > 0:
            text = f"{self.stage}: {phase} {done}/{total}"
            self.progress.update(self.running, description=text)

    def finish(self) -> None:
        if self.running is not None:
            self.progress.update(self.running, description=self.stage, total=1, completed=1)


@contextmanager
def stages(title: str) -> Iterator[Stages]:
    """Give what is told each stage as it begins; elapsed time is shown beside it."""
    if not (HAS_RICH and sys.stderr.isatty()):
        yield Stages(title)
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(finished_text="[green]done[/]"), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        shown = _RichStages(title, progress)
        yield shown
        shown.finish()


class Still:
    """Shows stages like :func:`stages`, but draws only when it is told something.

    A display that refreshes itself has a thread, which would disturb what is being measured.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.task: int | None = None
        self.progress: Any = None
        if HAS_RICH and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            console = Console(stderr=True)
            self.progress = Progress(*columns, console=console, auto_refresh=False)

    def begin(self, stage: str) -> None:
        """Show that a stage begins, and the one before has ended."""
        if self.progress is None:
            say(f"{self.title}: {stage}")
            return
        self._finish()
        self.task = self.progress.add_task(stage, total=None)
        self.progress.refresh()

    def advance(self, done: int, of: int) -> None:
        """Show how far the stage is."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=done, total=of, refresh=True)

    def _finish(self) -> None:
        if self.task is not None:
            self.progress.update(self.task, total=1, completed=1)

    def __enter__(self) -> Self:
        if self.progress is not None:
            self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.progress is not None:
            self._finish()
            self.progress.stop()


def track(items: Iterable[Item], total: int, unit: str = "pictures") -> Iterator[Item]:
    """Yield ``items`` under a bar with how many a second pass."""
    if not (HAS_RICH and sys.stderr.isatty()):
        yield from items
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(unit),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(unit, total=total, rate="")
        for item in items:
            yield item
            speed = progress.tasks[0].speed
            progress.update(task, advance=1, rate=f"{speed:.1f}/s" if speed else "")


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Give a function that is told the bytes so far and in all of a download."""
    if not (HAS_RICH and sys.stderr.isatty()):
        say(f"fetching {name}")
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn(f"fetching {name}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to the standard output."""
    if HAS_RICH and sys.stdout.isatty():
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
