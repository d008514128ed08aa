"""What a person reads: lines and tables, on a terminal or in a pipe.

Results go to the standard output; notes, errors and progress go to the standard error.  A terminal
gets lines that are folded at spaces, and tables that fit its width.  A pipe gets whole lines, for
grep and awk.  Nothing is ever shortened.  Names of files and classes come from others, and a
terminal would obey the control characters in them: they are printed as escapes.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TextIO

from yolox_deploy.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

# Between two columns of a table.
GAP = 2
# A last column of sentences is not made narrower than this.
NARROWEST = 30
NUMBER = re.compile(r"([-+]?\d[\d.,]*(e[-+]?\d+)?( ?(%|x|ms|s|MB))?|-|)")
# Words that stay on one line: a line for pip, a number and its unit, a name and its count.
TOGETHER = re.compile(
    r"""pip install (?:-e )?(?:"[^"]*"|\S+)|\d (?:s|ms|px|MB|MiB|GB|GiB)\b|\S+ x\d+\b"""
)
RULE = re.compile("-+( +-+)*")
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Manner:
    """How this process prints.

    ``quiet``: no notes and no progress.  ``output`` is the standard output where it belongs to a
    file of results (``--json -``) alone, else ``None``.  ``live`` is the console of a display that
    is being drawn.  ``apart``: what is printed here does not go through file descriptor 2, so that
    :func:`native_lines` may catch what goes there.
    """

    quiet: bool = False
    output: TextIO | None = None
    live: Console | None = None
    apart: bool = False


_manner = [Manner()]
# Whether the reader of the standard output has closed it, as in ``| head -1``.
_unread = [False]


def manner() -> Manner:
    """Return how this process prints now."""
    return _manner[0]


@contextmanager
def printing(**changes: object) -> Iterator[None]:
    """Change some fields of :func:`manner` for a while."""
    before = manner()
    _manner[0] = replace(before, **changes)  # type: ignore[arg-type]
    try:
        yield
    finally:
        _manner[0] = before


def plain(text: str) -> str:
    r"""Return ``text`` with every control character but the line end written as an escape.

    >>> plain("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def counted(names: Counter[str], most: int = 10) -> str:
    """Return the names that occur most often, with their counts.

    >>> counted(Counter(["3", "9", "3"])), counted(Counter("aabc"), 2)
    ('3 x2, 9 x1', 'a x2, b x1, ...')
    """
    shown = [f"{name} x{count}" for name, count in names.most_common(most)]
    return ", ".join((*shown, *["..."] * (len(names) > most))) or "nothing"


def prepare_streams() -> None:
    """Make the standard streams take every character, and replace those that are closed.

    A file that is opened would get the number of a closed stream, and then whatever libraries
    print.  Text for a closed standard output is an error, as with other programs; text for a closed
    standard error is dropped.
    """
    _unread[0] = False
    closed: Any = [stream is None for stream in (sys.stdin, sys.stdout, sys.stderr)]
    if closed[0]:
        os.open(os.devnull, os.O_RDONLY)
    if closed[1]:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115
    if closed[2]:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _written(stream: TextIO) -> Iterator[None]:
    """Forgive a reader that has enough, as in ``| head -1``; see :func:`output_unread`.

    Raises :class:`OutputError` where results cannot be written.
    """
    try:
        yield
    except OSError as error:
        # Drop what the stream holds, or the interpreter would try, and complain, at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        _unread[0] |= isinstance(error, BrokenPipeError) and stream is not sys.stderr
        if not isinstance(error, BrokenPipeError) and stream is not sys.stderr:
            raise OutputError(f"cannot write to the standard output: {error.strerror}") from error


def finish_output() -> None:
    """Print what the standard output still holds back; raises :class:`OutputError`."""
    with _written(sys.stdout):
        sys.stdout.flush()


def output_unread() -> bool:
    """Whether the reader of the standard output has closed it; prints what was held back."""
    finish_output()
    return _unread[0]


def say(text: str) -> None:
    """Print an error to the standard error."""
    _put(text, sys.stderr)


def note(text: str) -> None:
    """Print something worth knowing to the standard error, unless the user wants it quiet."""
    if not manner().quiet:
        _put(text, sys.stderr)


def print_line(text: str = "", *, whole: bool = False) -> None:
    """Print a part of the result to the standard output; a ``whole`` line is not folded."""
    if not manner().output:
        _put(text, sys.stdout, whole=whole)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to the standard output."""
    if manner().output:
        return
    cells = [[plain(cell) for cell in row] for row in rows]
    lines = table_lines(headers, cells, columns_of(sys.stdout))
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        _put(line, sys.stdout, bold=bool(RULE.fullmatch(below)), whole=True)


@contextmanager
def reserved_output() -> Iterator[None]:
    """Keep the standard output for :func:`write_output`; all else goes to the standard error.

    So does what other libraries print, from C as well.
    """
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        number = -1
    if number != 1:
        # Replaced by another stream, as in a test.
        with printing(output=sys.stdout), redirect_stdout(sys.stderr):
            yield
        return
    with open(os.dup(1), "w", encoding="utf-8", errors="backslashreplace") as stream:
        os.dup2(2, 1)
        try:
            with printing(output=stream):
                yield
        finally:
            sys.stdout.flush()
            os.dup2(stream.fileno(), 1)


@contextmanager
def errors_apart() -> Iterator[None]:
    """Print to a copy of the standard error, for :func:`native_lines`; for a command only."""
    try:
        number = sys.stderr.fileno()
    except (OSError, ValueError):
        number = -1
    if number != 2:
        # Replaced by another stream, as in a test.
        yield
        return
    # Never closed: loggers of libraries may keep it.
    stream = open(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace")  # noqa: SIM115
    with redirect_stderr(stream), printing(apart=True):
        yield


@contextmanager
def native_lines() -> Iterator[list[str]]:
    """Keep what a C library writes to the standard error off the terminal, and give its lines.

    Only in a command.  For a short call: if the process crashes within, these lines are lost.
    """
    lines: list[str] = []
    if not manner().apart:
        yield lines
        return
    before, (reading, writing) = os.dup(2), os.pipe()
    # A library that writes more than the pipe holds must not wait for a reader.
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    os.dup2(writing, 2)
    try:
        yield lines
    finally:
        os.dup2(before, 2)
        with suppress(BlockingIOError):
            lines += os.read(reading, 1 << 16).decode("utf-8", "replace").splitlines()
        for number in (before, reading, writing):
            os.close(number)


def write_output(text: str) -> None:
    """Write a file of results to the standard output."""
    stream = manner().output or sys.stdout
    with _written(stream):
        stream.write(text)
        stream.flush()


def columns_of(stream: TextIO) -> int | None:
    """Return the width of the terminal that a stream is, ``None`` for a file or a pipe."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def fold(text: str, columns: int | None, indent: str = "") -> list[str]:
    """Return lines of at most so many columns, broken at spaces; ``None`` is one line.

    A word that is longer stays whole.  ``indent`` is put before every line but the first.
    """
    if columns is None:
        return [text]
    kept = TOGETHER.sub(lambda match: match[0].replace(" ", NO_BREAK), text)
    lines = textwrap.wrap(
        kept, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(NO_BREAK, " ") for line in lines] or [""]


def table_lines(
    headers: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None = None
) -> list[str]:
    """Return a table as lines of at most so many columns (``None``: as wide as it is).

    What does not fit becomes: a table whose last column is folded; or, if there are several rows,
    blocks of some columns each; or one block per row, with a line per cell.
    """
    grid = [list(headers), *map(list, rows)]
    widths = [max(map(_width, column)) for column in zip(*grid, strict=True)]
    if columns is None or _total(widths) <= columns:
        return _aligned(grid, widths)
    last = columns - _total(widths[:-1]) - GAP
    if last >= max(NARROWEST, _longest_word(row[-1] for row in grid)):
        folded = [[*line] for row in grid for line in _folded(row, last)]
        return _aligned(folded, [*widths[:-1], last])
    blocks = _blocks(widths, columns)
    if len(rows) > 1 and blocks:
        parts = [
            _aligned([[row[i] for i in block] for row in grid], [widths[i] for i in block])
            for block in blocks
        ]
        return [line for part in parts for line in (*part, "")][:-1]
    return [line for row in rows for line in _listed(headers, row, columns)]


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _longest_word(texts: Iterator[str]) -> int:
    return max(_width(word) for text in texts for word in fold(text, 1))


def _aligned(grid: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """Return the lines of a table, with a rule below the headers unless they are empty."""
    headers, *rows = grid
    right = [
        any(column) and all(NUMBER.fullmatch(cell) for cell in column)
        for column in zip(*rows, strict=True)
    ] or [False] * len(widths)
    shown = [headers, ["-" * width for width in widths], *rows] if any(headers) else rows
    lines = []
    for row in shown:
        cells = []
        for cell, width, number in zip(row, widths, right, strict=True):
            space = " " * (width - _width(cell))
            cells.append(space + cell if number else cell + space)
        lines.append((" " * GAP).join(cells).rstrip())
    return lines


def _folded(row: Sequence[str], last: int) -> Iterator[list[str]]:
    """Yield a row as several rows, of which only the first has more than its last cell."""
    first, *more = fold(row[-1], last)
    yield [*row[:-1], first]
    for line in more:
        yield [*([""] * (len(row) - 1)), line]


def _blocks(widths: Sequence[int], columns: int) -> list[list[int]]:
    """Return the columns of each block, the first one in all; nothing if a column is too wide."""
    blocks: list[list[int]] = []
    room = -1
    for i, width in enumerate(widths[1:], 1):
        if room < GAP + width:
            blocks.append([0])
            room = columns - widths[0]
        room -= GAP + width
        if room < 0:
            return []
        blocks[-1].append(i)
    return blocks


def _listed(headers: Sequence[str], row: Sequence[str], columns: int) -> Iterator[str]:
    """Yield the first cell of a row, and below it a line for each other cell that is not empty."""
    yield from fold(row[0], columns)
    width = max(map(_width, headers[1:]))
    for header, cell in zip(headers[1:], row[1:], strict=True):
        if cell:
            line = " " * GAP + header + " " * (width - _width(header) + GAP) + cell
            yield from fold(line, columns, " " * (width + 2 * GAP))


def _put(text: str, stream: TextIO, *, bold: bool = False, whole: bool = False) -> None:
    text, columns = plain(text), columns_of(stream)
    with _written(stream):
        for line in [text] if whole else fold(text, columns):
            if columns and (bold or manner().live):
                _styled(line, stream, bold)
            else:
                print(line, file=stream)
        if stream is sys.stderr:
            stream.flush()


def _styled(line: str, stream: TextIO, bold: bool) -> None:
    """Print a line in bold, or above a display that is being drawn."""
    from rich.console import Console
    from rich.text import Text

    console = manner().live or Console(file=stream)
    console.print(Text(line, style="bold" if bold else ""), soft_wrap=True)
