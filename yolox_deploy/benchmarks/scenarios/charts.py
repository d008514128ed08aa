"""A figure drawn without a display, and written to its file in one step."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.needs import require
from yolox_deploy.errors import UsageError
from yolox_deploy.files import write_atomically

FORMATS = ("png", "svg", "pdf")


@contextmanager
def chart(path: Path, size: tuple[float, float] = (9, 5)) -> Iterator[Any]:
    """Give the axes of a figure of ``size`` inches, written to ``path`` when the block ends."""
    with figure(path, size) as drawn:
        yield drawn.add_subplot()


@contextmanager
def figure(path: Path, size: tuple[float, float]) -> Iterator[Any]:
    """Give an empty figure of ``size`` inches, written to ``path`` when the block ends."""
    kind = check_chart(path)
    from matplotlib.figure import Figure

    empty = Figure(size, layout="constrained")
    yield empty
    drawn = io.BytesIO()
    empty.savefig(drawn, format=kind, dpi=120)
    write_atomically(path, drawn.getvalue())


def check_chart(path: Path) -> str:
    """Return the format that the suffix of ``path`` names; raises :class:`UsageError`."""
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise UsageError(f"--plot {path}: a chart is a {', '.join(FORMATS)} file")
    require("matplotlib", "charts are drawn by matplotlib")
    return kind
