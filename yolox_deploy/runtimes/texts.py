"""What runtimes compare and say: shapes, allowed words, an engine's error as one line."""

from __future__ import annotations

from collections.abc import Collection

from yolox_deploy.errors import suggest

Shape = tuple[int | None, ...]


def shapes_agree(pattern: Shape, shape: Shape) -> bool:
    """Return whether two shapes agree; ``None`` in ``pattern`` stands for any number."""
    return len(pattern) == len(shape) and all(
        a is None or a == b for a, b in zip(pattern, shape, strict=True)
    )


def expectation(given: str, allowed: Collection[str], separator: str = ", ") -> str:
    """Return the end of a message that refuses ``given``: the allowed words, the nearest one."""
    return f": expected {separator.join(allowed) or 'none'}{suggest(given, allowed)}"


def shape_text(shape: Shape) -> str:
    """Return a shape in words, such as "?x3x416x416", where "?" is any number."""
    return "x".join("?" if side is None else str(side) for side in shape)


def one_line(error: BaseException) -> str:
    """Return an engine's error as one line of at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
